"""What SIPS promises, held against what goes by (RFC 3261 section 26.2.2, RFC 5630).

A SIPS URI means TLS on every hop. One gateway sees one hop, or two where a proxy
stands beside it: whether this one is secured, whether what began as SIPS is still
SIPS on the other side, and what the headers say of the rest of the way. Headers are
the sender's word, so what they say is a hint and no proof.
"""

from typing import Final, final

from sipguard.calls.dialog import Dialog
from sipguard.calls.transaction import Transaction
from sipguard.reason import Finding, Reason
from sipguard.wire.fields import Address
from sipguard.wire.packet import Packet
from sipguard.wire.sip import Ids, Message
from sipguard.wire.uri import Uri

CAPACITY: Final = 50_000  # requests; where it is full the oldest go, which can only lose a finding
SECURED: Final = frozenset(("tls", "wss"))
_SECURED_VIAS: Final = frozenset((b"TLS", b"TLS-SCTP", b"WSS"))
_VIA_NAMES: Final = {"udp": b"UDP", "tcp": b"TCP", "tls": b"TLS", "ws": b"WS", "wss": b"WSS"}
# Their Contact is where requests of the dialog go (RFC 3261 section 8.1.1.8, RFC 6665, RFC 3515).
_TARGETING: Final = frozenset((b"INVITE", b"UPDATE", b"SUBSCRIBE", b"NOTIFY", b"REFER"))
_SIP: Final = b"sip"
_SIPS: Final = b"sips"


