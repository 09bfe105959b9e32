"""DTLS-SRTP rule by rule, with messages that no library would write."""

import hashlib
import struct
from collections.abc import Iterable

import pytest
from dtls_ends import (
    CHANGE_CIPHER_SPEC,
    FINISHED,
    HELLO_RANDOM,
    OTHER_RANDOM,
    Datagram,
    certificates,
    client_hello,
    extension,
    piece,
    prints_of,
    record,
    said,
    server_hello,
    use_srtp,
    vector,
)
from dtls_line import (
    ALICE,
    BOB,
    MALLORY,
    PORTS,
    PROVEN,
    QUIET,
    REFUSED,
    Line,
    formats,
    rtcp,
    rtp,
)
from hypothesis import given
from hypothesis import strategies as st

from sipguard.media.dtls_side import MAX_MESSAGES, MAX_ORIGINS, fits
from sipguard.media.proof import Flight, Sight, Word
from sipguard.media.prove_dtls import (
    MAX_DOUBTS,
    MAX_EARLY,
    MAX_GUESSES,
    MAX_LEAKS,
    MAX_SOURCES,
    DtlsProver,
    caller_is_active,
)
from sipguard.reason import Reason
from sipguard.wire.dtls import MAX_MESSAGE_OCTETS
from sipguard.wire.sdp import Fingerprint

OFFER = said(1, client_hello(use_srtp(1, 7)), 0)
ANSWER = said(2, server_hello(use_srtp(1)), 0)
SERVERS = said(11, certificates(ALICE.der), 1)
KEY_EXCHANGE = said(12, b"key", 2)
REQUEST = said(13, b"certificate, please", 3)
DONE = said(14, b"", 4)
CLIENTS = said(11, certificates(BOB.der), 1)
CLIENT_KEY = said(16, b"key", 2)
SIGNATURE = said(15, b"signature", 3)
OFFER_1_3 = said(1, client_hello(use_srtp(1, 7), extension(43, b"\4\xfe\xfc\xfe\xfd")), 0)
ANSWER_1_3 = said(2, server_hello(extension(43, b"\xfe\xfc")), 0)
CIPHER_1_3 = b"\x2e\0\1" + vector(b"anything", 2)


def client(*datagrams: bytes) -> list[Datagram]:
    return [Datagram(True, octets) for octets in datagrams]


def server(*datagrams: bytes) -> list[Datagram]:
    return [Datagram(False, octets) for octets in datagrams]


HANDSHAKE = [
    *client(OFFER),
    *server(ANSWER, SERVERS, KEY_EXCHANGE, REQUEST, DONE),
    *client(CLIENTS, CLIENT_KEY, SIGNATURE, CHANGE_CIPHER_SPEC, FINISHED),
    *server(CHANGE_CIPHER_SPEC, FINISHED),
]


def after(datagrams: Iterable[Datagram], line: Line | None = None) -> Line:
    """A line that has seen these, all of which pass."""
    line = line or Line()
    for datagram in datagrams:
        assert line.passes(datagram), line.sights[-1]
    return line


def fault(sight: Sight) -> Reason:
    assert sight.word is Word.REFUSE
    assert sight.finding is not None
    return sight.finding.reason


def last(line: Line) -> Reason:
    return fault(line.sights[-1])


def refused(line: Line, by_client: bool, octets: bytes) -> Reason:
    assert not line.passes(Datagram(by_client, octets))
    return last(line)


class TestHandshake:
    def test_dtl_4_the_whole_of_it_proves_both_directions(self) -> None:
        """None of its parts alone does, and media before its end waits."""
        line = Line()
        for datagram in HANDSHAKE:
            assert line.media() == QUIET
            assert line.passes(datagram)
        assert line.media() == PROVEN
        assert line.findings() == set()

    @pytest.mark.parametrize("missing", range(len(HANDSHAKE)))
    def test_dtl_4_what_proof_cannot_do_without(self, missing: int) -> None:
        """Hellos, both certificates, and that both encrypt; the rest of it binds nobody here."""
        line = Line()
        for at, datagram in enumerate(HANDSHAKE):
            if at != missing:
                line.passes(datagram)
        absent = HANDSHAKE[missing]
        # A ClientHello that was missed costs nothing: what was agreed is in the answer.
        needed = absent.octets in (ANSWER, SERVERS, CLIENTS, FINISHED)
        assert (line.media() == PROVEN) is not needed

    def test_dtl_4_both_certificates_whatever_came_first(self) -> None:
        """Of a handshake that began unseen the end may be seen before what it ends."""
        line = after([*client(FINISHED), *server(FINISHED, ANSWER, SERVERS)])
        assert line.media() == QUIET
        after(client(CLIENTS), line)
        assert line.media() == PROVEN

    def test_a_flight_in_one_datagram(self) -> None:
        """As most senders do it."""
        line = Line()
        flights = [HANDSHAKE[:1], HANDSHAKE[1:6], HANDSHAKE[6:11], HANDSHAKE[11:]]
        for flight in flights:
            octets = b"".join(datagram.octets for datagram in flight)
            assert line.passes(Datagram(flight[0].by_client, octets))
        assert line.media() == PROVEN

    def test_a_hello_verify_request_asks_for_the_hello_again(self) -> None:
        """RFC 6347 section 4.2.1: the same random, a cookie, the next number."""
        again = said(1, client_hello(use_srtp(1, 7), cookie=b"crumbs"), 1)
        answer = said(2, server_hello(use_srtp(1)), 1)
        theirs, ours = said(11, certificates(ALICE.der), 2), said(11, certificates(BOB.der), 2)
        line = after(
            [
                *client(OFFER),
                *server(said(3, b"\xfe\xff\6crumbs", 0)),
                *client(again),
                *server(answer, theirs),
                *client(ours, said(16, b"key", 3), FINISHED),
                *server(FINISHED),
            ]
        )
        assert line.media() == PROVEN

    def test_an_alert_passes_whenever(self) -> None:
        """In clear or not; ends tell each other why they stop."""
        line = after([*client(OFFER, record(21, b"\2\x28")), *server(record(21, bytes(30), 1))])
        assert line.media() == QUIET

    def test_an_acknowledgement_in_clear_passes(self) -> None:
        """DTLS 1.3 sends it for fragments of a hello (RFC 9147 section 7)."""
        after([*client(OFFER_1_3), *server(record(26, bytes(18)))])

    def test_dtl_6_a_datagram_that_cannot_be_read(self) -> None:
        """Refused whole, and what was good in it counts for nothing."""
        line = Line()
        broken = b"".join(datagram.octets for datagram in HANDSHAKE[1:6]) + b"\x16"
        assert refused(line, False, broken) is Reason.BAD_DTLS
        assert line.prover.told(True) == "no DTLS handshake was seen"

    @pytest.mark.parametrize(
        "octets",
        [
            record(23, b"hello", 1),
            record(23, b"hello"),
            record(24, b"\1\0\0"),
            record(20, b"\2"),
            record(20, b""),
            said(3, b"\xfe\xff\6crumbs", 0, 0, 5),
            said(0, b"x", 0, 0, 0),
        ],
        ids=[
            *("application data", "in clear", "heartbeat in clear", "odd CCS", "empty CCS"),
            *("fragmented HelloVerifyRequest", "fragmented HelloRequest"),
        ],
    )
    def test_dtl_6_records_that_have_no_place(self, octets: bytes) -> None:
        """DTLS-SRTP carries no application data, and nobody asks for heartbeats in clear."""
        assert refused(after(client(OFFER)), False, octets) is Reason.BAD_DTLS

    def test_dtl_6_a_hello_that_cannot_be_read(self) -> None:
        """However often it comes, and in whatever pieces."""
        body = client_hello(use_srtp(1)) + b"\0"
        line = after(client(said(1, body, 0, 0, 50)))
        for start, end in ((50, None), (0, 50), (0, None), (9, 9)):
            assert refused(line, True, said(1, body, 0, start, end)) is Reason.BAD_DTLS
        after(HANDSHAKE, line)

    def test_a_handshake_without_connection_ids(self) -> None:
        """They take two; one side's wish is not enough."""
        offer = said(1, client_hello(use_srtp(1), extension(54, b"\3abc")), 0)
        line = after([*client(offer), *server(ANSWER, SERVERS), *client(CLIENTS)])
        for by_client in (True, False):
            sealed = b"\x19\xfe\xfd\0\1" + bytes(6) + b"abc" + vector(bytes(40), 2)
            assert refused(line, by_client, sealed) is Reason.BAD_DTLS

    def test_a_handshake_with_connection_ids(self) -> None:
        """RFC 9146: each side's records carry what the other one asked for."""
        line = after(
            [
                *client(said(1, client_hello(use_srtp(1), extension(54, b"\0")), 0)),
                *server(said(2, server_hello(use_srtp(1), extension(54, b"\3abc")), 0), SERVERS),
                *client(CLIENTS),
            ]
        )
        sealed = b"\x19\xfe\xfd\0\1" + bytes(6) + b"abc" + vector(bytes(40), 2)
        assert refused(line, False, sealed) is Reason.BAD_DTLS
        in_clear = b"\x19\xfe\xfd\0\0" + bytes(6) + b"abc" + vector(bytes(40), 2)
        assert refused(line, True, in_clear) is Reason.BAD_DTLS
        after([*client(sealed), *server(FINISHED)], line)
        assert line.media() == PROVEN
        after(client(sealed), line)


