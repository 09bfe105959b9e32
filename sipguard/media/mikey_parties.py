"""Who a MIKEY message is from and for: IDi and IDr, held against From, To and Request-URI.

RFC 3830 does not mark which of its ID payloads is whose; only their order and the kind
of message tell (sections 3.1 to 3.3, RFC 4650 section 3, RFC 4738 section 3.1). The ID
payloads of RFC 6043 say it themselves.
"""

from typing import Final, NamedTuple

from sipguard.errors import HostileInput
from sipguard.wire.mikey import Mikey
from sipguard.wire.mikey_values import (
    CERT,
    DH_RESPONSE,
    DHHMAC_INIT,
    DHHMAC_RESPONSE,
    ID,
    PK_RESPONSE,
    PSK_RESPONSE,
    RSA_R_RESPONSE,
    Identity,
)
from sipguard.wire.uri import Uri, aor_key, parse_uri

_INITIATOR: Final = 1  # roles of IDR payloads
_RESPONDER: Final = 2
_NAI: Final = 0  # types of ID payloads
_URI: Final = 1
_SCHEMES: Final = (b"sip:", b"sips:")
_WITH_INITIATOR: Final = (DH_RESPONSE, DHHMAC_RESPONSE)
_WITH_RESPONDER: Final = (PSK_RESPONSE, PK_RESPONSE, RSA_R_RESPONSE)


class Parties(NamedTuple):
    """The identities of a message, as far as it names them."""

    initiator: Identity | None = None
    responder: Identity | None = None


def name_of(identity: Identity) -> bytes:
    """Return an identity as names compare: ``user@host``, ``tel:+49…``, or its octets.

    ``user@host`` and a SIP URI of the same user are one (CERT-4).
    """
    if identity.kind not in (_NAI, _URI):
        return identity.name
    text = b"sip:" + identity.name if identity.kind == _NAI else identity.name
    try:
        return name_of_uri(parse_uri(text))
    except HostileInput:
        return identity.name


def name_of_uri(uri: Uri) -> bytes:
    """Return the same of a From, a To or a Request-URI."""
    key = aor_key(uri)
    for scheme in _SCHEMES:
        if key.startswith(scheme):
            return key[len(scheme) :]
    return key


def parties_of(message: Mikey, caller: bytes, callees: tuple[bytes, ...]) -> Parties:
    """Return who is who; *caller* and *callees* are names that SIP tells, and break ties."""
    identities = message.identities
    if any(identity.role for identity in identities):
        return Parties(_with_role(identities, _INITIATOR), _with_role(identities, _RESPONDER))
    if not identities:
        return Parties()
    first, last = identities[0], identities[-1]
    if message.data_type in _WITH_INITIATOR:
        return Parties(last, first if len(identities) > 1 else None)
    if message.data_type in _WITH_RESPONDER:
        return Parties(None, first)
    if len(identities) > 1:
        return Parties(first, identities[1])
    if _is_responder(message, name_of(first), caller, callees):
        return Parties(None, first)
    return Parties(first, None)


def _with_role(identities: tuple[Identity, ...], role: int) -> Identity | None:
    for identity in identities:
        if identity.role == role:
            return identity
    return None


def _is_responder(message: Mikey, name: bytes, caller: bytes, callees: tuple[bytes, ...]) -> bool:
    """Tell whether the only ID of an initiator's message is IDr."""
    if name == caller:
        return False
    if name in callees or message.data_type == DHHMAC_INIT:
        return True
    order = message.order
    # A certificate stands in the place of IDi.
    return CERT in order and order.index(CERT) < order.index(ID)
