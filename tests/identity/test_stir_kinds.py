"""Kinds of PASSporTs beyond the base: shaken, rph, div, rcd, msec (STI-35 to STI-42)."""

from collections.abc import Mapping

import pytest
from authority import issue
from hypothesis import given, settings
from hypothesis import strategies as st
from passports import (
    BASE,
    CA,
    CALLEE,
    CALLER,
    IAT,
    MKY,
    PROVIDER,
    SHAKEN,
    TO,
    URL,
    Bench,
    compact,
    identity,
    invite,
    keyed,
    numbers,
    one,
    token,
)

from sipguard.errors import HostileInput
from sipguard.evidence import Awaited, Evidence, State
from sipguard.identity.diversion import MAX_NESTED, nested_identities
from sipguard.identity.stir import MAX_IDENTITIES, StirSettings
from sipguard.reason import Reason
from sipguard.wire.passport import Json, JsonObject, parse_identity

FIRST, SECOND, THIRD = CALLEE, "12025550124", "12025550125"
OTHER_URL = "https://diverting.example/cert.pem"
DIVERTER = issue("diverter", CA, extensions=(numbers(one(FIRST.encode())),))


def judged(octets: bytes) -> Evidence:
    chains = {URL: PROVIDER.pem, OTHER_URL: DIVERTER.pem}
    return Bench(None, chains).examine(octets)


def why(octets: bytes) -> Reason | None:
    evidence = judged(octets)
    return evidence.finding.reason if evidence.finding else None


def changed(payload: Mapping[str, Json], /, **claims: Json) -> JsonObject:
    return {name: value for name, value in {**payload, **claims}.items() if value is not None}


@pytest.mark.parametrize("attest", ["A", "B", "C"])
def test_sti_35_shaken_attests_at_three_levels(attest: str) -> None:
    """Full, partial, gateway; the evidence carries the letter."""
    assert judged(invite(identity(changed(SHAKEN, attest=attest)))).attest == attest.encode()


@pytest.mark.parametrize(
    "claims",
    [
        {"attest": None},
        {"attest": "D"},
        {"attest": "a"},
        {"attest": ["A"]},
        {"origid": None},
        {"origid": "123456"},
        {"origid": 7},
        {"orig": {"uri": "sip:+12025550100@a.example"}},
        {"dest": {"uri": ["sip:+12025550123@b.example"]}},
    ],
)
def test_sti_35_shaken_claims_have_their_form(claims: JsonObject) -> None:
    """A letter, a UUID, and telephone numbers."""
    request = invite(
        identity(changed(SHAKEN, **claims)),
        from_="<sip:+12025550100@a.example>",
        to="<sip:+12025550123@b.example>",
    )
    assert why(request) is Reason.PASSPORT_SHAKEN


def rph(auth: Json, **claims: Json) -> str:
    return identity(changed(BASE, rph={"auth": auth}, **claims), "rph")


PRIORITY = ["Resource-Priority: esnet.1, WPS.0"]


def test_sti_36_a_priority_is_granted_by_its_passport() -> None:
    """What Resource-Priority wants must be in auth; then the signature covers it."""
    evidence = judged(invite(rph(["wps.0", "esnet.1", "ets.0"]), headers=PRIORITY))
    assert evidence.state is State.VALID
    assert b"resource-priority" in evidence.covers


@pytest.mark.parametrize("auth", [["esnet.1"], [], "esnet.1", [1], None, {"x": 1}])
def test_sti_36_a_priority_that_was_not_granted_fails(auth: Json) -> None:
    """One value missing is enough, and so is a claim of another form."""
    assert why(invite(rph(auth), headers=PRIORITY)) is Reason.PASSPORT_PRIORITY


def test_sti_36_a_priority_passport_belongs_to_an_invite_with_a_priority() -> None:
    """Without the header, or on another method, it proves nothing."""
    value = rph(["esnet.1", "wps.0"])
    assert why(invite(value)) is Reason.PASSPORT_PRIORITY
    assert why(invite(value, headers=PRIORITY, method="MESSAGE")) is Reason.PASSPORT_PRIORITY


def test_sti_36_a_callback_says_so_in_priority_too() -> None:
    """RFC 9027: sph is psap-callback and equals Priority, or validation fails."""
    value = rph(["esnet.1", "wps.0"], sph="psap-callback")
    evidence = judged(invite(value, headers=[*PRIORITY, "Priority: PSAP-Callback"]))
    assert evidence.state is State.VALID
    assert b"priority" in evidence.covers
    assert why(invite(value, headers=PRIORITY)) is Reason.PASSPORT_PRIORITY
    other = rph(["esnet.1", "wps.0"], sph="urgent")
    for priority in ("urgent", "psap-callback"):
        request = invite(other, headers=[*PRIORITY, f"Priority: {priority}"])
        assert why(request) is Reason.PASSPORT_PRIORITY