class TestRoles:
    @pytest.mark.parametrize(
        ("caller", "callee", "active"),
        [
            (b"actpass", b"active", False),
            (b"actpass", b"passive", True),
            (b"active", b"passive", True),
            (b"passive", b"active", False),
            (b"active", b"actpass", True),
            (b"passive", b"actpass", False),
        ],
    )
    def test_dtl_8_who_is_active(self, caller: bytes, callee: bytes, active: bool) -> None:
        """Whoever made the offer, the caller or, with a late offer, the callee."""
        assert caller_is_active(caller, callee) is active
        prints = prints_of(ALICE), prints_of(BOB)
        line = Line(DtlsProver(*prints, caller, callee, False, formats()))
        assert line.see(active, OFFER).word is Word.PASS
        assert fault(line.see(not active, OFFER)) is Reason.DTLS_ROLE

    @pytest.mark.parametrize("kind", [0, 2, 3, 4, 12, 13, 14, 22])
    def test_dtl_8_the_active_side_sends_nothing_of_a_server(self, kind: int) -> None:
        """Any part of it."""
        assert refused(Line(), True, said(kind, b"", 0)) is Reason.DTLS_ROLE

    @pytest.mark.parametrize("kind", [1, 15, 16])
    def test_dtl_8_the_passive_side_sends_nothing_of_a_client(self, kind: int) -> None:
        """Any part of it."""
        assert refused(Line(), False, said(kind, b"", 0)) is Reason.DTLS_ROLE

    def test_the_caller_may_be_the_client(self) -> None:
        """Then the caller's certificate is the client's."""
        prints = prints_of(BOB), prints_of(ALICE)
        line = Line(DtlsProver(*prints, b"actpass", b"passive", False, formats()))
        for datagram in HANDSHAKE:
            assert line.see(datagram.by_client, datagram.octets).word is Word.PASS
        assert line.media() == PROVEN


class TestProfiles:
    @pytest.mark.parametrize("offered", [(), (5,), (5, 6), (0x4A4A,)])
    def test_dtl_5_an_offer_without_encryption(self, offered: tuple[int, ...]) -> None:
        """No use_srtp, NULL profiles alone, or what nobody knows."""
        listed = (use_srtp(*offered),) if offered else ()
        line = Line()
        assert refused(line, True, said(1, client_hello(*listed), 0)) is Reason.DTLS_NO_SRTP
        assert refused(line, True, said(1, client_hello(*listed), 0)) is Reason.DTLS_NO_SRTP

    def test_dtl_5_null_beside_others_may_be_offered(self) -> None:
        """The answer decides."""
        after(client(said(1, client_hello(use_srtp(5, 1)), 0)))

    @pytest.mark.parametrize(
        "answer",
        [
            server_hello(),
            server_hello(use_srtp(5)),
            server_hello(use_srtp(6)),
            server_hello(use_srtp(0x20)),
            server_hello(use_srtp(2)),
            server_hello(use_srtp(1, mki=b"mine")),
        ],
        ids=["none", "NULL 80", "NULL 32", "unknown", "not offered", "another MKI"],
    )
    def test_dtl_5_an_answer_that_agrees_on_no_encryption(self, answer: bytes) -> None:
        """Nothing of this handshake's server passes any more."""
        line = after(client(said(1, client_hello(use_srtp(1, 5, 6, 0x20)), 0)))
        assert refused(line, False, said(2, answer, 0)) is Reason.DTLS_NO_SRTP
        assert refused(line, False, SERVERS) is Reason.DTLS_NO_SRTP
        assert refused(line, False, said(2, answer, 0)) is Reason.DTLS_NO_SRTP
        assert line.media() == REFUSED
        assert "SRTP" in line.prover.told(True) or "MKI" in line.prover.told(True)

    def test_dtl_5_the_mki_makes_packets_longer(self) -> None:
        """Both agreed on four octets of it."""
        mki = b"1234"
        line = after(
            [
                *client(said(1, client_hello(use_srtp(7, mki=mki)), 0)),
                *server(said(2, server_hello(use_srtp(7, mki=mki)), 0)),
                *HANDSHAKE[2:],
            ]
        )
        assert line.media(16) == (Word.PASS, Word.PASS)  # neither clear nor with all of it
        assert line.media(20) == PROVEN


