"""Where an honest AIB still leads somewhere unexpected (AIB-10; RFC 3893 section 10).

A thief who reuses a whole signed request cannot receive what follows in the call: its
Contact leads to the victim. So a Contact that has nothing to do with the sender is worth
a note. Behind address translators and proxies it is normal, which is why it is no more.
"""

import ipaddress

from sipguard.identity.shown import shown
from sipguard.wire.packet import Packet, parse_address
from sipguard.wire.sip import Message
from sipguard.wire.uri import Uri, aor_key


def contact_note(message: Message, caller: Uri, packet: Packet) -> str:
    """Return a sentence where Contact leads away from the sender, ``""`` where it does not."""
    for contact in message.contacts:
        if contact.uri.host and not _is_related(contact.uri.host, message, caller, packet):
            source = str(ipaddress.ip_address(packet.src))
            return f"Contact leads to {shown(contact.uri.host)}, the message came from {source}"
    return ""


def _is_related(host: bytes, message: Message, caller: Uri, packet: Packet) -> bool:
    if host == caller.host:  # an address of the domain's own, such as a GRUU (RFC 5627)
        return True
    vias = message.vias
    address = parse_address(host)
    if address is None:
        return any(via.host == host for via in vias)
    if address == packet.src:
        return True
    if len(vias) < 2 and ipaddress.ip_address(address).is_global:
        return False  # no proxy and no translator between, so the Via proves nothing
    return any(address in (parse_address(via.host), parse_address(via.received)) for via in vias)


def target_note(message: Message, to: Uri) -> str:
    """Return a sentence where the request goes elsewhere than its signed To, else ``""``."""
    target = message.request_uri
    if target is None or target.raw == to.raw or message.method == b"REGISTER":
        return ""
    if aor_key(target) == aor_key(to):
        return ""
    return f"the signed To says {shown(to.raw)}, the request goes to {shown(target.raw)}"