def diverted(
    by: str, to: str, *, orig: str = CALLER, iat: int = IAT, ppt: str = "div", **more: Json
) -> str:
    """Return the PASSporT of one who was called and sends the call on; FIRST has its own key."""
    payload: JsonObject = {
        "dest": {"tn": [to]},
        "div": {"tn": by},
        "iat": iat,
        "orig": {"tn": orig},
        **more,
    }
    own = by == FIRST
    holder, url = (DIVERTER, OTHER_URL) if own else (PROVIDER, URL)
    return identity(payload, ppt, holder, url)


def target(number: str) -> str:
    return f"sip:+{number}@c.example"


def test_sti_40_a_chain_of_diversions_leads_from_the_caller_to_here() -> None:
    """In any order of headers; To may have been rewritten on the way."""
    steps = [identity(), diverted(FIRST, SECOND), diverted(SECOND, THIRD)]
    for values in (steps, steps[::-1]):
        for to in (TO, f"<{target(THIRD)}>"):
            evidence = judged(invite(*values, to=to, uri=target(THIRD)))
            assert evidence.state is State.VALID
            assert (evidence.attest, evidence.orig) == (b"A", CALLER.encode())
            assert {b"from", b"date", b"request-uri"} <= set(evidence.covers)
            assert (b"to" in evidence.covers) is (to == TO)


def test_sti_40_the_caller_counts_without_his_diversions() -> None:
    """An incomplete chain is noted; a base PASSporT for this To still stands."""
    for values in (
        [identity(), diverted("12025550199", SECOND)],
        [identity(), diverted(FIRST, SECOND, orig="12025550177")],
        [identity(), diverted(FIRST, SECOND, iat=1)],
        [identity(), diverted(FIRST, THIRD)],
        [identity(), identity(changed(BASE, div={"x": 1}), "div")],
    ):
        evidence = judged(invite(*values, uri=target(SECOND)))
        assert evidence.state is State.VALID
        assert b"request-uri" not in evidence.covers
        reasons = [note.reason for note in evidence.notes]
        assert Reason.PASSPORT_DIVERTED in reasons


def test_sti_40_a_broken_chain_does_not_make_another_callee_good() -> None:
    """Where To names somebody else, only a whole chain explains it."""
    to = f"<{target(SECOND)}>"
    broken = [
        [identity(), diverted("12025550199", SECOND)],
        [identity(), diverted(FIRST, THIRD)],
        [identity(), diverted(FIRST, SECOND), diverted(FIRST, SECOND, crn="x")],
        [identity(), diverted(FIRST, SECOND), diverted(SECOND, FIRST)],
        [diverted(FIRST, SECOND)],
    ]
    for values in broken:
        assert why(invite(*values, to=to)) is Reason.PASSPORT_DIVERTED
    stale = [identity(changed(SHAKEN, iat=1)), diverted(FIRST, SECOND)]
    assert why(invite(*stale, to=to)) is Reason.PASSPORT_STALE
    late = [identity(), diverted(FIRST, SECOND, iat=1)]
    assert why(invite(*late, to=to)) is Reason.PASSPORT_STALE


def test_sti_40_the_diverter_needs_authority_over_his_own_number() -> None:
    """Not over the caller's: that is why he has to say div."""
    payload: JsonObject = {
        "dest": {"tn": [THIRD]},
        "div": {"tn": SECOND},
        "iat": IAT,
        "orig": {"tn": CALLER},
    }
    foreign = identity(payload, "div", DIVERTER, OTHER_URL)
    to = f"<{target(THIRD)}>"
    values = [identity(changed(SHAKEN, dest={"tn": [SECOND]})), foreign]
    assert why(invite(*values, to=to)) is Reason.NO_AUTHORITY
    own = [identity(changed(SHAKEN, dest={"tn": [SECOND]})), diverted(SECOND, THIRD)]
    assert judged(invite(*own, to=to)).state is State.VALID


def test_sti_40_a_div_claim_elsewhere_gives_no_authority() -> None:
    """Whoever owns one number must not speak for any caller by writing div into a plain token."""
    own: Json = {"tn": FIRST}
    for payload, ppt in ((BASE, ""), (SHAKEN, "shaken")):
        value = identity(changed(payload, div=own), ppt, DIVERTER, OTHER_URL)
        assert why(invite(value)) is Reason.NO_AUTHORITY


