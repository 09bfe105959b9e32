"""How streams ended: on the record of their call, both directions side by side, within a bound."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stream_ends import ALICE, BOB, CALL, NOON, ended, invited, refused

from sipguard.journal.attempt import LINGER_S, LONGEST_CALL_S, MAX_OF_CALL
from sipguard.journal.ledger import LONGEST_S, WINDOW_S, Ledger
from sipguard.journal.record import MAX_MEDIA, Record
from sipguard.journal.streams import MAX_ENDS, Closer, Ends, StreamEnd, closer_of
from sipguard.reason import Reason
from sipguard.verdict import Action

MALLORY = bytes([10, 0, 0, 66])


def told(record: Record) -> list[tuple[object, ...]]:
    """Return where each end in a record's JSON led, in order."""
    streams = json.loads(record.to_line())["streams"]
    return [(end["dst"], end["dst_port"], end["packets"]) for end in streams]


def grown(ledger: Ledger, at_s: float = NOON) -> list[Record]:
    return ledger.flush(at_s)


# --- on the record of the call


def test_a_recorded_call_is_told_how_its_streams_ended() -> None:
    """`record all`: hours after its INVITE, when the attempt is long closed."""
    ledger = Ledger()
    first = ledger.note(invited())
    assert first is not None
    assert grown(ledger, NOON + WINDOW_S + 1) == []
    assert len(ledger) == 0
    later = NOON + LONGEST_S + 7200
    ledger.stream_ended(ended(at_s=later))
    ledger.stream_ended(ended(BOB, ALICE, 40000, at_s=later, packets=7, source_port=4000))
    (record,) = grown(ledger, later)
    assert record.id == first.id
    assert told(record) == [("10.0.0.9", 4000, 1502), ("10.0.0.5", 40000, 7)]
    assert (record.count, record.last_s, record.message) == (1, NOON, b"")


def test_every_key_of_an_end() -> None:
    """Scripts read these; how it was proven and why it ended are words and codes."""
    ledger = Ledger()
    ledger.note(invited())
    ledger.stream_ended(ended())
    (record,) = grown(ledger)
    assert json.loads(record.to_line())["streams"] == [
        {
            "time": "2026-01-01T12:00:00.000Z",
            "kind": "audio",
            "key_method": "sdes",
            "suite": "AES_CM_128_HMAC_SHA1_80",
            "src": "10.0.0.5",
            "src_port": 40000,
            "dst": "10.0.0.9",
            "dst_port": 4000,
            "proven": True,
            "proof": "SRTP tag verified",
            "packets": 1502,
            "octets": 258344,
            "closed_by": "callee",
            "reason": "call-ended",
            "why": "The call ended.",
        }
    ]


def test_a_call_without_a_record_gets_none() -> None:
    """Good calls that nobody asked for stay out of the store."""
    ledger = Ledger()
    ledger.note(invited(call_id=b"another"))
    ledger.stream_ended(ended())
    assert grown(ledger) == []


def test_what_a_stranger_sent_under_the_call_id_gets_none() -> None:
    """A refused message is no part of the call: a thousand of them cost no writing at its end."""
    ledger = Ledger()
    ledger.note(invited(source=MALLORY, judged=Action.DROP))
    ledger.note(invited(source=MALLORY, method=b"BYE"))
    ledger.stream_ended(ended())
    assert all(not record.streams for record in grown(ledger))


def test_in_shadow_mode_what_passed_belongs_to_the_call() -> None:
    """It would have been refused, and its streams ran all the same."""
    ledger = Ledger()
    would_drop = invited(judged=Action.DROP)._replace(action=Action.ACCEPT)
    ledger.note(would_drop)
    ledger.stream_ended(ended())
    assert [told(record) for record in grown(ledger)] == [[("10.0.0.9", 4000, 1502)]]


def test_a_refused_packet_makes_a_record_that_gets_the_ends_too() -> None:
    """Dropped at noon, explained with what became of the stream: both directions of it."""
    ledger = Ledger()
    first = ledger.note(refused())
    assert first is not None
    assert (first.method, first.caller, first.octets) == ("media audio", "", 0)
    ledger.stream_ended(ended(packets=0, reason=Reason.UNPROVEN, closer=Closer.GATE))
    ledger.stream_ended(ended(BOB, ALICE, 40000, at_s=NOON + 30))
    (record,) = grown(ledger)
    assert (record.id, record.verdict) == (first.id, Action.DROP)
    assert told(record) == [("10.0.0.9", 4000, 0), ("10.0.0.5", 40000, 1502)]


