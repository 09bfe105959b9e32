"""What a queued packet came through, on its way to the guard, at once or after a wait."""

from subjects import load

from sipguard.edge.queued import QueuedPacket, Reader
from sipguard.edge.turnstile import Turnstile
from sipguard.guard.inspect import Guard
from sipguard.journal.observation import Observation
from sipguard.policy.rules import Policy
from sipguard.wire.packet import Packet, build_udp

ASK = "record all\nchain request\n  all drop if zone matches /./ or ipsec log\n"
BEFORE = f"zone hq {{ ipsec reqid 42 }}\nzone far {{ ipsec reqid 7 interface e1 }}\n{ASK}"
AFTER = f"zone far {{ ipsec reqid 7 interface e1 }}\n{ASK}"


def _drop(_octets: bytes, _interface: str, packet: QueuedPacket) -> None:
    packet.drop()


def queued(number: int) -> QueuedPacket:
    """Return the handle of a packet whose mark says this zone, beside bits of others."""
    reader = Reader(
        0, 1, lambda _: b"", lambda _: 0, _drop, lambda _: "", lambda packet, _: packet.drop(), 8
    )
    return QueuedPacket(reader, b"\0\0\0\1", (number << 24 | 0x00000042).to_bytes(4, "big"))


def turnstile(policy: Policy) -> tuple[Turnstile, Guard, list[Observation]]:
    """Return a turnstile, its guard, and where that tells what it saw."""
    seen: list[Observation] = []
    made = Turnstile(lambda effects: None, lambda reply: None)
    made.guard = guard = Guard(policy, b"secret", record=seen.append)
    return made, guard, seen


def test_marks_and_interfaces_become_the_channel() -> None:
    """IPS-1: by the number in the mark, else by the interface; octets that are no packet, too."""
    made, _, seen = turnstile(load(BEFORE))
    for number, interface, expected in (
        (1, "e0", ("hq", True)),
        (2, "e0", ("far", True)),
        (0, "e1", ("far", False)),
        (0, "e0", ("", False)),
        (3, "e0", ("", False)),
    ):
        made.take(b"no packet", interface, queued(number))
        assert (seen[-1].zone, seen[-1].ipsec, seen[-1].interface) == (*expected, interface)


def test_another_policy_brings_its_own_zones() -> None:
    """From a reload on: with zones, with others, and with none."""
    made, guard, seen = turnstile(load("record all\n"))
    for policy in (load(AFTER), load(BEFORE), load("record all\n")):
        guard.replace_policy(policy)
        made.take(b"no packet", "e0", queued(1))
    assert [observation.zone for observation in seen] == ["far", "hq", ""]


def test_what_waited_came_the_way_it_came() -> None:
    """A reload numbers the zones anew: the number of a packet on hold must not be read again."""
    made, guard, seen = turnstile(load(BEFORE))
    packet = queued(1)
    assert guard.zones is not None
    packet.channel = guard.zones.channel("e0", 1)
    guard.replace_policy(load(AFTER))
    message = (
        b"OPTIONS sip:b@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK1\r\n"
        b"From: <sip:a@example.com>;tag=1\r\nTo: <sip:b@example.com>\r\nCall-ID: 1\r\n"
        b"CSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    )
    ends = Packet(b"\x0a\0\0\1", b"\x0a\0\0\2", 5060, 5060, message)
    assert made.take_again(build_udp(ends), "e0", packet, True) == ()
    assert (seen[-1].zone, seen[-1].ipsec) == ("hq", True)