class TestCertificates:
    def test_dtl_4_fragments_pass_until_the_wrong_one_is_whole(self) -> None:
        """The packet that completes it is refused, and all that follows from that side."""
        body = certificates(MALLORY.der)
        line = after([*client(OFFER), *server(ANSWER)])
        after(server(said(11, body, 1, 100, 200), said(11, body, 1, 200), KEY_EXCHANGE), line)
        assert refused(line, False, said(11, body, 1, 0, 100)) is Reason.DTLS_FINGERPRINT
        for octets in (DONE, said(11, body, 1, 0, 50), CHANGE_CIPHER_SPEC, FINISHED, ANSWER):
            assert refused(line, False, octets) is Reason.DTLS_FINGERPRINT
        after([*client(CLIENTS, CLIENT_KEY), *server(record(21, b"\2\x28"))], line)
        assert line.media() == REFUSED
        assert last(line) is Reason.DTLS_FINGERPRINT

    def test_dtl_4_fragments_that_disagree(self) -> None:
        """The wrong certificate piecewise over the right one: each reader would see his own."""
        good, bad = certificates(ALICE.der), certificates(MALLORY.der)
        bad = bad[: len(good)].ljust(len(good), b"\0")
        line = after([*client(OFFER), *server(ANSWER, said(11, good, 1, 0, 50))])
        assert refused(line, False, said(11, bad, 1, 0, 100)) is Reason.BAD_DTLS
        after(server(said(11, good, 1)), line)
        assert refused(line, False, said(11, bad, 1, 60, 100)) is Reason.BAD_DTLS
        after([*client(CLIENTS, FINISHED), *server(FINISHED)], line)
        assert line.media() == PROVEN

    @pytest.mark.parametrize(
        "octets",
        [
            said(11, certificates(ALICE.der), 2),
            said(11, certificates(ALICE.der, b"more"), 1, 20, 30),
            said(12, certificates(ALICE.der), 1),
            said(2, server_hello(use_srtp(1)), 1),
            said(11, bytes(MAX_MESSAGE_OCTETS + 1), 0, 0, 9),
        ],
        ids=["second", "longer", "another kind", "a hello", "too long"],
    )
    def test_dtl_4_one_certificate_under_one_number(self, octets: bytes) -> None:
        """A second one, or another message in its place, would be the one that counts."""
        line = after([*client(OFFER), *server(ANSWER, said(11, certificates(ALICE.der), 1, 0, 9))])
        assert refused(line, False, octets) is Reason.BAD_DTLS

    def test_dtl_4_a_hello_in_the_place_of_a_certificate(self) -> None:
        """Of the client, and of the server in its second handshake."""
        line = after([*HANDSHAKE[:6], *client(said(11, certificates(BOB.der), 1, 0, 9))])
        hello = said(1, client_hello(use_srtp(1)), 1)
        assert refused(line, True, hello) is Reason.BAD_DTLS
        offer, answer = TestNextHandshake.AGAIN
        line = after([*HANDSHAKE, *client(offer), *server(answer)])
        assert refused(line, False, said(11, certificates(ALICE.der), 0)) is Reason.BAD_DTLS

    def test_dtl_4_a_certificate_that_cannot_be_read(self) -> None:
        """Whole, and no list of certificates."""
        line = after([*client(OFFER), *server(ANSWER)])
        assert refused(line, False, said(11, b"\0\0\5abc", 1)) is Reason.BAD_DTLS
        assert refused(line, False, SERVERS) is Reason.BAD_DTLS

    def test_dtl_4_only_the_first_of_a_chain_counts(self) -> None:
        """The end's own; whoever hangs the right one behind has not its key."""
        line = after([*client(OFFER), *server(ANSWER)])
        wrong = said(11, certificates(MALLORY.der, ALICE.der), 1)
        assert refused(line, False, wrong) is Reason.DTLS_FINGERPRINT
        line = after([*client(OFFER), *server(ANSWER)])
        after(server(said(11, certificates(ALICE.der, MALLORY.der), 1)), line)

    @pytest.mark.parametrize("kind", [12, 13, 14])
    def test_dtl_4_a_server_without_a_certificate(self, kind: int) -> None:
        """Pre-shared keys, anonymous key exchange: its number is taken by something else."""
        line = after([*client(OFFER), *server(ANSWER)])
        assert refused(line, False, said(kind, b"hint", 1)) is Reason.DTLS_NO_CERTIFICATE

    def test_dtl_4_a_client_without_a_certificate(self) -> None:
        """The key exchange has its number, or the list is empty; it must not finish."""
        line = after(HANDSHAKE[:6])
        for octets in (said(16, b"key", 1), CHANGE_CIPHER_SPEC, FINISHED):
            assert refused(line, True, octets) is Reason.DTLS_NO_CERTIFICATE
        assert line.media() == REFUSED
        line = after(HANDSHAKE[:6])
        assert refused(line, True, said(11, certificates(), 1)) is Reason.DTLS_NO_CERTIFICATE

    def test_dtl_4_a_client_whose_certificate_is_late(self) -> None:
        """Its end of the flight overtakes it: dropped without a word, and sent again anyway."""
        line = after(HANDSHAKE[:6])
        after(client(CLIENT_KEY, SIGNATURE), line)
        for octets in (CHANGE_CIPHER_SPEC, FINISHED, CHANGE_CIPHER_SPEC + FINISHED):
            assert not line.passes(Datagram(True, octets))
        assert line.findings() == set()
        after([*client(CLIENTS, CHANGE_CIPHER_SPEC, FINISHED), *server(FINISHED)], line)
        assert line.media() == PROVEN

    def test_gen_3_messages_are_counted(self) -> None:
        """Numbers are remembered, so there is an end to them."""
        line = after([*client(OFFER), *server(ANSWER)])
        after(server(*[said(23, b"", number) for number in range(1, MAX_MESSAGES)]), line)
        assert refused(line, False, said(23, b"", MAX_MESSAGES)) is Reason.BAD_DTLS
        after(server(said(23, b"", 5), ANSWER), line)