def test_sti_40_all_of_a_chain_is_about_one_caller() -> None:
    """Two asserted identities are two callers, though both stand in the header."""
    payload: JsonObject = {
        "dest": {"tn": [SECOND]},
        "div": {"tn": FIRST},
        "iat": IAT,
        "orig": {"uri": "sip:x@a.example"},
    }
    values = [identity(), identity(payload, "div", DIVERTER, OTHER_URL)]
    asserted = [f"P-Asserted-Identity: <sip:x@a.example>, <tel:+{CALLER}>"]
    bench = Bench(StirSettings(asserted=True), {URL: PROVIDER.pem, OTHER_URL: DIVERTER.pem})
    evidence = bench.examine(invite(*values, to=f"<{target(SECOND)}>", headers=asserted))
    assert evidence.finding is not None
    assert evidence.finding.reason is Reason.PASSPORT_DIVERTED


def test_sti_40_the_last_diversion_is_the_one_that_no_other_continues() -> None:
    """The first one named both later callees; only the second led here."""
    both: JsonObject = {
        "dest": {"tn": [SECOND, THIRD]},
        "div": {"tn": FIRST},
        "iat": IAT,
        "orig": {"tn": CALLER},
    }
    first = identity(both, "div", DIVERTER, OTHER_URL)
    values = [identity(), first, diverted(SECOND, THIRD)]
    assert judged(invite(*values, to=f"<{target(THIRD)}>")).state is State.VALID


def test_sti_40_sti_7_the_diverted_to_may_be_dialed_as_a_national_number() -> None:
    """The Request-URI is read as From and To are."""
    chains = {URL: PROVIDER.pem, OTHER_URL: DIVERTER.pem}
    octets = invite(
        identity(changed(SHAKEN, dest={"tn": [FIRST]})),
        diverted(FIRST, SECOND),
        to=f"<{target(FIRST)}>",
        uri=f"sip:{SECOND[1:]}@gw.example",
    )
    assert Bench(None, chains).examine(octets).covers == (b"from", b"to", b"date")
    evidence = Bench(StirSettings(country=b"1"), chains).examine(octets)
    assert b"request-uri" in evidence.covers


def test_sti_40_a_diversion_from_nowhere_spoils_its_chain() -> None:
    """Somebody says he sent the call to the second callee, and nobody had sent it to him."""
    base = identity(changed(SHAKEN, dest={"tn": [FIRST, SECOND]}))
    values = [base, diverted(SECOND, THIRD), diverted("12025550199", SECOND)]
    assert why(invite(*values, to=f"<{target(THIRD)}>")) is Reason.PASSPORT_DIVERTED
    assert judged(invite(*values[:2], to=f"<{target(THIRD)}>")).state is State.VALID


def test_sti_40_a_plain_div_has_no_token_inside() -> None:
    """RFC 8946 keeps opt for div-o."""
    values = [identity(), diverted(FIRST, SECOND, opt=token(SHAKEN, ppt="shaken"))]
    assert why(invite(*values, to=f"<{target(SECOND)}>")) is Reason.PASSPORT_DIVERTED


def test_sti_40_an_unsupported_original_leaves_its_diversions_without_a_caller() -> None:
    """The chain is ignored, as if there were no Identity."""
    values = [identity(ppt="new"), diverted(FIRST, SECOND)]
    evidence = judged(invite(*values, to=f"<{target(SECOND)}>"))
    assert (evidence.state, evidence.finding and evidence.finding.reason) == (
        State.ABSENT,
        Reason.UNSUPPORTED_PASSPORT,
    )


def test_sti_40_a_chain_may_wait_for_one_of_its_certificates() -> None:
    """Only where the call depends on it."""
    bench = Bench()
    values = (identity(), diverted(FIRST, SECOND))
    with pytest.raises(Awaited) as caught:
        bench.examine(invite(*values, to=f"<{target(SECOND)}>"), patient=True)
    assert caught.value.urls == (OTHER_URL,)
    assert bench.examine(invite(*values, uri=target(SECOND)), patient=True).state is State.VALID


def test_sti_40_div_o_carries_the_original_inside() -> None:
    """It proves the caller only together with the diversion around it."""
    inner = token(SHAKEN, ppt="shaken")
    value = diverted(FIRST, SECOND, ppt="div-o", opt=inner)
    evidence = judged(invite(value, to=f"<{target(SECOND)}>"))
    assert evidence.state is State.VALID
    assert evidence.attest == b"A"
    twice = diverted(SECOND, THIRD, ppt="div-o", opt=value.partition(";")[0])
    assert judged(invite(twice, to=f"<{target(THIRD)}>")).state is State.VALID