@final
class Sips:
    """Looks at requests and answers, and remembers the SIPS requests that passed; bounded."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        # Call-ID and From tag, which a proxy leaves alone and so does who tries again.
        # Keyed by the interpreter's random seed, as transactions are.
        self._begun: dict[int, None] = {}
        self.is_idle = True  # no SIPS request has passed so far

    def __len__(self) -> int:
        return len(self._begun)

    def look(
        self, message: Message, ids: Ids, packet: Packet, dialog: Dialog | None
    ) -> list[Finding]:
        """Say what about a request is not as SIPS wants it; changes nothing.

        *dialog* is the one that the request is inside of.
        """
        findings: list[Finding] = []
        if message.is_sips:
            _check_sips(message, ids, packet, findings)
        elif self.began(ids, dialog):
            reason = Reason.SIPS_DOWNGRADE
            if packet.transport in SECURED:
                reason = Reason.SIPS_LOST
            findings.append(Finding(reason, f"SIP over {packet.transport}", message.uri[:128]))
        contacts = message.contacts
        if message.method == b"REGISTER":
            _check_bindings(message, contacts, findings)
        uri = message.request_uri
        if uri is not None and uri.params and _says_tls(uri):
            findings.append(Finding(Reason.TLS_PARAMETER, "Request-URI", uri.raw[:128]))
        else:
            for address in contacts:
                if address.uri.params and _says_tls(address.uri):
                    findings.append(Finding(Reason.TLS_PARAMETER, "Contact", address.raw[:128]))
                    break
        if packet.channel.tls_peer and not ids.to_tag:
            _check_peer(ids, packet, findings)
        elif packet.channel.tls_failure and not ids.to_tag:
            findings.append(Finding(Reason.TLS_UNPROVEN, packet.channel.tls_failure))
        return findings

    def began(self, ids: Ids, dialog: Dialog | None) -> bool:
        """Whether what a request belongs to began as SIPS.

        A running call is judged by its own beginning: nobody breaks it with a SIPS
        request under its Call-ID.
        """
        return dialog.secured if dialog is not None else self.knows(ids)

    def knows(self, ids: Ids) -> bool:
        """Whether this request went by as SIPS, on another leg or before another try."""
        return bool(self._begun) and _key(ids) in self._begun

    def passed(self, ids: Ids) -> None:
        """Remember a request with a SIPS Request-URI that goes through."""
        key = _key(ids)
        self._begun.pop(key, None)
        if len(self._begun) >= self._capacity:
            # Many at once: looking for the first of a dict costs what left before it.
            for oldest in list(self._begun)[: max(1, self._capacity // 32)]:
                del self._begun[oldest]
        self._begun[key] = None
        self.is_idle = False

    def look_at_answer(
        self, message: Message, ids: Ids, packet: Packet, transaction: Transaction | None
    ) -> list[Finding]:
        """Say what about a response is not as SIPS wants it."""
        findings: list[Finding] = []
        if not carries(packet, ids):
            findings.append(Finding(Reason.VIA_TRANSPORT, "in a response", ids.via.transport[:128]))
        if transaction is None or not 100 < message.status < 400:
            return findings
        if transaction.secured or _is_recorded_sips(message):
            targets = message.status >= 300 or transaction.method in _TARGETING
            odd = _first_sip(message.contacts) if targets else None
            if odd is not None:
                what = "a redirection" if message.status >= 300 else "its Contact"
                findings.append(Finding(Reason.SIPS_ANSWER, what, odd.raw[:128]))
        return findings


def carries(packet: Packet, ids: Ids) -> bool:
    """Whether a message came over the transport that its top Via names (TLS-31, SIP-39)."""
    return ids.via.transport == _VIA_NAMES.get(packet.transport)


def _check_sips(message: Message, ids: Ids, packet: Packet, findings: list[Finding]) -> None:
    if packet.transport not in SECURED:
        detail = f"SIPS over {packet.transport}"
        findings.append(Finding(Reason.SIPS_IN_CLEAR, detail, message.uri[:128]))
    if message.method in _TARGETING:
        odd = _first_sip(message.contacts)
        if odd is not None:
            findings.append(Finding(Reason.SIPS_CONTACT, "", odd.raw[:128]))
    uri = message.request_uri
    if uri is None or uri.scheme != _SIPS:
        return  # the next hop alone is promised to be secured
    odd = _first_sip(message.addresses(b"record-route"))
    if odd is not None:
        findings.append(Finding(Reason.SIPS_ROUTE, "", odd.raw[:128]))
    # Registrations name the same person either way (RFC 5630 section 5.2).
    if not ids.to_tag and ids.to.uri.scheme == _SIP and message.method != b"REGISTER":
        findings.append(Finding(Reason.SIPS_RETARGETED, "", ids.to.raw[:128]))
    for via in message.vias[1:]:
        if via.transport not in _SECURED_VIAS:
            findings.append(Finding(Reason.SIPS_CLEAR_HOP, "", via.raw[:128]))
            break


def _check_bindings(
    message: Message, contacts: tuple[Address, ...], findings: list[Finding]
) -> None:
    """Whoever binds a SIPS address must mean SIPS throughout (RFC 5630 section 5.2)."""
    if not any(address.uri.scheme == _SIPS for address in contacts):
        return
    odd = _first_sip(contacts)
    if odd is not None:
        what = "SIP and SIPS Contacts together"
        findings.append(Finding(Reason.SIPS_REGISTER, what, odd.raw[:128]))
        return
    uri = message.request_uri
    if uri is None or uri.scheme != _SIPS:
        findings.append(Finding(Reason.SIPS_REGISTER, "the Request-URI", message.uri[:128]))
        return
    odd = _first_sip(message.addresses(b"path"))
    if odd is not None:
        findings.append(Finding(Reason.SIPS_REGISTER, "a Path", odd.raw[:128]))


def _check_peer(ids: Ids, packet: Packet, findings: list[Finding]) -> None:
    """Hold the caller's domain against the certificate's; in transit they may differ (RFC 5922)."""
    host = ids.from_.uri.host
    names = [name.lower().encode("ascii", "replace") for name in packet.channel.tls_peer]
    if host and host not in names:
        shown = ", ".join(packet.channel.tls_peer[:4])[:256]
        findings.append(Finding(Reason.PEER_DOMAIN, f"the certificate names {shown}", host[:128]))


def _first_sip(addresses: tuple[Address, ...]) -> Address | None:
    for address in addresses:
        if address.uri.scheme == _SIP:
            return address
    return None


def _is_recorded_sips(message: Message) -> bool:
    """Whether the route next to who answers is SIPS; a response repeats the request's."""
    routes = message.addresses(b"record-route")
    return bool(routes) and routes[0].uri.scheme == _SIPS


def _says_tls(uri: Uri) -> bool:
    transport = uri.param(b"transport")
    return transport is not None and transport.lower() == b"tls"


def _key(ids: Ids) -> int:
    """Name a request for all its legs and tries.

    A telephone keeps the Call-ID of its registrations for months, so each of them stands alone.
    """
    number = ids.cseq if ids.method == b"REGISTER" else -1
    return hash((ids.call_id, ids.from_tag, number))