class TestFingerprints:
    def test_dtl_4_any_one_of_several(self) -> None:
        """An end may have a certificate of each kind."""
        assert fits(ALICE.der, prints_of(BOB) + prints_of(ALICE))
        assert not fits(ALICE.der, prints_of(BOB) + prints_of(MALLORY))
        assert not fits(ALICE.der, ())

    @pytest.mark.parametrize("name", [b"sha-1", b"sha-224", b"sha-256", b"sha-384", b"sha-512"])
    def test_dtl_4_every_hash_of_rfc_8122(self, name: bytes) -> None:
        """SHA-1 alone is still usual."""
        assert fits(ALICE.der, prints_of(ALICE, name))
        assert not fits(ALICE.der, prints_of(BOB, name))

    def test_dtl_4_the_strongest_hash_decides(self) -> None:
        """A collision of SHA-1 is of no use beside SHA-256 (RFC 8122 section 5)."""
        assert not fits(ALICE.der, prints_of(ALICE, b"sha-1") + prints_of(BOB))
        assert fits(ALICE.der, prints_of(BOB, b"sha-1") + prints_of(ALICE))


class TestNextHandshake:
    AGAIN = (
        said(1, client_hello(use_srtp(1, 7), random=OTHER_RANDOM), 0),
        said(2, server_hello(use_srtp(7), random=OTHER_RANDOM[::-1]), 0),
    )

    @pytest.mark.parametrize("both", [False, True])
    def test_its_profile_counts_from_its_end_on(self, both: bool) -> None:
        """Until then media goes on under the old one, whether that has proven one way or both."""
        mki = use_srtp(1, mki=bytes(30))  # with the tag it is as long as a frame
        offer = said(1, client_hello(mki, random=OTHER_RANDOM), 0)
        answer = said(2, server_hello(mki, random=OTHER_RANDOM[::-1]), 0)
        line = after(HANDSHAKE)
        for by_caller in (True, False)[: 1 + both]:
            assert line.see(by_caller, rtp()).word is Word.PROVEN
        after([*client(offer), *server(answer)], line)
        after([datagram for datagram in HANDSHAKE[2:] if datagram.octets != FINISHED], line)
        assert line.see(True, rtp(10)).word is Word.PROVEN
        assert line.see(True, rtp(40)).word is Word.QUIET  # five frames in clear
        after([*client(FINISHED), *server(FINISHED)], line)
        assert line.see(True, rtp(40)).word is Word.PROVEN

    def test_dtl_4_half_a_certificate_is_not_forgotten_with_a_proof(self) -> None:
        """The second direction is proven in the middle of the next handshake."""
        good = certificates(ALICE.der)
        bad = bytearray(good)
        bad[20] ^= 1
        for begun in range(1, 4):
            line = after(HANDSHAKE)
            assert line.see(True, rtp()).word is Word.PROVEN
            head, tail = said(11, bytes(bad), 1, 0, 99), said(11, good, 1, 99)
            moves = [*client(self.AGAIN[0]), *server(self.AGAIN[1], head)]
            after(moves[:begun], line)
            assert line.see(False, rtp()).word is Word.PROVEN
            after(moves[begun:], line)
            assert refused(line, False, tail) is Reason.DTLS_FINGERPRINT

    def test_it_may_begin_with_a_cookie(self) -> None:
        """Then its hellos have the numbers that certificates had before."""
        line = after(HANDSHAKE)
        again = said(1, client_hello(use_srtp(1), random=OTHER_RANDOM, cookie=b"crumbs"), 1)
        answer = said(2, server_hello(use_srtp(1), random=OTHER_RANDOM[::-1]), 1)
        after([*client(self.AGAIN[0], again), *server(answer)], line)
        after(server(said(11, certificates(ALICE.der), 2)), line)
        assert line.findings() == set()

    def test_a_hello_that_comes_twice_begins_nothing(self) -> None:
        """The network repeats, and so does a client that waits for an answer."""
        line = Line()
        for datagram in HANDSHAKE:
            assert line.passes(datagram)
            if datagram.octets != FINISHED:
                after(client(OFFER), line)
        assert line.media() == PROVEN

    def test_dtl_4_its_client_shows_a_certificate_as_well(self) -> None:
        """Once is not enough."""
        line = after([*HANDSHAKE, *client(self.AGAIN[0]), *server(self.AGAIN[1])])
        assert refused(line, True, said(16, b"key", 1)) is Reason.DTLS_NO_CERTIFICATE

    def test_a_clients_hello_alone_ends_nothing(self) -> None:
        """Anybody could write it; when the server goes on, what was shown still counts."""
        line = after([*HANDSHAKE[:6], *client(CLIENTS)])
        after(client(self.AGAIN[0]), line)
        for by_client, octets in ((True, CLIENT_KEY), (False, DONE)):
            assert not line.passes(Datagram(by_client, octets))
        assert line.findings() == set()
        after(server(ANSWER, DONE), line)
        after(HANDSHAKE[7:], line)
        assert line.media() == PROVEN

    def test_a_servers_hello_alone_ends_nothing(self) -> None:
        """A server that could make us forget half a certificate would send the rest then."""
        line = after(HANDSHAKE[:2])
        assert refused(line, False, self.AGAIN[1]) is Reason.BAD_DTLS
        after(HANDSHAKE[2:], line)
        assert line.media() == PROVEN

    def test_a_client_that_begins_anew_in_the_middle(self) -> None:
        """Of the old handshake nothing counts."""
        line = after(HANDSHAKE[:7])
        after([*client(self.AGAIN[0]), *server(self.AGAIN[1])], line)
        assert not line.passes(Datagram(True, FINISHED))
        after(HANDSHAKE[2:], line)
        assert line.media(16) == PROVEN

    def test_a_client_that_begins_anew_what_began_unseen(self) -> None:
        """The answer to a hello that nobody saw is not the answer to this one."""
        line = after([*server(ANSWER), *client(self.AGAIN[0]), *server(self.AGAIN[1])])
        after(HANDSHAKE[2:], line)
        assert line.media(16) == PROVEN

    def test_a_fingerprint_that_was_wrong_once(self) -> None:
        """The next handshake is judged by what it shows itself."""
        line = after([*client(OFFER), *server(ANSWER)])
        wrong = said(11, certificates(MALLORY.der), 1)
        assert refused(line, False, wrong) is Reason.DTLS_FINGERPRINT
        after([*client(self.AGAIN[0]), *server(self.AGAIN[1]), *HANDSHAKE[2:]], line)
        assert line.media(16) == PROVEN

    def test_after_the_proof_certificates_are_compared_again(self) -> None:
        """Their memory is given back then, so that repetitions are read anew."""
        line = after(HANDSHAKE)
        assert line.media() == PROVEN
        body = certificates(ALICE.der)
        after(server(said(11, body, 1, 0, 99), said(11, body, 1, 99), ANSWER), line)
        wrong = body[:-1] + bytes((body[-1] ^ 1,))
        after_proof = after(HANDSHAKE)
        assert after_proof.media() == PROVEN
        assert refused(after_proof, False, said(11, wrong, 1)) is Reason.DTLS_FINGERPRINT
        assert after_proof.media() == PROVEN

    def test_dtl_4_one_inside_the_encryption_is_hidden(self) -> None:
        """A renegotiation shows by its epoch alone."""
        line = after(HANDSHAKE)
        assert refused(line, True, record(22, bytes(50), 2)) is Reason.DTLS_HIDDEN
        line = after(HANDSHAKE, Line(accept_hidden=True))
        after(client(record(22, bytes(50), 2)), line)
        assert line.findings() == {Reason.DTLS_HIDDEN}


