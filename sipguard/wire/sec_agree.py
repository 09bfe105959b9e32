"""Lists of security mechanisms: Security-Client, Security-Server, Security-Verify (RFC 3329).

A client says what it can do, a server what it wants, and the client repeats the server's
list once the two are protected, so that nobody between them took the strong ones out.
"""

import re
from typing import Final, NamedTuple

from sipguard.errors import HostileInput
from sipguard.reason import Reason
from sipguard.wire.reader import Params, is_token, read_params, split_list

MAX_MECHANISMS: Final = 32  # five are registered; a telephone names each IPsec algorithm pair
_MAX_OCTETS: Final = 8192
_QVALUE: Final = re.compile(rb"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")
# The client's own proof in its copy of the server's list (RFC 3329 section 2.2).
_OF_THE_COPY: Final = b"d-ver"


class Mechanism(NamedTuple):
    """One mechanism with its parameters."""

    name: bytes  # lower case
    preference: float  # -1: none stated
    params: Params  # without q


def parse_mechanisms(values: list[bytes]) -> tuple[Mechanism, ...]:
    """Return the mechanisms of all rows of one header, in order; at least one.

    Raises:
        HostileInput: ``BAD_SEC_AGREE``, or ``DUPLICATE_PARAMETER``.
    """
    text = b",".join(values)
    if len(text) > _MAX_OCTETS:
        raise HostileInput(Reason.BAD_SEC_AGREE, "a list longer than sipguard reads")
    pieces = split_list(text)
    if len(pieces) > MAX_MECHANISMS:
        raise HostileInput(Reason.BAD_SEC_AGREE, "more mechanisms than sipguard reads")
    return tuple([_parse_mechanism(piece) for piece in pieces])


def _parse_mechanism(piece: bytes) -> Mechanism:
    name, semicolon, rest = piece.partition(b";")
    name = name.strip(b" \t")
    if not is_token(name):
        raise HostileInput(Reason.BAD_SEC_AGREE, "a mechanism that is not a token", piece)
    params = read_params(rest, Reason.BAD_SEC_AGREE) if semicolon else ()
    preference = -1.0
    others: list[tuple[bytes, bytes]] = []
    for key, value in params:
        if key != b"q":
            others.append((key, value))
        elif _QVALUE.fullmatch(value) is None:
            raise HostileInput(Reason.BAD_SEC_AGREE, "a preference that is none", value)
        else:
            preference = float(value)
    return Mechanism(name.lower(), preference, tuple(others))


def has_ties(mechanisms: tuple[Mechanism, ...]) -> bool:
    """Whether two stated preferences are equal, which leaves open what the server wants."""
    stated = [one.preference for one in mechanisms if one.preference >= 0]
    return len(set(stated)) != len(stated)


def is_copy(mechanisms: tuple[Mechanism, ...], original: tuple[Mechanism, ...]) -> bool:
    """Whether a client's list is the server's: the same mechanisms in the same order.

    The order of parameters and their case carry no meaning, and ``d-ver`` is the client's.
    """
    return [_essence(one) for one in mechanisms] == [_essence(one) for one in original]


def _essence(one: Mechanism) -> tuple[bytes, float, list[tuple[bytes, bytes]]]:
    params = [(key, value.lower()) for key, value in one.params if key != _OF_THE_COPY]
    return one.name, one.preference, sorted(params)
