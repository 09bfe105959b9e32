"""The record of media the next morning: refused packets, and how each stream of a call ended."""

from base64 import b64decode
from collections.abc import Sequence
from pathlib import Path

import pytest
from desks import end_streams
from exchange import ALICE, BOB, KEYS, OTHER_KEY, SUITE, Call, Exchange, octets, sdp
from srtp_sender import Sender, rtp

from sipguard.edge.archive import Archive
from sipguard.edge.elements import Tally
from sipguard.edge.journal import Journal
from sipguard.edge.store import Store
from sipguard.edge.streams_told import Closing
from sipguard.journal.query import Query
from sipguard.journal.told import Told, part, parts
from sipguard.policy import load_policy
from sipguard.reason import Reason
from sipguard.verdict import ClosePinhole, Effect, Hole
from sipguard.wire.packet import Packet

SENDERS = {host: Sender(SUITE.encode(), b64decode(key)) for host, key in KEYS.items()}
PORTS = {ALICE: 30000, BOB: 40000}
POLICY = "default accept\n{}\nchain request\n  all accept\nchain media\n  sealed open if keyed\n"


class Night(Exchange):
    """An exchange whose records go into a store, with a kernel that counts what goes through."""

    def __init__(self, folder: Path, settings: str = "") -> None:
        super().__init__(load_policy("p", lambda _: POLICY.format(settings)))
        self.folder = folder
        self.store = Store(folder)
        self.desk = Journal(self.store, self.store.open())
        self.counted: dict[Hole, int] = {}
        self.noted = 0

    def apply(self, effects: Sequence[Effect]) -> None:
        """Do what the service does: first the guard's records, then what the kernel had."""
        for observation in self.records[self.noted :]:
            self.desk.observe(observation)
        self.noted = len(self.records)
        closed = [effect.hole for effect in effects if isinstance(effect, ClosePinhole)]
        tallies: list[Tally] = []
        for hole in dict.fromkeys(closed):
            if hole in self.holes:
                packets = self.counted.pop(hole, 0)
                tallies.append(Tally(hole, packets, packets * 200))
        super().apply(effects)
        end_streams(self.desk, Closing(effects, tallies, self.now.utc_s))

    def media(self, source: str, payload: bytes, *, is_sample: bool = False) -> bool:
        """Let one packet of a party come; count it if it passes."""
        target = BOB if source == ALICE else ALICE
        ends = octets(source), octets(target)
        packet = Packet(*ends, PORTS[source], PORTS[target], payload, "udp", "lan")
        self.now_s += 0.02
        decision = self.guard.judge_media(packet, self.now, is_sample=is_sample)
        if decision.accept:
            hole = Hole(*ends, PORTS[target])
            self.counted[hole] = self.counted.get(hole, 0) + 1
        self.apply(decision.effects)
        return decision.accept

    def sealed(self, source: str, index: int = 0) -> bool:
        """Let one SRTP packet come."""
        return self.media(source, SENDERS[source].rtp(index))

    def morning(self) -> list[Told]:
        """Return the records that the store has."""
        self.apply(())
        self.desk.finish(self.now.utc_s)
        return [entry.line for entry in Archive(self.folder).find(Query())]


@pytest.fixture
def night(tmp_path: Path) -> Night:
    """Calls of which only the blocked are recorded."""
    return Night(tmp_path)


def called(night: Night) -> Call:
    call = Call(night)
    call.establish()
    return call


def rows(record: Told) -> list[tuple[object, ...]]:
    """Return where each stream led, what went through, and who closed it."""
    return [
        (end["dst"], end["dst_port"], end["proven"], end["packets"], end["closed_by"])
        for end in parts(record, "streams")
    ]