class TestHidden:
    def test_dtl_4_dtls_1_3_may_be_offered(self) -> None:
        """And 1.2 be taken."""
        line = after(client(OFFER_1_3))
        after(HANDSHAKE[1:], line)
        assert line.media() == PROVEN

    def test_dtl_4_dtls_1_3_is_refused(self) -> None:
        """Nobody here can compare its certificates, and unknown is not valid."""
        line = after(client(OFFER_1_3))
        assert refused(line, False, ANSWER_1_3 + CIPHER_1_3) is Reason.DTLS_HIDDEN
        for by_client in (True, False):
            assert refused(line, by_client, CIPHER_1_3) is Reason.DTLS_HIDDEN
        assert line.media() == REFUSED
        assert last(line) is Reason.DTLS_HIDDEN
        assert refused(Line(), True, CIPHER_1_3) is Reason.DTLS_HIDDEN

    def test_dtl_4_dtls_1_3_where_policy_takes_it(self) -> None:
        """It is told once, and media is believed when both ends encrypt."""
        line = after(client(OFFER_1_3), Line(accept_hidden=True))
        after(server(ANSWER_1_3 + CIPHER_1_3, CIPHER_1_3), line)
        told = [sight.finding.reason for sight in line.sights if sight.finding is not None]
        assert told == [Reason.DTLS_HIDDEN]
        assert line.media() == QUIET
        after(client(CIPHER_1_3), line)
        assert line.see(True, rtcp()).word is Word.PASS
        assert line.see(True, rtcp(0)).word is Word.QUIET
        assert line.media(10, 1) == (Word.PASS, Word.PASS)  # the profile is hidden, too
        assert line.media(10, 2) == PROVEN
        assert line.media(0, 3) == QUIET
        assert "1.3" in line.prover.told(True)

    def test_dtls_1_3_with_a_hello_retry_request(self) -> None:
        """Two answers to one client, both of 1.3 (RFC 9147 section 5.1)."""
        line = after(client(OFFER_1_3), Line(accept_hidden=True))
        again = server_hello(extension(43, b"\xfe\xfc"), random=OTHER_RANDOM)
        after([*server(ANSWER_1_3), *client(OFFER_1_3), *server(said(2, again, 1))], line)
        after([*server(CIPHER_1_3), *client(CIPHER_1_3)], line)
        assert len([sight for sight in line.sights if sight.finding]) == 1
        assert refused(line, False, said(2, server_hello(use_srtp(1)), 2)) is Reason.BAD_DTLS
        line.media(10, 1)
        assert line.media(10, 2) == PROVEN

    def test_what_stands_behind_a_hello_of_1_3_is_read(self) -> None:
        """In the same record, too."""
        line = after(client(OFFER_1_3), Line(accept_hidden=True))
        hello = piece(2, server_hello(extension(43, b"\xfe\xfc")), 0)
        wrong = piece(11, certificates(MALLORY.der), 1)
        assert refused(line, False, record(22, hello + wrong)) is Reason.DTLS_FINGERPRINT
        line = after(client(OFFER_1_3), Line(accept_hidden=True))
        after(server(record(22, hello + piece(8, b"", 1))), line)
        assert line.findings() == {Reason.DTLS_HIDDEN}

    def test_records_of_1_3_under_an_older_version(self) -> None:
        """What follows in the datagram could be anything."""
        line = after(HANDSHAKE[:2], Line(accept_hidden=True))
        assert refused(line, False, CIPHER_1_3) is Reason.BAD_DTLS

    def test_a_handshake_of_1_3_that_began_unseen(self) -> None:
        """It passes and proves nothing."""
        line = Line(accept_hidden=True)
        after([*client(CIPHER_1_3), *server(CIPHER_1_3)], line)
        assert line.media() == QUIET

    @pytest.mark.parametrize("accepts", [False, True])
    def test_dtl_4_a_resumed_session(self, accepts: bool) -> None:
        """The server is ready to encrypt, and has shown no certificate."""
        line = after([*client(OFFER), *server(ANSWER)], Line(accept_hidden=accepts))
        if not accepts:
            for octets in (CHANGE_CIPHER_SPEC, FINISHED):
                assert refused(line, False, octets) is Reason.DTLS_HIDDEN
            assert line.media() == REFUSED
            return
        ends = (CHANGE_CIPHER_SPEC, FINISHED)
        after([*server(said(4, b"ticket", 1), *ends), *client(*ends)], line)
        assert line.findings() == {Reason.DTLS_HIDDEN}
        assert line.media() == PROVEN

    def test_dtl_4_a_forged_end_does_not_spoil_a_handshake(self) -> None:
        """ChangeCipherSpec can be written by anybody; certificates that come later count."""
        line = after(HANDSHAKE[:2])
        assert refused(line, False, CHANGE_CIPHER_SPEC) is Reason.DTLS_HIDDEN
        after(HANDSHAKE[2:], line)
        assert line.media() == PROVEN

    def test_dtl_4_a_wrong_certificate_is_wrong_whatever_policy_takes(self) -> None:
        """What can be seen counts."""
        line = after(HANDSHAKE[:2], Line(accept_hidden=True))
        wrong = said(11, certificates(MALLORY.der), 1)
        assert refused(line, False, wrong) is Reason.DTLS_FINGERPRINT


class TestOtherPackets:
    STUN = b"\0\1\0\0\x21\x12\xa4\x42" + bytes(12)

    def test_dtl_10_stun_passes_at_any_time(self) -> None:
        """Session border controllers open their own paths with it (RFC 5763 section 6.7.2)."""
        line = Line()
        for _ in range(2):
            assert line.see(True, self.STUN) == Sight(Word.PASS)
            after(HANDSHAKE, line)

    @pytest.mark.parametrize(
        ("payload", "word"),
        [
            (b"", Word.QUIET),
            (b"\0", Word.QUIET),
            (b"\r\n\r\n", Word.QUIET),
            (b"\x10\0\0\1ZRTP" + bytes(20), Word.QUIET),
            (b"\0\1\0\0" + bytes(16), Word.REFUSE),
            (b"\x40\0\0\4data", Word.REFUSE),
            (b"GET / HTTP/1.1", Word.REFUSE),
            (b"\xff" * 20, Word.REFUSE),
        ],
        ids=["empty", "NUL", "CRLF", "ZRTP", "no STUN", "TURN", "text", "other"],
    )
    def test_dtl_7_what_does_not_belong_here(self, payload: bytes, word: Word) -> None:
        """Dropped, and told unless honest telephones send it."""
        for line in (Line(), after(HANDSHAKE)):
            assert line.see(True, payload).word is word
            assert line.findings() <= {Reason.UNKNOWN_MEDIA}


