"""HEP v3, read back here and by sngrep."""

import shutil
import socket
import struct
import subprocess
import time
from pathlib import Path

import pytest
from hostile_octets import CORPUS
from hostile_records import A6, record
from hypothesis import given
from hypothesis import strategies as st
from receivers import hep_chunks

from sipguard.edge.feeds.hep import has_message, packet_of
from sipguard.edge.feeds.outlet import DatagramOutlet, datagrams_to
from sipguard.journal.record import Record

SECRET = (
    b"INVITE sip:b@h SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK1\r\n"
    b"Call-ID: c1@h\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:b@h>\r\nCSeq: 1 INVITE\r\n"
    b'Authorization: Digest username="a", response="0123456789abcdef0123456789abcdef"\r\n\r\n'
)


def test_every_chunk() -> None:
    """Addresses, ports, time, what it is, who says it, which call."""
    found = hep_chunks(packet_of(record(), 77, b"key"))
    message = found.pop(15)
    assert message.startswith(b"INVITE sip:b@h")
    assert found == {
        1: b"\x02", 2: b"\x11", 3: bytes((192, 0, 2, 7)), 4: bytes((198, 51, 100, 9)),
        7: b"\x13\xc4", 8: b"\x13\xc6", 9: struct.pack("!I", 1_780_000_000),
        10: struct.pack("!I", 250_000), 11: b"\x01", 12: b"\0\0\0\x4d", 14: b"key", 17: b"alice",
    }  # fmt: skip


def test_ipv6_and_streams() -> None:
    """In chunks of their own."""
    found = hep_chunks(packet_of(record(src=A6, transport="tls"), 1))
    assert (found[1], found[2], found[5]) == (b"\x0a", b"\x06", A6)
    assert 3 not in found


def test_the_payload_is_masked() -> None:
    """Homer's readers are not those who may know a password."""
    packet = packet_of(record(raw=SECRET), 1)
    assert b"0123456789abcdef" not in packet
    assert b"***" in packet


def test_a_masked_body_keeps_its_length() -> None:
    """A receiver that goes by Content-Length would take it for torn, and show no session."""
    body = b"v=0\r\nm=audio 1 RTP/SAVP 0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:%b\r\n" % (
        b"c2lwZ3VhcmQgZGVtbzogdGhlIGNhbGxlciBrZXkh"
    )
    raw = SECRET.replace(b"\r\n\r\n", b"\r\nContent-Length: %d\r\n\r\n" % len(body)) + body
    message = hep_chunks(packet_of(record(raw=raw), 1))[15]
    got = message.partition(b"\r\n\r\n")[2]
    assert len(got) == len(body)
    assert got == body.replace(b"c2lwZ3VhcmQgZGVtbzogdGhlIGNhbGxlciBrZXkh", b"*" * 40)
    lie = raw.replace(b"Content-Length: %d" % len(body), b"Content-Length: 99999")
    assert len(hep_chunks(packet_of(record(raw=lie), 1))[15]) < len(lie)
    cut = raw + b"x" * 9_000
    assert len(hep_chunks(packet_of(record(raw=cut), 1))[15]) == 8_192


@pytest.mark.parametrize("name", CORPUS)
def test_no_caller_makes_a_chunk_or_a_packet_without_end(name: str) -> None:
    """The chunks are ours whatever he wrote, and what he wrote is cut in each."""
    found = hep_chunks(packet_of(record(CORPUS[name]), 1, b"key"))
    assert set(found) == {1, 2, 3, 4, 7, 8, 9, 10, 11, 12, 14, 15, 17}
    assert len(found[15]) <= 8_192
    assert len(found[17]) <= 1_024
    assert found[17].decode().isprintable()


def test_what_has_no_message_has_no_packet() -> None:
    """Media, and what is not even a packet."""
    assert has_message(record())
    assert not has_message(record(raw=b""))
    assert not has_message(record(src=b""))


@given(st.binary(max_size=200), st.floats(allow_nan=False), st.integers(0, 2**32 - 1))
def test_any_record_makes_a_packet(octets: bytes, time_s: float, capture_id: int) -> None:
    """Nothing raises, and every packet adds up."""
    made: Record = record(octets)._replace(first_s=time_s)
    assert hep_chunks(packet_of(made, capture_id))[12] == struct.pack("!I", capture_id)


def held_by(port: int) -> bool:
    """Whether somebody listens there by UDP."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as trial:
        try:
            trial.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


@pytest.mark.skipif(not shutil.which("sngrep"), reason="needs sngrep (apt), built with HEP")
def test_another_program_reads_them(tmp_path: Path) -> None:
    """As it was sent: from whom to whom, and the message; hostile callers do it no harm."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    written = tmp_path / "hep.pcap"
    reader = subprocess.Popen(
        ["sngrep", "-N", "-q", "-L", f"udp:127.0.0.1:{port}", "-O", str(written)],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 10
        while not held_by(port) and time.monotonic() < deadline:
            time.sleep(0.05)
        outlet = DatagramOutlet(
            datagrams_to("127.0.0.1", port), lambda one: packet_of(one, 7), has_message
        )
        hostile = [record(octets) for octets in CORPUS.values()]
        sent = [record(raw=SECRET), *hostile, record(raw=SECRET.replace(b"c1@h", b"c2@h"))]
        assert outlet.take(sent) == len(sent)
        assert (outlet.sent, outlet.lost) == (len(sent), 0)
        while time.monotonic() < deadline:
            time.sleep(0.1)
            if written.exists() and b"c2@h" in written.read_bytes():
                break
    finally:
        reader.terminate()
        reader.wait(10)
        outlet.close()
    seen = written.read_bytes()
    assert b"c1@h" in seen
    assert b"c2@h" in seen
    assert b"0123456789abcdef" not in seen
    assert bytes((192, 0, 2, 7, 198, 51, 100, 9)) + b"\x13\xc4\x13\xc6" in seen
