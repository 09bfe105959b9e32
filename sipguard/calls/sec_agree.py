"""What servers offered to whom, to know a client that was bid down (RFC 3329, TLS-32).

Whoever stands between client and gateway can take the strong mechanisms out of the
server's list. Then the client repeats another list than the one that went by here.
"""

from typing import Final, final

from sipguard.errors import HostileInput
from sipguard.reason import Finding, Reason
from sipguard.wire.packet import Packet
from sipguard.wire.sec_agree import Mechanism, has_ties, is_copy, parse_mechanisms
from sipguard.wire.sip import Ids, Message
from sipguard.wire.uri import aor_key

CAPACITY: Final = 10_000  # clients; where it is full the oldest goes, which can only lose a hint
LISTS: Final = 4  # one user may have several telephones behind one address
_SECURED: Final = frozenset(("tls", "wss"))

_List = tuple[Mechanism, ...]
_Key = tuple[bytes, bytes, bytes]  # client's address, server's, the client's address-of-record


@final
class Agreements:
    """The last lists that each server offered to each client; bounded."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._offered: dict[_Key, tuple[_List, ...]] = {}

    def __len__(self) -> int:
        return len(self._offered)

    def look(self, message: Message, ids: Ids, packet: Packet) -> list[Finding]:
        """Say what is wrong with a request's side of an agreement; changes nothing."""
        findings: list[Finding] = []
        wanted = _read(message, b"security-client", findings)
        repeated = _read(message, b"security-verify", findings)
        if wanted and message.header(b"security-verify") is None and packet.transport in _SECURED:
            # With a Security-Verify it is the protected request that the agreement led to.
            findings.append(Finding(Reason.SEC_AGREE_OVER_TLS))
        if repeated:
            offered = self._offered.get((packet.src, packet.dst, aor_key(ids.from_.uri)))
            if offered and not any(is_copy(repeated, known) for known in offered):
                names = b", ".join([one.name for one in repeated])
                detail = "Security-Verify is not the Security-Server that was sent to this client"
                findings.append(Finding(Reason.SECURITY_BID_DOWN, detail, names[:128]))
        return findings

    def answered(self, message: Message, ids: Ids, packet: Packet) -> list[Finding]:
        """Remember what a server offers in a response that passes; say what is wrong with it."""
        findings: list[Finding] = []
        offer = _read(message, b"security-server", findings)
        if not offer:
            return findings
        if has_ties(offer):
            findings.append(Finding(Reason.BAD_SEC_AGREE, "two mechanisms of one preference"))
        key = (packet.dst, packet.src, aor_key(ids.from_.uri))
        known = self._offered.pop(key, ())
        if len(self._offered) >= self._capacity:
            # A few hundred at once: looking for the first of a dict costs what left before it.
            for oldest in list(self._offered)[: max(1, self._capacity // 32)]:
                del self._offered[oldest]
        others = [one for one in known if one != offer]
        self._offered[key] = (*others[-LISTS + 1 :], offer)
        return findings


def _read(message: Message, name: bytes, findings: list[Finding]) -> _List:
    """Return one header's mechanisms; nothing, and a finding, where they cannot be read."""
    if message.header(name) is None:
        return ()
    try:
        return parse_mechanisms(message.values(name))
    except HostileInput as error:
        findings.append(Finding(Reason.BAD_SEC_AGREE, error.detail, error.finding().octets))
        return ()