def test_a_refused_packet_says_who_is_calling_if_that_is_known() -> None:
    """Packets have no From; an accepted message of the same call had one."""
    ledger = Ledger()
    ledger.note(invited(source=MALLORY, judged=Action.DROP))  # a stranger's From is none
    assert ledger.note(refused(source=ALICE)) is not None
    ledger.note(invited(source=bytes([10, 0, 3, 1]), call_id=b"proxied"))
    record = ledger.note(refused(source=BOB, call_id=b"proxied"))
    assert record is not None
    assert (record.caller, record.from_) == ("alice@example.com", "<sip:alice@example.com>;tag=1")
    assert (record.contact, record.octets) == ("", 0)
    assert [rung.message for rung in record.ladder] == ["INVITE", "media audio"]


def test_what_says_nothing_of_the_caller_is_passed_over() -> None:
    """A refused packet was recorded first; the call's message after it knows more."""
    ledger = Ledger()
    ledger.note(refused(source=ALICE))
    ledger.note(invited(source=bytes([10, 0, 3, 1])))
    record = ledger.note(refused(source=BOB))
    assert record is not None
    assert record.caller == "alice@example.com"


def test_a_refused_packet_takes_the_headline_and_leaves_the_call() -> None:
    """The logged INVITE of the same host: blocked now, and still about this very call."""
    ledger = Ledger()
    first = ledger.note(invited())
    worse = ledger.note(refused(NOON + 1))
    assert first is not None
    assert worse is not None
    assert (worse.id, worse.reason, worse.method) == (first.id, Reason.PLAIN_RTP, "media audio")
    assert (worse.caller, worse.contact) == (first.caller, first.contact)
    assert (worse.octets, worse.message) == (first.octets, b"")
    ledger.stream_ended(ended())
    (record,) = grown(ledger)
    assert told(record) == [("10.0.0.9", 4000, 1502)]


def test_further_faults_of_a_stream_are_notes_beside_the_first() -> None:
    """Clear RTP first, then a wrong tag: both are told, each once, and not more than a few."""
    ledger = Ledger()
    ledger.note(refused())
    for reason in (Reason.SRTP_TAG, Reason.SRTP_TAG, Reason.PLAIN_RTP):
        ledger.note(refused(NOON + 1, reason=reason))
    (record,) = grown(ledger)
    noted = [note["reason"] for note in json.loads(record.to_line())["media"]]
    assert noted == ["plain-rtp", "srtp-tag"]
    ledger.note(refused(NOON + 1))
    assert [len(record.media) for record in grown(ledger)] == [2]
    for port in range(1, 50):
        ledger.note(refused(NOON + 1, reason=Reason.BAD_RTP, sport=port))
    (record,) = grown(ledger)
    assert len(record.media) == MAX_MEDIA


def test_ends_survive_whatever_the_attempt_does_next() -> None:
    """They are told once and stay, also where another message changes the record."""
    ledger = Ledger()
    ledger.note(invited())
    ledger.stream_ended(ended(reason=Reason.RENEGOTIATED))
    ledger.note(refused(NOON + 1))
    ledger.note(refused(NOON + 2, reason=Reason.SRTP_TAG))
    (record,) = grown(ledger)
    assert told(record) == [("10.0.0.9", 4000, 1502)]


# --- how long and how many


def test_a_call_that_is_over_is_forgotten() -> None:
    """A little later: the other directions and forks are told in the same breath."""
    ledger = Ledger()
    ledger.note(invited())
    ledger.stream_ended(ended())
    ledger.stream_ended(ended(BOB, ALICE, 40000, at_s=NOON + LINGER_S))
    assert [len(record.streams) for record in grown(ledger, NOON + LINGER_S)] == [2]
    grown(ledger, NOON + LINGER_S + 1)
    ledger.stream_ended(ended(port=6000, at_s=NOON + LINGER_S + 1))
    assert grown(ledger) == []


