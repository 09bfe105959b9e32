"""Messages that others wrote: RFC 4475, RFC 5118, and calls of real programs, where present.

Without the corpus (it is not shipped) the loops are empty; test_sip.py holds the same
rules with messages of our own.
"""

import os
import struct
from collections.abc import Iterator
from pathlib import Path

from sipguard.errors import HostileInput
from sipguard.weight import Weight
from sipguard.wire.packet import parse_packet
from sipguard.wire.sip import Kind, classify, parse_message

CORPUS = Path(os.environ.get("SIPGUARD_CORPUS", Path(__file__).parents[3] / "shared" / "corpus"))

# RULES.md 1.6. dblreq is well-formed to a UA, but a firewall finds the octets after its
# body (SIP-16), so it stands among the refused.
PASS = frozenset(
    [
        "wsinv",
        "intmeth",
        "esc01",
        "escnull",
        "esc02",
        "lwsdisp",
        "longreq",
        "semiuri",
        "transports",
        "mpart01",
        "unreason",
        "noreason",
        "unkscm",
        "novelsc",
        "unksm2",
        "invut",
        "regaut01",
        "cparam01",
        "cparam02",
        "regescrt",
        "zeromf",
        "inv2543",
        "bext01",
        "sdp01",
        "baddate",
        "ipv6-good",
        "port-unambiguous",
        "via-received-param-no-delim",
        "via-received-param-with-delim",
        "mult-ip-in-header",
        "ipv6-correct-abnf-2-colons",
        "ipv6-bug-abnf-3-colons",
    ]
)
REFUSE = frozenset(
    [
        "badinv01",
        "clerr",
        "ncl",
        "scalar02",
        "quotbal",
        "ltgtruri",
        "lwsruri",
        "lwsstart",
        "trws",
        "escruri",
        "regbadct",
        "badaspec",
        "baddn",
        "mismatch01",
        "mismatch02",
        "badbranch",
        "insuf",
        "multi01",
        "mcl01",
        "badvers",
        "ipv6-bad",
        "dblreq",
    ]
)
DROP = frozenset(["scalarlg", "bigcode", "bcast", "test"])


def weights(octets: bytes) -> set[Weight]:
    """Return the weights of all findings; HostileInput counts as unreadable."""
    try:
        message = parse_message(octets, "udp")
    except HostileInput:
        return {Weight.UNREADABLE}
    return {finding.reason.weight for finding in message.findings}


def test_torture_messages_are_judged_as_the_rule_book_says() -> None:
    """RULES.md 1.6: which of RFC 4475's and RFC 5118's messages pass and which do not."""
    wrong = []
    files = [*CORPUS.glob("torture/rfc4475/*.dat"), *CORPUS.glob("torture/rfc5118/wire/*.dat")]
    for path in files:
        found = weights(path.read_bytes()) - {Weight.NOTE}
        if path.stem in PASS and found:
            wrong.append((path.stem, found))
        if path.stem in REFUSE and not found & {Weight.MALFORMED, Weight.AMBIGUOUS}:
            wrong.append((path.stem, found))
        if path.stem in DROP and Weight.UNREADABLE not in found:
            wrong.append((path.stem, found))
    assert wrong == []


def datagrams(path: Path) -> Iterator[bytes]:
    """Return the UDP payloads of a classic capture file with Ethernet or Linux cooked frames."""
    octets = path.read_bytes()
    order = "<" if octets[:4] in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1") else ">"
    link = struct.unpack_from(order + "I", octets, 20)[0]
    skip = {1: 14, 101: 0, 113: 16, 276: 20}.get(link)
    at = 24
    while skip is not None and at + 16 <= len(octets):
        length = struct.unpack_from(order + "I", octets, at + 8)[0]
        frame = octets[at + 16 : at + 16 + length]
        at += 16 + length
        try:
            yield parse_packet(frame[skip:]).payload
        except HostileInput:
            continue


def test_calls_of_real_programs_have_no_heavy_finding() -> None:
    """Honest phones and proxies must not be taken for attackers."""
    wrong = []
    for path in CORPUS.glob("pcap/live-thirdparty/*.pcap"):
        for payload in datagrams(path):
            if classify(payload) is Kind.SIP and weights(payload) - {Weight.NOTE}:
                wrong.append((path.name, payload[:60]))
    assert wrong == []


def test_known_attacks_do_not_break_the_reader() -> None:
    """Messages that crashed or passed well-known servers are read or refused, nothing else."""
    for path in [*CORPUS.glob("attacks/*/*.dat"), *CORPUS.glob("sip-messages/*/*")]:
        if path.is_file():
            weights(path.read_bytes())