def test_sti_40_tokens_inside_each_other_are_bounded() -> None:
    """Four deep is more than any call; deeper is refused before anything is verified."""
    value = diverted(FIRST, SECOND, ppt="div-o", opt=token(SHAKEN, ppt="shaken"))
    for depth in range(2, 7):
        inner = value.partition(";")[0]
        value = diverted(FIRST, SECOND, ppt="div-o", opt=inner)
        found = parse_identity(value.encode())
        if depth <= MAX_NESTED:
            assert len(nested_identities(found)) == depth
        else:
            with pytest.raises(HostileInput) as caught:
                nested_identities(found)
            assert caught.value.reason is Reason.PASSPORT_DIVERTED


def test_sti_2_sti_40_tokens_inside_count_as_well() -> None:
    """Each may cost a verification; the headers alone do not say how many there are."""
    wrapped = diverted(FIRST, SECOND, ppt="div-o", opt=token(SHAKEN, ppt="shaken"))
    for count, is_told in ((MAX_IDENTITIES // 2, False), (MAX_IDENTITIES // 2 + 1, True)):
        evidence = judged(invite(*[wrapped] * count, to=f"<{target(SECOND)}>"))
        told = (evidence.finding, *evidence.notes)
        assert any(note and "not looked at" in note.detail for note in told) is is_told


@pytest.mark.parametrize(
    "value",
    [
        diverted(FIRST, SECOND, ppt="div-o"),
        diverted(FIRST, SECOND, ppt="div-o", opt=7),
        diverted(FIRST, SECOND, ppt="div-o", opt="x"),
        diverted(FIRST, SECOND, ppt="div-o", opt="e30.e30.AA"),
        diverted(FIRST, SECOND, opt=token(SHAKEN, ppt="shaken")),
        diverted(FIRST, SECOND, ppt="div-o", opt=token({**SHAKEN, "iat": 1}, ppt="shaken")),
        diverted(FIRST, THIRD, ppt="div-o", opt=token(SHAKEN, ppt="shaken")),
        diverted(FIRST, SECOND, iat=1, ppt="div-o", opt=token(SHAKEN, ppt="shaken")),
        identity(changed(BASE), "div"),
    ],
)
def test_sti_40_what_is_no_chain_proves_nobody(value: str) -> None:
    """No token inside, a stale one, a diversion to somebody else: failed."""
    assert judged(invite(value, to=f"<{target(SECOND)}>")).state is State.FAILED


def test_sti_40_a_token_inside_a_false_diversion_does_not_count() -> None:
    """Anybody could wrap a stolen token; what is inside has no header of its own."""
    wrapped = diverted(FIRST, SECOND, iat=1, ppt="div-o", opt=token(SHAKEN, ppt="shaken"))
    assert judged(invite(wrapped)).state is State.FAILED


def test_vec_11_a_mistyped_div_breaks_the_chain() -> None:
    """VEC-11: as RFC 8946 prints it, one digit too many between div and the dest before."""
    values = [identity(), diverted(FIRST[:2] + "1" + FIRST[2:], SECOND)]
    evidence = judged(invite(*values, to=f"<{target(SECOND)}>"))
    assert evidence.state is State.FAILED


def test_sti_40_diversions_in_circles_end() -> None:
    """A to B to A: no diversion is the last one."""
    values = [identity(), diverted(FIRST, SECOND), diverted(SECOND, FIRST)]
    assert why(invite(*values, to=f"<{target(SECOND)}>")) is Reason.PASSPORT_DIVERTED


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(*[st.sampled_from([FIRST, SECOND, THIRD])] * 2), max_size=5))
def test_sti_40_any_set_of_diversions_is_judged(steps: list[tuple[str, str]]) -> None:
    """Valid exactly where a path without a fork leads from the first callee to the last."""
    values = [identity(), *(diverted(by, to) for by, to in steps)]
    evidence = judged(invite(*values, to=f"<{target(SECOND)}>"))
    if steps == [(FIRST, SECOND)] or sorted(steps) == sorted([(FIRST, THIRD), (THIRD, SECOND)]):
        assert evidence.state is State.VALID
    if not steps or all(to != SECOND for _, to in steps):
        assert evidence.state is State.FAILED


NAMED: Json = {"nam": "Alice & Co"}
NAMED_FROM = f'"Alice & Co" <sip:+{CALLER}@a.example>'