@pytest.mark.parametrize("reason", [Reason.RENEGOTIATED, Reason.UNPROVEN])
def test_a_stream_that_ends_within_the_call_leaves_it_running(reason: Reason) -> None:
    """Its other streams end hours later."""
    ledger = Ledger()
    ledger.note(invited())
    ledger.stream_ended(ended(reason=reason))
    grown(ledger, NOON + 7200)
    ledger.stream_ended(ended(port=6000, at_s=NOON + 7200))
    assert [len(record.streams) for record in grown(ledger)] == [2]


def test_a_call_without_an_end_is_not_kept_for_ever() -> None:
    """An INVITE that nobody answered opened nothing, and nothing will tell."""
    ledger = Ledger()
    ledger.note(invited())
    grown(ledger, NOON + LONGEST_CALL_S + 1)
    ledger.stream_ended(ended())
    assert grown(ledger) == []


def test_running_calls_are_kept_before_those_that_are_over() -> None:
    """At the bound the oldest goes, but first what waits for nothing."""
    ledger = Ledger(max_open=3, per_source=10**9)
    for name in (b"1", b"2", b"3"):
        ledger.note(invited(call_id=name))
    ledger.stream_ended(ended(call_id=b"2"))
    grown(ledger)
    ledger.note(invited(call_id=b"4"))
    for name in (b"1", b"2", b"3", b"4"):
        ledger.stream_ended(ended(port=6000, call_id=name))
    assert [record.call_id for record in grown(ledger)] == ["1", "3", "4"]


def test_the_calls_that_wait_for_their_ends_have_a_bound() -> None:
    """Whatever is let through, no more attempts are remembered than that."""
    ledger = Ledger(max_open=50, per_source=10**9, per_reason=10**9)
    for number in range(500):
        ledger.note(invited(call_id=b"%d" % number))
    for number in range(500):
        ledger.stream_ended(ended(call_id=b"%d" % number))
    assert len(grown(ledger)) == 50


def test_one_call_has_a_bounded_number_of_records_to_update() -> None:
    """A call that lasts all day is refused packets now and then: the latest are told its end."""
    ledger = Ledger(per_source=10**9, per_reason=10**9)
    for number in range(3 * MAX_OF_CALL):
        ledger.note(refused(NOON + number * (WINDOW_S + 1)))
    ledger.stream_ended(ended())
    assert len(grown(ledger)) == MAX_OF_CALL


# --- side by side


def test_directions_of_a_stream_stand_side_by_side() -> None:
    """Told as holes close: those to the caller first, RTP and RTCP of two streams."""
    ends = Ends()
    for kind, port in ((b"audio", 4000), (b"video", 5000)):
        for end in (
            ended(BOB, ALICE, port + 1000, kind=kind),
            ended(BOB, ALICE, port + 1001, kind=kind),
            ended(ALICE, BOB, port, kind=kind),
            ended(ALICE, BOB, port + 1, kind=kind),
        ):
            assert ends.add(end)
    order = [(end["kind"], end["dst_port"]) for end in ends.to_json() if isinstance(end, dict)]
    assert order == [
        *(("audio", 5000), ("audio", 4000), ("audio", 5001), ("audio", 4001)),
        *(("video", 6000), ("video", 5000), ("video", 6001), ("video", 5001)),
    ]


def test_audio_is_not_the_other_direction_of_video() -> None:
    """However they come, each stands beside its own."""
    ends = Ends()
    for source, kind in ((ALICE, b"audio"), (BOB, b"video"), (BOB, b"audio"), (ALICE, b"video")):
        ends.add(ended(source, BOB if source == ALICE else ALICE, kind=kind))
    kinds = [end["kind"] for end in ends.to_json() if isinstance(end, dict)]
    assert kinds == ["audio", "audio", "video", "video"]


def test_a_hole_that_was_closed_before_is_not_told_again() -> None:
    """The gate closes what proves nothing; its call closes it once more, with nothing counted."""
    ends = Ends()
    assert ends.add(ended(packets=0, reason=Reason.UNPROVEN))
    assert not ends.add(ended(packets=0))
    assert len(ends) == 1


def test_a_hole_that_was_opened_again_is_told_again() -> None:
    """On hold and off: it carried something both times."""
    ends = Ends()
    assert ends.add(ended(packets=10, reason=Reason.RENEGOTIATED))
    assert ends.add(ended(packets=20))
    assert len(ends) == 2


