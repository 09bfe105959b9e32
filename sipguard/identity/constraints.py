"""What a certificate forbids its holder to claim (RFC 8226 section 8, RFC 9118; STI-33)."""

from functools import lru_cache
from typing import Final, NamedTuple

from sipguard.errors import HostileInput
from sipguard.identity.certificate import Certificate
from sipguard.identity.shown import shown
from sipguard.reason import Reason
from sipguard.wire.der import CONTEXT, IA5_STRING, SEQUENCE, UTF8_STRING, read_one, read_values
from sipguard.wire.passport import Json, JsonObject, canonical_json

MAX_NAMES: Final = 64
MAX_VALUES: Final = 256
_WHY: Final = Reason.CLAIM_CONSTRAINT
_MUST_INCLUDE, _PERMITTED, _MUST_EXCLUDE = CONTEXT, CONTEXT + 1, CONTEXT + 2
# RFC 9118 section 3: who forbids what every PASSporT has, has written no constraint at all.
_INDISPENSABLE: Final = frozenset(("iat", "orig", "dest"))


class Constraints(NamedTuple):
    """Claims that must be there, values they may have, and claims that must not be there."""

    must_include: tuple[str, ...] = ()
    permitted: tuple[tuple[str, tuple[str, ...]], ...] = ()
    must_exclude: tuple[str, ...] = ()


def check_constraints(certificate: Certificate, payload: JsonObject) -> None:
    """Hold the claims against both forms of the extension.

    Raises:
        HostileInput: ``CLAIM_CONSTRAINT``; ``CREDENTIAL_UNTRUSTED`` for a
            certificate with both forms, which RFC 9118 forbids.
    """
    plain, enhanced = certificate.claim_constraints, certificate.enhanced_claim_constraints
    if plain and enhanced:
        raise HostileInput(Reason.CREDENTIAL_UNTRUSTED, "two kinds of claim constraints in one")
    if plain:
        _check(parse_constraints(plain, enhanced=False), payload)
    elif enhanced:
        constraints = parse_constraints(enhanced, enhanced=True)
        if not _INDISPENSABLE & set(constraints.must_exclude):
            _check(constraints, payload)


@lru_cache(maxsize=256)
def parse_constraints(octets: bytes, *, enhanced: bool) -> Constraints:
    """Return what the value of the extension says; *enhanced* is the form of RFC 9118.

    Raises:
        HostileInput: ``CLAIM_CONSTRAINT``.
    """
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    permitted: tuple[tuple[str, tuple[str, ...]], ...] = ()
    last = 0
    for part in read_values(read_one(octets, SEQUENCE, _WHY), 3, _WHY):
        if part.tag <= last:
            raise HostileInput(_WHY, "the certificate's constraints are out of order")
        last = part.tag
        content = read_one(part.content, SEQUENCE, _WHY)
        if part.tag == _MUST_INCLUDE:
            include = _texts(content, IA5_STRING, MAX_NAMES)
        elif part.tag == _PERMITTED:
            permitted = _permitted(content)
        elif part.tag == _MUST_EXCLUDE and enhanced:
            exclude = _texts(content, IA5_STRING, MAX_NAMES)
        else:
            raise HostileInput(_WHY, "the certificate's constraints have an unknown part")
    return Constraints(include, permitted, exclude)


def _permitted(content: bytes) -> tuple[tuple[str, tuple[str, ...]], ...]:
    found = []
    for entry in read_values(content, MAX_NAMES, _WHY):
        if entry.tag != SEQUENCE:
            raise HostileInput(_WHY, "the certificate's constraints are malformed")
        parts = read_values(entry.content, 2, _WHY)
        if len(parts) != 2 or parts[0].tag != IA5_STRING or parts[1].tag != SEQUENCE:
            raise HostileInput(_WHY, "the certificate's constraints are malformed")
        values = _texts(parts[1].content, UTF8_STRING, MAX_VALUES)
        found.append((_text(parts[0].content), values))
    return tuple(found)


def _texts(content: bytes, tag: int, limit: int) -> tuple[str, ...]:
    values = read_values(content, limit, _WHY)
    if any(value.tag != tag for value in values):
        raise HostileInput(_WHY, "the certificate's constraints are malformed")
    return tuple(_text(value.content) for value in values)


def _text(octets: bytes) -> str:
    try:
        return octets.decode()
    except UnicodeDecodeError:
        raise HostileInput(_WHY, "the certificate's constraints are malformed") from None


def _check(constraints: Constraints, payload: JsonObject) -> None:
    for name in constraints.must_include:
        if name not in payload:
            raise HostileInput(_WHY, f"the certificate demands the claim {shown(name.encode())}")
    for name in constraints.must_exclude:
        if name in payload:
            raise HostileInput(_WHY, f"the certificate forbids the claim {shown(name.encode())}")
    for name, values in constraints.permitted:
        if name in payload and _plain(payload[name]) not in values:
            detail = f"the certificate does not permit this value of {shown(name.encode())}"
            raise HostileInput(_WHY, detail)


def _plain(value: Json) -> str:
    """A string stands for itself; anything else compares as RFC 8225 would write it."""
    return value if isinstance(value, str) else canonical_json(value).decode()
