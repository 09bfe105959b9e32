"""explain and blocked of media: what came instead of what was promised, and how streams ended."""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from stream_ends import ALICE, BOB, NOON, ended, invited, refused

from sipguard.cli.blocked import HEADINGS, row_of
from sipguard.cli.main import main
from sipguard.edge.store import Store
from sipguard.journal import told
from sipguard.journal.advice import advise
from sipguard.journal.ledger import Ledger
from sipguard.journal.media_advice import BY_MEDIA
from sipguard.journal.media_told import tell_media
from sipguard.journal.observation import Observation
from sipguard.journal.record import record_of
from sipguard.journal.story import sentence
from sipguard.journal.streams import Closer, StreamEnd
from sipguard.reason import Finding, Reason
from sipguard.verdict import Action

REASON_FILE = Path(__file__).parents[2] / "sipguard" / "reason.py"
Explain = Callable[..., str]


@pytest.fixture
def explain(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Explain:
    """Store what was told, and explain the newest record of it."""

    def run(
        *happened: Observation | StreamEnd, command: Sequence[str] = ("explain", "last")
    ) -> str:
        ledger, store = Ledger(), Store(tmp_path)
        for one in happened:
            if isinstance(one, StreamEnd):
                ledger.stream_ended(one)
            else:
                record = ledger.note(one)
                store.write([record] if record else [], NOON)
        store.write(ledger.flush(NOON), NOON)
        store.close()
        assert main([*command, "--state-dir", str(tmp_path)]) == 0
        return capsys.readouterr().out

    return run


def line_of(seen: Observation) -> told.Told:
    return record_of(seen, "00000001").to_json()


# --- the sentence


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        (Reason.PLAIN_RTP, "Clear RTP from 10.0.0.5:40000 to 10.0.0.9:4000 was dropped. Clear RTP"),
        (Reason.SRTP_TAG, "SRTP from 10.0.0.5:40000 to 10.0.0.9:4000 was dropped. An SRTP packet"),
        (Reason.DTLS_FINGERPRINT, "DTLS from 10.0.0.5:40000 to 10.0.0.9:4000 was dropped. The"),
        (Reason.ZRTP_HASH, "ZRTP from 10.0.0.5:40000 to 10.0.0.9:4000 was dropped. The ZRTP Hello"),
        (Reason.ICE_INTEGRITY, "STUN from 10.0.0.5:40000 to 10.0.0.9:4000 was dropped. A connec"),
        (Reason.BAD_RTCP, "RTCP from 10.0.0.5:40000 to 10.0.0.9:4000 was dropped. An RTCP packet"),
        (Reason.OTHER_SOURCE, "Media (audio) from 10.0.0.5:40000 to 10.0.0.9:4000 was dropped. M"),
        (Reason.UNKNOWN_MEDIA, "A packet of no known kind from 10.0.0.5:40000 to 10.0.0.9:4000 w"),
    ],
)
def test_the_sentence_says_what_came_from_where_to_where(reason: Reason, words: str) -> None:
    """The first line of `explain`, which an admin reads on the telephone."""
    assert sentence(line_of(refused(reason=reason))).startswith(words)


def test_the_sentence_of_a_stream_that_proved_nothing() -> None:
    """No packet was dropped for it: it was closed, and its source has no port."""
    assert sentence(line_of(refused(reason=Reason.UNPROVEN, sport=0))) == (
        "The audio stream from 10.0.0.5 to 10.0.0.9:4000 was closed. "
        "The stream proved nothing in time."
    )


def test_the_sentence_in_shadow_mode_and_of_what_passed() -> None:
    """What was done, not what would have been."""
    shadow = refused()._replace(action=Action.ACCEPT, mode="shadow")
    assert "would have been dropped (shadow mode: it passed)" in sentence(line_of(shadow))
    odd = refused(reason=Reason.ZRTP_ODD, judged=Action.ACCEPT)
    assert sentence(line_of(odd)).startswith("ZRTP from 10.0.0.5:40000 to 10.0.0.9:4000 passed. ")


# --- the whole story


def test_a_refused_packet_is_explained(explain: Explain) -> None:
    """Sentence, setting, path, the stream as negotiated, its end, and what to do."""
    out = explain(
        refused(detail="clear RTP after its proof"),
        ended(BOB, ALICE, 40000, source_port=4000),
        ended(packets=0),
    )
    lines = out.splitlines()
    assert lines[0] == (
        "Clear RTP from 10.0.0.5:40000 to 10.0.0.9:4000 was dropped. "
        "Clear RTP in a stream whose encryption was negotiated. (clear RTP after its proof)"
    )
    for words in (
        "media-proof, the setting of that name in /etc/sipguard/gateway.policy",
        "10.0.0.5:40000 to 10.0.0.9:4000, UDP",
        "Call-ID     a84b4c@h",
        "audio, key by sdes AES_CM_128_HMAC_SHA1_80: plain-rtp (clear RTP after its proof); "
        "caller 10.0.0.5:40000, callee 10.0.0.9:4000",
        "Set SRTP there to mandatory",
        "sipguard blocked --all --call-id a84b4c@h",
    ):
        assert words in out, words
    at = lines.index("  audio, key by SDES AES_CM_128_HMAC_SHA1_80")
    assert lines[at + 1 : at + 5] == [
        "    10.0.0.9:4000 to 10.0.0.5:40000: proven: SRTP tag verified",
        "      1,502 packets, 258,344 octets; closed by the callee at 12:00:00: The call ended.",
        "    10.0.0.5 to 10.0.0.9:4000: not proven: no packet came",
        "      0 packets, 0 octets; closed by the callee at 12:00:00: The call ended.",
    ]
    assert "The rule stands at" not in out
    assert "exception goes above" not in out


