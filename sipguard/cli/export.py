"""``sipguard export``: the packets that a record kept, as a file that Wireshark opens."""

import argparse
from pathlib import Path

from sipguard.cli.explain import record_named
from sipguard.cli.output import Screen, many
from sipguard.cli.state import add_state_option
from sipguard.edge.archive import Entry
from sipguard.edge.capture import PcapWriter
from sipguard.edge.stored import is_whole, packet_of, padded
from sipguard.errors import EdgeError
from sipguard.journal import told
from sipguard.wire.packet import build_udp

SUMMARY = "write the stored packet of a record as pcap"
DETAILS = """\
Writes a new pcap file with the message that made the record, from and to the addresses
and ports it had, at the time it came. Wireshark and `sipguard replay` open it.

What is not there: of a call, only the message that was refused (or logged) is kept, of
it the first 8 KiB, and no media. Keys, digest responses and passwords were masked with
*** before anything was stored. In the file SRTP keys read MASKEDMASKED, so that lengths
are right and Wireshark reads on. Since the keys are nowhere in the store, --with-keys
cannot bring them back, and says so. A message that came by TCP, TLS or WebSocket is
written as one UDP datagram.

examples:
  sipguard export 2m4k07gx --pcap call.pcap
  sipguard export last --pcap last.pcap && wireshark last.pcap

exit status:
  0  written
  1  no such record, no packet kept with it, or the file is there already
  2  the command line was wrong
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what this command takes."""
    parser.add_argument("id", metavar="ID", help="a record's id, or `last`")
    parser.add_argument("--pcap", metavar="FILE", type=Path, required=True, help="the file to make")
    parser.add_argument("--with-keys", action="store_true", help="keys, too, if they were stored")
    add_state_option(parser)


def run(options: argparse.Namespace, screen: Screen) -> int:
    """Write the packet."""
    entry = record_named(options.id, options.state_dir, screen)
    if entry is None:
        return 1
    if options.with_keys:
        raise EdgeError(
            "keys and credentials are never stored, so there are none to write; without "
            "--with-keys the message is written with *** in their place"
        )
    packet, time_s = packet_of(entry)
    if options.pcap.exists():
        raise EdgeError(f"{options.pcap} is there already: choose another name")
    writer = PcapWriter(options.pcap)
    if is_whole(entry):
        packet = packet.changed(payload=padded(packet.payload))
    writer.write(time_s, build_udp(packet))
    writer.close()
    screen.note(f"1 packet, {many(len(packet.payload), 'octet')}{_left_out(entry)}.")
    return 0


def _left_out(entry: Entry) -> str:
    words = []
    if b"***" in entry.message:
        words.append("keys and credentials masked")
    if not is_whole(entry):
        octets = told.number(told.part(entry.line, "packets"), "octets")
        words.append(f"of {octets:,} as it came")
    if told.text(entry.line, "transport") not in ("", "udp"):
        words.append(f"it came by {told.text(entry.line, 'transport').upper()}")
    return f" ({'; '.join(words)})" if words else ""