class TestEarlyMedia:
    def test_srt_3_clear_rtp_is_told_when_it_goes_on(self) -> None:
        """Telephones leak a packet or two between handshakes; more is a stream in clear."""
        line = Line()
        for _ in range(MAX_LEAKS):
            assert line.media(0) == QUIET
        assert line.media(0) == REFUSED
        assert last(line) is Reason.PLAIN_RTP

    def test_srt_3_the_same_of_rtcp(self) -> None:
        """Telephones begin with a report in clear."""
        line = Line()
        for _ in range(MAX_LEAKS):
            assert line.see(True, rtcp(0)).word is Word.QUIET
        assert fault(line.see(True, rtcp(0))) is Reason.PLAIN_RTP

    def test_srt_10_media_without_a_handshake_is_told_after_a_second(self) -> None:
        """Encrypted by what nobody saw agreed on."""
        line = Line()
        for number in range(MAX_EARLY):
            assert line.media(10, number) == QUIET
        assert line.media() == REFUSED
        assert last(line) is Reason.MEDIA_TOO_EARLY
        after(HANDSHAKE, line)
        assert line.media() == PROVEN

    @pytest.mark.parametrize(
        ("payload", "reason"),
        [(b"\x80\0\0", Reason.BAD_RTP), (b"\x80\xc9\0\1", Reason.BAD_RTCP)],
    )
    def test_srt_1_what_is_no_packet_is_refused(self, payload: bytes, reason: Reason) -> None:
        """Before and after the handshake."""
        for line in (Line(), after(HANDSHAKE)):
            assert fault(line.see(True, payload)) is reason


