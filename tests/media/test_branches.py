"""Forks, proxies and relays: one call, several dialogs and paths (PIN-3, PIN-16)."""

from phones import (
    ALICE,
    ANSWER,
    BOB,
    CALL_HOLES,
    CAROL,
    CRYPTO_A,
    CRYPTO_A2,
    CRYPTO_B2,
    PROXY,
    Script,
    audio,
    both_ways,
    sdp,
)

from sipguard.reason import Reason


def test_forks_have_their_own_holes_and_share_the_callers_port() -> None:
    """PIN-3: each To tag is its own dialog; the losers close 64*T1 after the first 2xx."""
    script = Script()
    carol = sdp(CAROL, audio(50000, CRYPTO_B2))
    carols = both_ways(ALICE, 30000, CAROL, 50000)
    script.invite()
    script.response(183, ANSWER, tag=b"bob")
    script.response(183, carol, tag=b"carol")
    assert script.open == CALL_HOLES | carols
    script.response(200, carol, tag=b"carol")
    script.wait(31)
    assert script.open == CALL_HOLES | carols
    script.wait(2)
    assert script.open == carols
    script.end(b"carol")
    assert script.open == set()


def test_late_2xx_of_another_fork_counts() -> None:
    """PIN-3: a fork that answers within 64*T1 is a call of its own."""
    script = Script()
    carol = sdp(CAROL, audio(50000, CRYPTO_B2))
    script.invite()
    script.response(200, ANSWER, tag=b"bob")
    script.wait(5)
    script.response(200, carol, tag=b"carol")
    script.wait(60)
    assert script.open == CALL_HOLES | both_ways(ALICE, 30000, CAROL, 50000)
    script.end(b"bob")
    assert script.open == both_ways(ALICE, 30000, CAROL, 50000)


def through_proxy(script: Script) -> None:
    script.invite(path=(ALICE, PROXY))
    script.invite(path=(PROXY, BOB))
    script.response(180, path=(BOB, PROXY))
    script.response(200, ANSWER, path=(BOB, PROXY))
    script.response(200, ANSWER, path=(PROXY, ALICE))
    script.request("ACK", path=(ALICE, PROXY))
    script.request("ACK", path=(PROXY, BOB))


def test_second_leg_of_the_same_call() -> None:
    """A proxied call crosses twice: nothing opens twice, and the first leg vouches for both."""
    script = Script()
    through_proxy(script)
    assert script.open == CALL_HOLES
    script.end()
    assert script.open == set()


def test_second_leg_is_vouched_for_by_the_first() -> None:
    """Only the first leg's packet comes from the caller; the second leg's judge sees that."""
    script = Script()
    script.invite(path=(ALICE, PROXY))
    script.invite(path=(PROXY, BOB))
    [stream] = script.response(200, ANSWER, path=(BOB, PROXY)).streams
    assert (stream.caller_vouched, stream.callee_vouched) == (True, True)
    [again] = script.response(200, ANSWER, path=(PROXY, ALICE)).streams
    assert (again.caller_vouched, again.callee_vouched) == (True, True)
    assert script.outcome.effects == ()
    assert script.reasons <= {Reason.CLEARTEXT_SDES}


def test_renegotiation_through_a_proxy() -> None:
    """A re-INVITE that crosses twice is one renegotiation, with one overlap."""
    script = Script()
    through_proxy(script)
    offer = sdp(ALICE, audio(30020, CRYPTO_A2), version=2)
    answer = sdp(BOB, audio(40000, CRYPTO_B2), version=2)
    script.request("INVITE", offer, cseq=2, path=(ALICE, PROXY))
    script.request("INVITE", offer, cseq=2, path=(PROXY, BOB))
    assert script.reasons == set()
    script.response(200, answer, cseq=2, path=(BOB, PROXY))
    script.response(200, answer, cseq=2, path=(PROXY, ALICE))
    assert script.open == CALL_HOLES | both_ways(ALICE, 30020, BOB, 40000)
    script.wait(61)
    assert script.open == both_ways(ALICE, 30020, BOB, 40000)
    script.end()
    assert script.open == set()


def test_renegotiation_past_the_proxy() -> None:
    """Without Record-Route a re-INVITE goes straight; the old path's holes give way."""
    script = Script()
    through_proxy(script)
    script.request("INVITE", sdp(ALICE, audio(30020, CRYPTO_A2)), cseq=2, path=(ALICE, BOB))
    script.response(200, ANSWER, cseq=2, path=(BOB, ALICE))
    script.wait(61)
    assert script.open == both_ways(ALICE, 30020, BOB, 40000)


def test_media_relay_between_the_legs() -> None:
    """PIN-16: a relay that rewrites the SDP gets holes on both of its sides."""
    script = Script()
    script.invite(path=(ALICE, PROXY))
    script.invite(sdp(PROXY, audio(20000, CRYPTO_A2)), path=(PROXY, BOB))
    script.response(200, ANSWER, path=(BOB, PROXY))
    script.response(200, sdp(PROXY, audio(20002, CRYPTO_B2)), path=(PROXY, ALICE))
    assert script.open == both_ways(PROXY, 20000, BOB, 40000) | both_ways(
        ALICE, 30000, PROXY, 20002
    )


def test_retry_after_a_challenge() -> None:
    """A 401 or 407 fails the first INVITE; the second, same Call-ID, is a fresh start."""
    script = Script()
    script.invite(path=(ALICE, PROXY))
    script.response(407, tag=b"proxy", path=(PROXY, ALICE))
    script.invite(sdp(ALICE, audio(30000, CRYPTO_A), version=2), cseq=2, path=(ALICE, PROXY))
    script.response(200, ANSWER, cseq=2, path=(PROXY, ALICE))
    assert script.reasons <= {Reason.CLEARTEXT_SDES}
    assert script.open == CALL_HOLES