def test_a_recorded_call_is_explained_with_its_streams(explain: Explain) -> None:
    """`record all`: a title for each medium, its directions under it."""
    out = explain(
        invited(),
        ended(BOB, ALICE, 40000),
        ended(ALICE, BOB, 4000),
        ended(BOB, ALICE, 40002, kind=b"video"),
        ended(ALICE, BOB, 4002, kind=b"video"),
    )
    assert out.startswith("INVITE from 10.0.0.5 was accepted.")
    assert [line for line in out.splitlines() if ", key by SDES" in line] == [
        "  audio, key by SDES AES_CM_128_HMAC_SHA1_80",
        "  video, key by SDES AES_CM_128_HMAC_SHA1_80",
    ]
    assert out.count("1,502 packets") == 4


@pytest.mark.parametrize("closer", Closer)
def test_every_closer_is_said_in_words(closer: Closer) -> None:
    """Nobody should have to know the codes."""
    line: told.Told = {"streams": [{"closed_by": closer.value, "packets": 1, "octets": 2}]}
    (_, _, words) = tell_media(line)
    assert re.search(r"; closed (by|for|with) [a-z ]+ at", words)


@pytest.mark.parametrize(
    ("packets", "proof", "words"),
    [
        (0, "", "not proven: no packet came"),
        (5, "", "not proven: nobody asked"),
        (5, "ZRTP exchange not over", "not proven: ZRTP exchange not over"),
    ],
)
def test_why_nothing_was_proven(packets: int, proof: str, words: str) -> None:
    """Nothing came, nobody asked (`media-proof off`), or what the prover says."""
    line: told.Told = {"streams": [{"packets": packets, "proof": proof, "proven": False}]}
    assert words in list(tell_media(line))[1]


def test_directions_without_room_are_counted() -> None:
    """The list is bounded, and says so."""
    line: told.Told = {"streams": [], "more_streams": 3}
    assert list(tell_media(line)) == ["and 3 more directions without a line here"]


def test_records_of_earlier_versions_have_no_streams(explain: Explain) -> None:
    """They stay readable."""
    line = line_of(refused())
    del line["streams"], line["more_streams"]
    assert len(list(tell_media(line))) == 1


# --- the list


def test_the_list_names_medium_and_caller(explain: Explain) -> None:
    """MESSAGE is the medium; CALLER is who called, or else which call it was."""
    known = explain(invited(), refused(NOON + 1), command=("blocked",))
    assert known.splitlines()[1].split()[4:8] == ["10.0.0.5", "media", "audio", "alice@example.com"]


def test_the_list_names_the_call_where_nobody_knows_the_caller() -> None:
    """Enough of the Call-ID to find it by --call-id, and no more than the column has room for."""
    row = dict(zip(HEADINGS, row_of(line_of(refused())), strict=True))
    assert (row["MESSAGE"], row["CALLER"]) == ("media audio", "(call a84b4c@h)")
    row = dict(zip(HEADINGS, row_of(line_of(refused(call_id=b"c" * 200))), strict=True))
    assert row["CALLER"] == f"(call {'c' * 23}…)"


def test_a_message_without_from_has_no_caller() -> None:
    """Octets that are no SIP belong to no call."""
    seen = invited(judged=Action.DROP)._replace(from_=b"")
    assert told.caller(line_of(seen)) == ""


def test_json_has_all_of_it(explain: Explain) -> None:
    """`blocked --json` is the record itself."""
    out = explain(refused(), ended(), command=("blocked", "--json"))
    record = json.loads(out)
    assert (record["method"], record["streams"][0]["packets"]) == ("media audio", 1502)


# --- advice


def media_reasons() -> list[Reason]:
    """Every reason of the media gate, by the sections of reason.py."""
    text = REASON_FILE.read_text()
    first = text.index("    # --- media: ")
    last = text.index("    # --- ", text.rindex("    # --- media: ") + 1)
    return [Reason[name] for name in re.findall(r"^    ([A-Z_]+) = ", text[first:last], re.M)]


@pytest.mark.parametrize("reason", media_reasons(), ids=lambda reason: reason.value)
def test_every_fault_of_a_stream_has_advice(reason: Reason) -> None:
    """What it means and what to do, in whole sentences."""
    advice = BY_MEDIA[reason].format(src="10.0.0.5")
    assert re.fullmatch(r"[A-Z1][^{}]+", advice)
    assert advice.endswith((".", "media.downgraded", "mikey.state == unknown."))
    assert "  " not in advice
    assert advice in list(advise(line_of(refused(reason=reason))))


def test_no_advice_without_a_fault() -> None:
    """A reason that goes away takes its words along."""
    assert set(BY_MEDIA) == set(media_reasons())


def test_faults_beside_the_headline_have_advice_too() -> None:
    """A call that was accepted with a weak key, or refused for another reason; each once."""
    seen = invited()._replace(
        findings=(Finding(Reason.SDES_FORKED), Finding(Reason.SDES_FORKED)),
        media=refused(reason=Reason.ENDS_AT_RELAY).media,
    )
    lines = list(advise(line_of(seen)))
    for reason in (Reason.SDES_FORKED, Reason.ENDS_AT_RELAY):
        assert lines.count(BY_MEDIA[reason]) == 1


@pytest.mark.parametrize("call_id", [b"x; rm -rf /", b"$(reboot)", b"-rf", b"a'b", b"a`b", b""])
def test_no_call_id_writes_a_command(call_id: bytes) -> None:
    """An admin pastes what stands there; a stranger chose the Call-ID."""
    lines = list(advise(line_of(refused(call_id=call_id))))
    assert not any("--call-id" in line for line in lines)