class TestMedia:
    def test_srt_3_clear_rtp_after_the_handshake(self) -> None:
        """What is in flight when keys come is dropped in silence, what goes on is told."""
        line = after(HANDSHAKE)
        for _ in range(MAX_LEAKS):
            assert line.media(0) == QUIET
        assert line.media(0) == REFUSED
        assert last(line) is Reason.PLAIN_RTP
        assert "no encrypted media" in line.prover.told(True)
        assert line.media(10) == PROVEN

    def test_srt_3_the_directions_are_proven_one_by_one(self) -> None:
        """A side that is silent, or in clear, is not proven by the other."""
        line = after(HANDSHAKE)
        assert line.see(True, rtp()).word is Word.PROVEN
        assert line.see(False, rtp(0)).word is Word.QUIET
        assert "looks encrypted" in line.prover.told(True)
        assert "no encrypted media" in line.prover.told(False)

    def test_srt_3_an_unknown_look_needs_a_second_packet(self) -> None:
        """20 octets of G.729 may be two frames in clear or one with a tag: time tells."""
        prints = prints_of(ALICE), prints_of(BOB)
        g729 = formats(b"18")
        line = after(HANDSHAKE, Line(DtlsProver(*prints, b"actpass", b"active", False, g729)))
        for by_caller, size, words in (
            (True, 20, [Word.PASS, Word.QUIET, Word.QUIET]),
            (False, 30, [Word.PASS, Word.PROVEN, Word.PROVEN]),
        ):
            packets = [rtp(0, number, kind=18, size=size) for number in (1, 2, 3)]
            assert [line.see(by_caller, packet).word for packet in packets] == words

    def test_srt_3_a_codec_that_shows_nothing(self) -> None:
        """Opus may have any size; the second packet of one sender proves."""
        prints = prints_of(ALICE), prints_of(BOB)
        opus = formats(b"96", b"96 opus/48000/2")
        line = after(HANDSHAKE, Line(DtlsProver(*prints, b"actpass", b"active", False, opus)))
        packets = [rtp(0, number, kind=96, size=77, ssrc=number // 2) for number in range(1, 4)]
        words = [line.see(True, packet).word for packet in packets]
        assert words == [Word.PASS, Word.PASS, Word.PROVEN]

    def test_srt_3_packets_that_are_never_two_in_a_row(self) -> None:
        """They are waited for, but not for ever."""
        prints = prints_of(ALICE), prints_of(BOB)
        opus = formats(b"96", b"96 opus/48000/2")
        line = after(HANDSHAKE, Line(DtlsProver(*prints, b"actpass", b"active", False, opus)))
        packets = [rtp(0, 2 * number, kind=96, size=77) for number in range(MAX_GUESSES + 1)]
        words = [line.see(True, packet).word for packet in packets]
        assert words == [Word.PASS] * MAX_GUESSES + [Word.PROVEN]

    def test_srt_1_payload_types_are_those_of_signalling(self) -> None:
        """An odd one is dropped, many are told."""
        line = after(HANDSHAKE)
        for _ in range(MAX_LEAKS):
            assert line.see(True, rtp(10, kind=99)).word is Word.QUIET
        assert fault(line.see(True, rtp(10, kind=99))) is Reason.BAD_RTP

    def test_srt_4_a_stream_does_not_change_its_ssrc_with_each_packet(self) -> None:
        """Packets of many senders prove none of them."""
        prints = prints_of(ALICE), prints_of(BOB)
        opus = formats(b"96", b"96 opus/48000/2")
        line = after(HANDSHAKE, Line(DtlsProver(*prints, b"actpass", b"active", False, opus)))
        for ssrc in range(MAX_SOURCES):
            assert line.see(True, rtp(0, kind=96, size=77, ssrc=ssrc)).word is Word.PASS
        assert fault(line.see(True, rtp(0, kind=96, size=77, ssrc=99))) is Reason.SSRC_CHANGES

    def test_srt_4_each_ssrc_proves_itself(self) -> None:
        """The kernel forwards one alone; another one's reports do not speak for its speech."""
        prints = prints_of(ALICE), prints_of(BOB)
        g729 = formats(b"18")
        line = after(HANDSHAKE, Line(DtlsProver(*prints, b"actpass", b"active", False, g729)))
        for number in (1, 2):
            line.see(True, rtp(0, number, kind=18, size=30))
        assert line.sights[-1].word is Word.PROVEN
        other = rtcp()[:4] + b"\0\0\0\7" + rtcp()[8:]
        assert line.see(True, rtcp()).word is Word.PROVEN
        assert line.see(True, other).word is Word.PASS
        clear = [rtp(0, number, kind=18, size=20, ssrc=7) for number in (1, 2, 3)]
        words = [line.see(True, packet).word for packet in clear]
        assert words == [Word.PASS, Word.QUIET, Word.QUIET]
        sealed = [rtp(0, number, kind=18, size=30, ssrc=8) for number in (1, 2, 3)]
        words = [line.see(True, packet).word for packet in sealed]
        assert words == [Word.PASS, Word.PROVEN, Word.PROVEN]

    def test_srt_4_proven_ssrcs_are_counted(self) -> None:
        """The oldest is asked again."""
        line = after(HANDSHAKE)
        for ssrc in [*range(100), *range(100)]:
            assert line.see(True, rtp(ssrc=ssrc)).word is Word.PROVEN

    def test_pin_14_media_comes_from_the_port_of_the_handshake(self) -> None:
        """SRTP and DTLS share their ports; another source has shown no certificate."""
        line = after(HANDSHAKE)
        assert line.see(True, FINISHED, port=1234).word is Word.PASS
        assert fault(line.see(True, rtp(), port=1234)) is Reason.OTHER_SOURCE
        assert line.see(True, rtp()).word is Word.PROVEN

    def test_pin_14_a_client_whose_port_moves_shows_its_certificate_again(self) -> None:
        """Up to a few ports, not to all of them."""
        line = after(HANDSHAKE)
        for port in range(1, 10):
            line.see(True, SERVERS, port=port)
        words = [line.see(True, rtp(), port=port).word for port in range(1, 10)]
        assert words.count(Word.PROVEN) == MAX_ORIGINS - 1

    def test_pin_14_media_on_another_pair_of_addresses(self) -> None:
        """ICE changes them under a running association, and has checked the new ones."""
        line = Line()
        for at, datagram in enumerate(HANDSHAKE):
            by_caller = not datagram.by_client
            source = (b"1111", 40000) if by_caller else (b"2222", 50000)
            there = (b"2222", 50000) if by_caller else (b"1111", 40000)
            flight = Flight(
                by_caller, False, source[1], datagram.octets, float(at), source[0], *there
            )
            assert line.prover.see(flight).word is Word.PASS
        words = [
            line.prover.see(Flight(True, False, port, rtp(), 9.0, address, b"2222", 50000)).word
            for address, port in ((b"1111", 40001), (b"3333", 40001), (b"1111", 40000))
        ]
        assert words == [Word.REFUSE, Word.PROVEN, Word.PROVEN]

    def test_srt_2_rtcp_beside_rtp_proves_nothing(self) -> None:
        """On a shared port: encrypted reports beside clear speech would be easy to send."""
        line = after(HANDSHAKE)
        assert line.see(True, rtcp()).word is Word.PASS
        assert line.see(True, rtp(0)).word is Word.QUIET
        line.now_s += 5
        assert line.see(True, rtcp()).word is Word.PASS
        assert line.see(True, rtp()).word is Word.PROVEN
        assert line.see(True, rtcp()).word is Word.PROVEN

    def test_srt_2_the_index_stands_behind_an_aead_tag(self) -> None:
        """RFC 7714 section 9; of other suites before it."""
        answer = said(2, server_hello(use_srtp(7)), 0)
        line = after([*client(OFFER), *server(answer), *HANDSHAKE[2:]])
        behind = rtcp(0) + bytes(16) + b"\x80\0\0\1"
        assert line.see(True, rtcp(16)).word is Word.QUIET
        assert line.see(True, behind).word is Word.PASS
        assert after(HANDSHAKE).see(True, rtcp(0) + bytes(10) + b"\x80\0\0\1").word is Word.QUIET

    def test_srt_2_rtcp_alone_proves_after_a_second(self) -> None:
        """Who only listens sends nothing else."""
        line = after(HANDSHAKE)
        assert line.see(True, rtcp()).word is Word.PASS
        line.now_s += 1
        after(client(record(21, bytes(30), 1)), line)
        assert line.see(True, rtcp(0)).word is Word.QUIET
        assert line.see(True, rtcp()).word is Word.PROVEN

    def test_a_port_for_rtcp_has_its_own_handshake(self) -> None:
        """RFC 5764 section 4.2; its first report proves it."""
        line = after(HANDSHAKE)
        assert line.media() == PROVEN
        assert line.see(True, rtcp(), is_rtcp=True).word is Word.QUIET
        for datagram in HANDSHAKE:
            by_caller = not datagram.by_client
            assert line.see(by_caller, datagram.octets, is_rtcp=True).word is Word.PASS
        assert "for RTCP the DTLS handshake is over" in line.prover.told(True)
        assert line.see(True, rtp(), is_rtcp=True).word is Word.QUIET
        for by_caller in (True, False):
            assert line.see(by_caller, rtcp(), is_rtcp=True).word is Word.PROVEN
        assert "RTCP" not in line.prover.told(True)

    def test_srt_2_rtp_on_a_port_for_rtcp(self) -> None:
        """Told when it goes on."""
        line = Line()
        for datagram in HANDSHAKE:
            line.see(not datagram.by_client, datagram.octets, is_rtcp=True)
        words = [line.see(True, rtp(), is_rtcp=True).word for _ in range(MAX_LEAKS + 1)]
        assert words == [Word.QUIET] * MAX_LEAKS + [Word.REFUSE]
        assert last(line) is Reason.BAD_RTCP


class TestSamples:
    def test_srt_3_a_proven_stream_that_goes_on_in_clear(self) -> None:
        """A copy now and then is looked at; some in a row take the proof back."""
        line = after(HANDSHAKE)
        assert line.media() == PROVEN
        for _ in range(3):
            for _ in range(MAX_DOUBTS - 1):
                assert line.sample(True, rtp(0)) == Sight(Word.PASS)
            assert line.sample(True, rtp()) == Sight(Word.PASS)
        words = [line.sample(True, rtp(0)).word for _ in range(MAX_DOUBTS)]
        assert words[-1] is Word.REFUSE
        assert "no encrypted media" in line.prover.told(True)
        assert line.see(True, rtp(0)).word is Word.QUIET
        assert line.see(True, rtp()).word is Word.PROVEN

    def test_srt_3_what_could_be_either_does_not_end_a_doubt(self) -> None:
        """Only a packet that is too long for a clear one does."""
        line = after(HANDSHAKE)
        assert line.media() == PROVEN
        unclear = rtp(0, size=165)
        for _ in range(MAX_DOUBTS - 1):
            assert line.sample(True, rtp(0)) == Sight(Word.PASS)
            assert line.sample(True, unclear) == Sight(Word.PASS)
        assert fault(line.sample(True, rtp(0))) is Reason.PLAIN_RTP

    @pytest.mark.parametrize("payload", [rtcp(0), b"\x80", b"\x80\xc9\0\0"])
    def test_srt_2_so_does_anything_else_that_is_not_encrypted(self, payload: bytes) -> None:
        """Reports in clear, or what is no packet at all."""
        line = after(HANDSHAKE)
        assert line.media() == PROVEN
        assert line.sample(True, rtcp()) == Sight(Word.PASS)
        words = [line.sample(True, payload).word for _ in range(MAX_DOUBTS)]
        assert words[-1] is Word.REFUSE

    def test_a_copy_of_a_handshake(self) -> None:
        """Parts of it may be missing; what is wrong by itself is wrong."""
        line = after(HANDSHAKE)
        for datagram in HANDSHAKE:
            assert line.sample(not datagram.by_client, datagram.octets).word is Word.PASS
        assert line.media() == PROVEN
        assert fault(line.sample(True, OFFER)) is Reason.DTLS_ROLE
        for at, reason in ((1, None), (11, None), (2, Reason.DTLS_FINGERPRINT)):
            octets = HANDSHAKE[at].octets if at != 2 else said(11, certificates(BOB.der), 1)
            sight = line.sample(True, octets)
            assert (sight.finding.reason if sight.finding else None) is reason
        assert line.sample(True, b"\r\n") == Sight(Word.PASS)

    def test_before_any_handshake_nothing_is_known(self) -> None:
        """An earlier run of sipguard may have proven it."""
        assert Line().sample(True, rtp(0)) == Sight(Word.PASS)


def test_told_says_how_far_it_came() -> None:
    """For the record, in words."""
    line = Line()
    assert line.prover.told(True) == "no DTLS handshake was seen"
    after(client(OFFER), line)
    assert line.prover.told(True) == "the DTLS handshake is not over"
    after(HANDSHAKE[1:], line)
    line.media()
    assert "signalled certificates" in line.prover.told(True)
    line.prover.wipe()
    assert line.prover.told(True) == "no DTLS handshake was seen"
    assert line.media() == QUIET


# --- properties

PARTS = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([datagram.octets for datagram in HANDSHAKE]),
    st.sampled_from([OFFER_1_3, ANSWER_1_3, CIPHER_1_3, *TestNextHandshake.AGAIN]),
    st.builds(record, st.integers(19, 27), st.binary(max_size=20), st.integers(0, 3)),
    st.builds(
        said,
        st.integers(0, 23),
        st.binary(max_size=20),
        st.integers(0, 3),
        st.integers(0, 9),
        st.integers(0, 20),
    ),
    st.builds(rtp, st.integers(-20, 20), st.integers(0, 9), kind=st.integers(0, 127)),
    st.builds(rtcp, st.integers(0, 20)),
)


@given(
    st.lists(
        st.tuples(
            st.booleans(),
            st.booleans(),
            st.booleans(),
            st.lists(PARTS, min_size=1, max_size=3).map(b"".join),
        ),
        max_size=25,
    ),
    st.booleans(),
)
def test_any_datagrams_get_an_answer(
    packets: list[tuple[bool, bool, bool, bytes]], accept_hidden: bool
) -> None:
    """Nothing raises; a refusal says why, and other words need not."""
    line = Line(accept_hidden=accept_hidden)
    for at, (by_caller, is_rtcp, is_copy, payload) in enumerate(packets):
        flight = Flight(by_caller, is_rtcp, PORTS[by_caller], payload, float(at))
        sight = line.prover.sample(flight) if is_copy else line.prover.see(flight)
        assert sight.word is not Word.REFUSE or sight.finding is not None
        assert line.prover.told(by_caller)


RIGHT = certificates(bytes(range(100, 140)))
WRONG = (  # each shares a part with the right one
    RIGHT[:20] + b"wrong" + RIGHT[25:],
    RIGHT[:6] + b"wrong" + RIGHT[11:],
    RIGHT[:-5] + b"wrong",
)
RANDOMS = st.sampled_from([HELLO_RANDOM, OTHER_RANDOM, b"r" * 32])
SERVERS_MOVES = st.one_of(
    st.tuples(
        st.sampled_from(["piece"]),
        st.sampled_from([RIGHT, *WRONG]),
        st.integers(0, len(RIGHT)),
        st.integers(0, len(RIGHT)),
        st.sampled_from([1, 1, 1, 2]),
        st.sampled_from([11, 11, 11, 12]),
    ),
    st.tuples(st.sampled_from(["client", "server"]), RANDOMS),
)


class Reader:
    """A client that puts the server's certificate together, and compares it with nothing.

    Of octets that come twice it takes the first or the last ones. When it begins another
    handshake it forgets what it had.
    """

    def __init__(self, takes_last: bool) -> None:
        self.takes_last = takes_last
        self.octets: dict[int, dict[int, int]] = {}

    def take(self, number: int, start: int, octets: bytes) -> None:
        had = self.octets.setdefault(number, {})
        for at, octet in enumerate(octets, start):
            had[at] = octet if self.takes_last else had.get(at, octet)

    def believes(self) -> Iterable[bytes]:
        for had in self.octets.values():
            if len(had) == len(RIGHT):
                yield bytes(had[at] for at in range(len(RIGHT)))


@given(st.lists(SERVERS_MOVES, max_size=30))
def test_dtl_4_no_order_of_fragments_brings_a_wrong_certificate_through(
    moves: list[tuple[str, bytes] | tuple[str, bytes, int, int, int, int]],
) -> None:
    """A liar at the server's end cuts, repeats, renumbers and begins anew; the client is honest.

    Whatever of it passes, no client puts another certificate together than the signalled one.
    """
    digest = hashlib.sha256(RIGHT[6:]).digest()
    prints = prints_of(BOB), (Fingerprint(b"sha-256", digest),)
    line = Line(DtlsProver(*prints, b"active", b"passive", False, formats()))
    readers = (Reader(False), Reader(True))
    now = b""
    for move in moves:
        if len(move) == 6:
            _, body, start, end, number, kind = move
            start, end = min(start, end), max(start, end)
            passes = line.see(False, said(kind, body, number, start, end)).word is Word.PASS
            for reader in readers if passes and kind == 11 else ():
                reader.take(number, start, body[start:end])
        elif move[0] == "server":
            line.see(False, said(2, server_hello(use_srtp(1), random=move[1]), 0))
        else:
            line.see(True, said(1, client_hello(use_srtp(1), random=move[1]), 0))
            for reader in readers if move[1] != now else ():
                reader.octets = {}
            now = move[1]
    for reader in readers:
        assert set(reader.believes()) <= {RIGHT}


def test_the_readers_of_the_property_can_be_fooled() -> None:
    """Without a gate a wrong certificate comes through."""
    reader = Reader(False)
    reader.take(1, 0, WRONG[0])
    reader.take(1, 0, RIGHT)
    assert list(reader.believes()) == [WRONG[0]]
    assert struct.calcsize("!BBHLL") == 12
