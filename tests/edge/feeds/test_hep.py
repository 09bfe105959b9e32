"""HEP v3, read by Wireshark's own dissector."""

import dataclasses
import json
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from hostile_records import A6, CORPUS, record
from hypothesis import given
from hypothesis import strategies as st

from sipguard.edge.feeds.hep import has_message, packet_of
from sipguard.journal.record import Record

SECRET = (
    b"INVITE sip:b@h SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK1\r\n"
    b"Call-ID: c1@h\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:b@h>\r\nCSeq: 1 INVITE\r\n"
    b'Authorization: Digest username="a", response="0123456789abcdef0123456789abcdef"\r\n\r\n'
)


def chunks(packet: bytes) -> dict[int, bytes]:
    """Return the values by type; fails where the packet does not add up."""
    assert packet[:4] == b"HEP3"
    assert struct.unpack("!H", packet[4:6])[0] == len(packet)
    found: dict[int, bytes] = {}
    at = 6
    while at < len(packet):
        vendor, kind, length = struct.unpack("!HHH", packet[at : at + 6])
        assert vendor == 0
        assert kind not in found
        assert length >= 6
        found[kind] = packet[at + 6 : at + length]
        at += length
    assert at == len(packet)
    return found


def test_every_chunk() -> None:
    """Addresses, ports, time, what it is, who says it, which call."""
    found = chunks(packet_of(record(), 77, b"key"))
    message = found.pop(15)
    assert message.startswith(b"INVITE sip:b@h")
    assert found == {
        1: b"\x02", 2: b"\x11", 3: bytes((192, 0, 2, 7)), 4: bytes((198, 51, 100, 9)),
        7: b"\x13\xc4", 8: b"\x13\xc6", 9: struct.pack("!I", 1_780_000_000),
        10: struct.pack("!I", 250_000), 11: b"\x01", 12: b"\0\0\0\x4d", 14: b"key", 17: b"alice",
    }  # fmt: skip


def test_ipv6_and_streams() -> None:
    """In chunks of their own."""
    found = chunks(packet_of(record(src=A6, transport="tls"), 1))
    assert (found[1], found[2], found[5]) == (b"\x0a", b"\x06", A6)
    assert 3 not in found


def test_the_payload_is_masked() -> None:
    """Homer's readers are not those who may know a password."""
    packet = packet_of(record(raw=SECRET), 1)
    assert b"0123456789abcdef" not in packet
    assert b"***" in packet


def test_what_has_no_message_has_no_packet() -> None:
    """Media, and what is not even a packet."""
    assert has_message(record())
    assert not has_message(record(raw=b""))
    assert not has_message(record(src=b""))


@given(st.binary(max_size=200), st.floats(allow_nan=False), st.integers(0, 2**32 - 1))
def test_any_record_makes_a_packet(octets: bytes, time_s: float, capture_id: int) -> None:
    """Nothing raises, and every packet adds up."""
    made: Record = dataclasses.replace(record(octets), first_s=time_s)
    assert chunks(packet_of(made, capture_id))[12] == struct.pack("!I", capture_id)


def capture_of(packets: list[bytes], path: Path) -> None:
    """Write a capture of UDP to port 9060 (libpcap, LINKTYPE_RAW)."""
    with path.open("wb") as stream:
        stream.write(struct.pack("=IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 101))
        for packet in packets:
            udp = struct.pack("!HHHH", 40000, 9060, 8 + len(packet), 0) + packet
            head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0)
            raw = head + b"\x7f\0\0\x01\x7f\0\0\x01" + udp
            stream.write(struct.pack("=IIII", 0, 0, len(raw), len(raw)) + raw)


@pytest.mark.skipif(not shutil.which("tshark"), reason="needs tshark (apt)")
def test_wireshark_reads_them_all(tmp_path: Path) -> None:
    """Also of hostile callers: each is HEP with a SIP message, and nothing is malformed."""
    records = [record(raw=SECRET, call_id=b"c1@h"), record(raw=SECRET, src=A6, transport="tls")]
    records += [record(hostile) for hostile in CORPUS.values() if len(hostile) < 1000]
    capture_of([packet_of(one, 77, b"key") for one in records], tmp_path / "hep.pcap")
    fields = (
        "hep.ip_family", "hep.ip4_source", "hep.ip6_source", "hep.source_port",
        "hep.protocol_type", "hep.capture_agent_id", "hep.correlation_id", "frame.protocols",
    )  # fmt: skip
    asked = [word for field in fields for word in ("-e", field)]
    done = subprocess.run(
        ["tshark", "-r", str(tmp_path / "hep.pcap"), "-d", "udp.port==9060,hep", "-T", "json",
         *asked],
        capture_output=True, check=True, timeout=60,
    )  # fmt: skip
    frames = [packet["_source"]["layers"] for packet in json.loads(done.stdout)]
    assert len(frames) == len(records)
    for frame in frames:
        assert "hep" in frame["frame.protocols"][0]
        assert "_ws.malformed" not in frame["frame.protocols"][0].partition("sip")[0]
    told = json.dumps(frames[0])
    assert "192.0.2.7" in told
    assert "c1@h" in told
    assert "sip" in frames[0]["frame.protocols"][0]
    assert "2001:db8::7" in json.dumps(frames[1])