def test_sti_41_a_signed_name_is_the_one_in_from() -> None:
    """Another name beside a good number is a forgery of what the callee reads."""
    value = identity(changed(BASE, rcd=NAMED), "rcd")
    evidence = judged(invite(value, from_=NAMED_FROM))
    assert evidence.state is State.VALID
    assert b"display-name" in evidence.covers
    assert why(invite(value, from_=NAMED_FROM.replace("Alice", "Bank"))) is Reason.PASSPORT_CLAIMS
    plain = judged(invite(value))
    assert plain.state is State.VALID
    assert b"display-name" not in plain.covers


def test_sti_41_the_name_may_be_rebuilt_from_a_compact_form() -> None:
    """nam from the display name, nothing else of rcd."""
    value = compact(changed(BASE, rcd=NAMED), ppt="rcd")
    assert judged(invite(value, from_=NAMED_FROM)).state is State.VALID
    other = invite(value, from_=NAMED_FROM.replace("Alice", "Bank"))
    assert why(other) is Reason.PASSPORT_SIGNATURE


DIGEST = "sha256-" + "A" * 43 + "="


@pytest.mark.parametrize(
    ("rcd", "more", "valid"),
    [
        ({"nam": ""}, {}, True),
        ({"nam": "x", "jcl": "https://a.example/j"}, {"rcdi": {"/jcl": DIGEST}}, True),
        ({"nam": "x", "jcd": ["vcard", []]}, {"crn": "delivery"}, True),
        ({}, {}, False),
        ({"apn": "x"}, {}, False),
        ({"nam": 1}, {}, False),
        ({"nam": "x", "icn": 1}, {}, False),
        ({"nam": "x", "jcd": [], "jcl": "https://a.example/"}, {"rcdi": {"/jcl": DIGEST}}, False),
        ({"nam": "x", "jcl": "http://a.example/"}, {"rcdi": {"/jcl": DIGEST}}, False),
        ({"nam": "x", "jcl": "https://a.example/"}, {}, False),
        ({"nam": "x", "jcl": "https://a.example/"}, {"rcdi": {"/icn": DIGEST}}, False),
        ({"nam": "x"}, {"rcdi": {"/icn": "md5-AAAA"}}, False),
        ({"nam": "x"}, {"rcdi": ["x"]}, False),
        ({"nam": "x"}, {"crn": 1}, False),
        ("x", {}, False),
    ],
)
def test_sti_41_rich_data_has_its_form(rcd: Json, more: JsonObject, valid: bool) -> None:
    """Alone, and inside a shaken PASSporT."""
    for payload, ppt in ((BASE, "rcd"), (SHAKEN, "shaken")):
        evidence = judged(invite(identity(changed(payload, rcd=rcd, **more), ppt)))
        assert (evidence.state is State.VALID) is valid


def test_sti_41_a_third_partys_data_proves_no_caller() -> None:
    """With iss it is about the caller, not from him; beside a first PASSporT it may stand."""
    value = identity(changed(BASE, rcd=NAMED, iss="Example Data"), "rcd")
    assert judged(invite(value, from_=NAMED_FROM)).state is State.ABSENT
    assert judged(invite(value, identity(), from_=NAMED_FROM)).state is State.VALID


def test_sti_42_msec_binds_the_media_key() -> None:
    """mky is its point; compact or full."""
    payload = changed(BASE, mky=MKY)
    for value in (identity(payload, "msec"), compact(payload, ppt="msec")):
        assert judged(invite(value, sdp=keyed())).state is State.VALID
    assert why(invite(identity(BASE, "msec"), sdp=keyed())) is Reason.PASSPORT_CLAIMS
    assert why(invite(compact(BASE, ppt="msec"), sdp=keyed())) is Reason.PASSPORT_SIGNATURE
    assert why(invite(compact(payload, ppt="msec"))) is Reason.PASSPORT_CLAIMS


def test_sti_42_distrust_of_an_msec_signer_is_unknown_and_a_wrong_key_is_not() -> None:
    """RFC 8862: nobody on the way may stop the call for the first; the second is an attack."""
    stranger = issue("stranger", extensions=(numbers(one(CALLER.encode())),))
    payload = changed(BASE, mky=MKY)
    bench = Bench(None, {URL: stranger.pem})
    evidence = bench.examine(invite(identity(payload, "msec", stranger), sdp=keyed()))
    assert evidence.state is State.UNKNOWN
    assert evidence.finding is not None
    assert evidence.finding.reason is Reason.CREDENTIAL_UNTRUSTED
    other = keyed().replace("AB:", "CD:", 1)
    evidence = judged(invite(identity(payload, "msec"), sdp=other))
    assert evidence.state is State.FAILED
    assert evidence.finding is not None
    assert evidence.finding.reason is Reason.PASSPORT_KEY
