"""Chains of diversions: who sent this call on, from one callee to the next (RFC 8946; STI-40).

Each ``div`` PASSporT says "I, who was the callee, sent the call on to dest".
The chain starts at the one that led here, and each step looks for the one
before it, whose dest was the diverting party, until the caller's own PASSporT.
"""

from collections.abc import Sequence
from typing import Final

from sipguard.errors import HostileInput
from sipguard.evidence import State
from sipguard.identity.judged import Judged
from sipguard.identity.shown import shown
from sipguard.identity.telephone import Party
from sipguard.reason import Reason
from sipguard.wire.passport import Identity, parse_token, read_unsecured_header

MAX_NESTED: Final = 4  # tokens inside each other; the size of a header bounds it as well


def nested_identities(identity: Identity) -> tuple[Identity, ...]:
    """Return the tokens inside ``opt`` of a div-o, the outer ones first.

    Raises:
        HostileInput: ``BAD_PASSPORT`` or ``PASSPORT_DIVERTED``.
    """
    found: list[Identity] = []
    while identity.ppt == "div-o" and not identity.is_compact:
        inner = identity.payload.get("opt")
        if not isinstance(inner, str) or len(found) == MAX_NESTED:
            raise _broken("div-o without a token inside, or too many inside each other")
        identity = _read_nested(inner)
        found.append(identity)
    return tuple(found)


def _read_nested(text: str) -> Identity:
    token = text.encode("utf-8", "replace")
    header = read_unsecured_header(token)
    url, alg, ppt = header.get("x5u"), header.get("alg"), header.get("ppt", "")
    if not isinstance(url, str) or not isinstance(alg, str) or not isinstance(ppt, str):
        raise _broken("the token inside div-o has no usable header")
    return parse_token(token, url, alg, ppt)


def find_chain(judged: Sequence[Judged], target: Party) -> tuple[Judged, ...]:
    """Return the valid PASSporTs from the last diversion to the caller's own, in this order.

    Args:
        judged: All PASSporTs of a request.
        target: Whom the Request-URI names; the last diversion led there.

    Raises:
        HostileInput: ``PASSPORT_DIVERTED``: what is missing or does not fit.
    """
    left = [one for one in judged if one.state is State.VALID and one.claims is not None]
    step = _last_diversion(left, target)
    chain = [step]
    while step.claims is not None and step.claims.div is not None:
        left.remove(step)
        step = _before(left, step)
        chain.append(step)
    return tuple(chain)


def _last_diversion(valid: Sequence[Judged], target: Party) -> Judged:
    """Return the one diversion that led to the target and that no other continues."""
    diversions = [one for one in valid if one.claims is not None and one.claims.div is not None]
    onward = [one.claims.div for one in diversions if one.claims is not None]
    last = [
        one
        for one in diversions
        if one.claims is not None and not any(div and one.claims.is_for(div) for div in onward)
    ]
    fitting = [one for one in last if one.claims is not None and one.claims.is_for(target)]
    if len(fitting) != 1:
        raise _broken(f"{len(fitting)} valid diversions lead to {shown(target.name)}")
    return fitting[0]


def _before(left: Sequence[Judged], step: Judged) -> Judged:
    """Return the PASSporT whose callee sent the call on; a diversion rather than the first one."""
    claims = step.claims
    if claims is None or claims.div is None:
        raise _broken("a diversion without its claims")
    before = [
        one
        for one in left
        if one.claims is not None
        and one.claims.orig == claims.orig
        and one.claims.is_for(claims.div)
    ]
    if not before:
        raise _broken(f"no valid PASSporT of this caller led to {shown(claims.div.name)}")
    return max(before, key=_is_diversion)


def _is_diversion(one: Judged) -> bool:
    return one.claims is not None and one.claims.div is not None


def _broken(detail: str) -> HostileInput:
    return HostileInput(Reason.PASSPORT_DIVERTED, detail)