def test_an_old_end_of_nothing_new_writes_no_record() -> None:
    """A record is written again where it has something to say."""
    ledger = Ledger()
    ledger.note(refused())
    ledger.stream_ended(ended(packets=0, reason=Reason.UNPROVEN))
    assert len(grown(ledger)) == 1
    ledger.stream_ended(ended(packets=0))
    assert grown(ledger) == []


def test_what_carried_something_has_room_before_what_did_not() -> None:
    """ICE opens many ways for one that is used, and that one may end last."""
    ends = Ends()
    for port in range(1, MAX_ENDS + 11):
        ends.add(ended(port=port, packets=0))
    assert (len(ends), ends.more) == (MAX_ENDS, 10)
    ends.add(ended(port=50_000, packets=3))
    assert (len(ends), ends.more) == (MAX_ENDS, 11)
    carried = [end for end in ends.to_json() if isinstance(end, dict) and end["packets"]]
    assert [end["dst_port"] for end in carried] == [50_000]


@given(st.lists(st.tuples(st.sampled_from([ALICE, BOB]), st.integers(1, 9), st.integers(0, 2))))
def test_nothing_is_lost_uncounted(told_ends: list[tuple[bytes, int, int]]) -> None:
    """Every end that is news is told or counted, and pairs never hold two of one direction."""
    ends, news = Ends(), 0
    for source, port, packets in told_ends:
        other = BOB if source == ALICE else ALICE
        news += ends.add(ended(source, other, port, packets=packets))
    assert len(ends) + ends.more == news
    assert len(ends) == len(ends.to_json()) <= MAX_ENDS


# --- who closed it


@pytest.mark.parametrize(
    ("reason", "party", "closer"),
    [
        (Reason.CALL_ENDED, "caller", Closer.CALLER),
        (Reason.CALL_ENDED, "callee", Closer.CALLEE),
        (Reason.CALL_ENDED, "", Closer.CALL),
        (Reason.RENEGOTIATED, "callee", Closer.CALLEE),
        (Reason.CALL_FAILED, "", Closer.CALL),
        (Reason.CALL_EXPIRED, "", Closer.TIMER),
        (Reason.FORGOTTEN, "", Closer.ROOM),
        (Reason.HOLE_LIMIT, "", Closer.ROOM),
        (Reason.HOLE_REFUSED, "", Closer.POLICY),
        (Reason.UNPROVEN, "", Closer.GATE),
        (Reason.DTLS_FINGERPRINT, "caller", Closer.GATE),
    ],
)
def test_who_closed_it(reason: Reason, party: str, closer: Closer) -> None:
    """The reason says it; of a call's end only with the party whose message it was."""
    assert closer_of(reason, party) is closer


# --- nothing of a peer gets out raw


KEY = b"WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz"


@given(st.binary(max_size=80), st.text(max_size=80))
def test_any_octets_make_one_printable_line(octets: bytes, words: str) -> None:
    """The kind of media stands in a session description, and a proof may quote a peer."""
    ledger = Ledger()
    ledger.note(refused())
    hostile = ended(kind=octets, told=words)
    ledger.stream_ended(hostile)
    (record,) = grown(ledger)
    assert record.to_line().isprintable()


def test_no_key_gets_into_an_end() -> None:
    """Even if a prover's words quoted one."""
    ledger = Ledger()
    ledger.note(refused())
    ledger.stream_ended(
        StreamEnd(
            NOON,
            CALL,
            ALICE,
            BOB,
            4000,
            b"audio a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + KEY,
            "sdes",
            b"inline:" + KEY,
            "the offer said inline:" + KEY.decode(),
            Reason.CALL_ENDED,
            Closer.CALL,
            1,
            2,
        )
    )
    (record,) = grown(ledger)
    assert KEY[:12].decode() not in record.to_line()
    assert "inline:***" in record.to_line()


def test_the_documentation_names_every_key_of_an_end() -> None:
    """Who parses the lines reads docs/records.md, not our code."""
    text = (Path(__file__).parents[2] / "docs" / "records.md").read_text()
    section = text[text.index("## Streams") : text.index("## What is never in it")]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    ends = Ends()
    ends.add(ended())
    (end,) = ends.to_json()
    assert isinstance(end, dict)
    assert [key for row in rows for key in re.findall(r"`(\w+)`", row)] == list(end)
    for closer in Closer:
        assert f"`{closer.value}`" in section