def test_clear_rtp_is_explained_with_what_became_of_the_call(night: Night) -> None:
    """Which packets, from where to where, that a key was agreed, and how both directions ended."""
    call = called(night)
    for index in range(10):
        assert not night.media(ALICE, rtp(index))
        assert night.sealed(BOB, index)
    call.hang_up(BOB)
    (record,) = night.morning()
    assert (record["method"], record["reason"]) == ("media audio", "plain-rtp")
    assert (record["src"], record["src_port"], record["dst_port"]) == (ALICE, 30000, 40000)
    assert (record["call_id"], record["verdict"]) == (call.call_id, "drop")
    (note,) = parts(record, "media")
    assert (note["keyed"], note["key_method"], note["suite"]) == (True, "sdes", SUITE)
    assert part(note, "caller") == {"address": ALICE, "port": 30000}
    assert rows(record) == [
        (ALICE, 30000, True, 10, "callee"),
        (BOB, 40000, False, 0, "callee"),
        (ALICE, 30001, False, 0, "callee"),
        (BOB, 40001, False, 0, "callee"),
    ]
    proofs = [str(end["proof"]) for end in parts(record, "streams")]
    assert "verified" in proofs[0]
    assert "no SRTP" in proofs[1]


def test_what_the_callee_sends_names_him_as_the_callee(night: Night) -> None:
    """Who sent it is one question, who had called another."""
    called(night)
    for index in range(10):
        night.media(BOB, rtp(index))
    (record,) = night.morning()
    (note,) = parts(record, "media")
    assert record["src"] == BOB
    assert part(note, "caller") == {"address": ALICE, "port": 30000}
    assert part(note, "callee") == {"address": BOB, "port": 40000}


def test_a_stream_closed_for_lack_of_proof_is_told_once(night: Night) -> None:
    """The gate closed it; that its call ended later closed it no second time."""
    call = called(night)
    for index in range(10):
        night.media(ALICE, rtp(index))
    night.sealed(BOB)
    night.wait(15)
    call.hang_up()
    (record,) = night.morning()
    assert record["reason"] == "plain-rtp"
    assert [other["reason"] for other in parts(record, "also")] == ["unproven"]
    assert [note["reason"] for note in parts(record, "media")] == ["plain-rtp", "unproven"]
    assert rows(record)[:2] == [
        (BOB, 40000, False, 0, "gate"),
        (ALICE, 30000, True, 1, "caller"),
    ]
    closed = parts(record, "streams")[0]
    assert (closed["kind"], closed["suite"], closed["reason"]) == ("audio", SUITE, "unproven")
    assert "no SRTP" in str(closed["proof"])


def test_a_copy_that_is_wrong_says_that_the_stream_was_proven_before(night: Night) -> None:
    """The packet that the kernel's sample shows has passed already: no word of a drop alone."""
    call = called(night)
    night.sealed(ALICE)
    for index in range(1, 9):
        night.media(ALICE, rtp(index), is_sample=True)
        if not night.proven:
            break
    call.hang_up()
    (record,) = night.morning()
    assert record["reason"] == "plain-rtp"
    assert "in a stream that was proven before" in str(record["why"])
    by_port = {end["dst_port"]: end["proven"] for end in parts(record, "streams")}
    assert by_port[40000] is False


def test_a_good_call_leaves_no_record(night: Night) -> None:
    """Unless it was asked for."""
    call = called(night)
    night.sealed(ALICE)
    night.sealed(BOB)
    call.hang_up()
    assert night.morning() == []


def test_record_all_has_the_streams_of_every_call(tmp_path: Path) -> None:
    """On the record of its INVITE, an hour later."""
    night = Night(tmp_path, "record all")
    call = called(night)
    for index in range(3):
        night.sealed(ALICE, index)
        night.sealed(BOB, index)
    night.wait(3600)
    call.hang_up()
    (record,) = night.morning()
    assert (record["method"], record["verdict"]) == ("INVITE", "accept")
    assert [row[2:] for row in rows(record)[:2]] == [(True, 3, "caller"), (True, 3, "caller")]
    assert {end["src_port"] for end in parts(record, "streams")[:2]} == {30000, 40000}


def test_record_all_names_the_caller_of_refused_packets(tmp_path: Path) -> None:
    """Packets have no From; the call's INVITE had one."""
    night = Night(tmp_path, "record all")
    called(night)
    for index in range(10):
        night.media(BOB, rtp(index))
    invite, media = night.morning()
    assert (media["method"], media["src"]) == ("media audio", BOB)
    assert (media["caller"], media["to"]) == (invite["caller"], invite["to"])


@pytest.mark.parametrize("sender", [ALICE, BOB])
def test_who_hung_up(tmp_path: Path, sender: str) -> None:
    """The 200 to the BYE ends the streams; the BYE's sender closed them."""
    night = Night(tmp_path, "record all")
    called(night).hang_up(sender)
    party = "caller" if sender == ALICE else "callee"
    (record,) = night.morning()
    assert {end["closed_by"] for end in parts(record, "streams")} == {party}


@pytest.mark.parametrize("sender", [ALICE, BOB])
def test_who_hung_up_where_nobody_answered(tmp_path: Path, sender: str) -> None:
    """PIN-15: 32 seconds after a BYE whose answer was lost the call is over by it."""
    night = Night(tmp_path, "record all")
    call = called(night)
    call.must(call.request("BYE", sender), sender, BOB if sender == ALICE else ALICE)
    night.wait(40)
    party = "caller" if sender == ALICE else "callee"
    (record,) = night.morning()
    assert {end["closed_by"] for end in parts(record, "streams")} == {party}


def test_nobody_hung_up(tmp_path: Path) -> None:
    """The session timer, or the limit of the policy."""
    night = Night(tmp_path, "record all\nsession-limit 60s")
    called(night)
    night.wait(120)
    (record,) = night.morning()
    ends = parts(record, "streams")
    assert {(end["closed_by"], end["reason"]) for end in ends} == {("timer", "call-expired")}


def test_a_stream_that_is_put_down_within_the_call(tmp_path: Path) -> None:
    """A hold by c=0.0.0.0 closes what leads to the holder, by his offer."""
    night = Night(tmp_path, "record all")
    call = called(night)
    held = sdp("0.0.0.0", version=2, origin=BOB, key=OTHER_KEY)
    call.reinvite(BOB, held, sdp(ALICE))
    (record,) = night.morning()
    assert {(end["dst"], end["reason"], end["closed_by"]) for end in parts(record, "streams")} == {
        (BOB, Reason.RENEGOTIATED.value, "callee")
    }


# --- never a key


def spellings(key: str) -> list[str]:
    """Return how a key might stand in a text."""
    raw = b64decode(key)
    escaped = "".join(f"\\x{octet:02x}" for octet in raw[:8])
    return [key[:12], key[16:28], raw.hex()[:16], repr(raw[:8])[2:-1], escaped]


def test_no_key_of_the_call_is_in_any_record(tmp_path: Path) -> None:
    """Real keys in real session descriptions, and every kind of refusal that SDES knows."""
    night = Night(tmp_path, "record all")
    call = called(night)
    for index in range(20):
        night.media(ALICE, rtp(index))
    night.media(ALICE, Sender(SUITE.encode(), b64decode(OTHER_KEY)).rtp(1))
    night.media(ALICE, SENDERS[BOB].rtp(1))
    night.media(ALICE, b"\x80" + b64decode(KEYS[ALICE]))
    night.media(ALICE, b"\xff" + KEYS[ALICE].encode())
    night.media(BOB, b"\x80\xc8\x00\x00" + b64decode(KEYS[BOB]))
    night.sealed(ALICE, 1)
    night.sealed(ALICE, 1)
    for index in range(3):
        night.media(ALICE, rtp(index), is_sample=True)
    call.reinvite(ALICE, sdp(ALICE, 30002, key=OTHER_KEY, version=2), sdp(BOB, 40000))
    night.sealed(BOB, 1)
    call.hang_up()
    assert night.morning()
    reasons = {record.reason for record in night.records}
    assert {Reason.PLAIN_RTP, Reason.SRTP_TAG, Reason.UNKNOWN_MEDIA} <= reasons
    stored = b"".join(file.read_bytes() for file in tmp_path.glob("records.sqlite3*"))
    for entry in Archive(tmp_path).find(Query()):
        stored += repr(entry.line).encode() + entry.message
    for key in (*KEYS.values(), OTHER_KEY):
        for spelling in spellings(key):
            assert spelling.encode() not in stored, spelling
