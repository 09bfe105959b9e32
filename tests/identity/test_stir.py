"""PASSporTs against requests: STI-1 to STI-23 (RFC 8224, RFC 8225)."""

from collections.abc import Callable, Mapping

import pytest
from authority import DAY_S, issue, make_authority
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import given, settings
from hypothesis import strategies as st
from passports import (
    ALICE,
    BASE,
    CA,
    CALLEE,
    CALLER,
    DATE,
    DOMAIN,
    FINGERPRINT,
    FROM,
    IAT,
    MKY,
    NOW,
    PROVIDER,
    SHAKEN,
    TO,
    URL,
    Bench,
    compact,
    examine,
    identity,
    invite,
    keyed,
    numbers,
    raw_token,
    sign,
    spc,
    token,
)

from sipguard.evidence import Awaited, Evidence, State
from sipguard.identity.stir import MAX_IDENTITIES, StirSettings
from sipguard.moment import Moment
from sipguard.reason import Reason
from sipguard.wire.passport import Json, JsonObject, canonical_json, decode_segment, encode_segment

ALICE_FROM, BOB_TO = "<sip:alice@a.example>", "<sip:bob@b.example>"


def judged(octets: bytes, options: StirSettings | None = None) -> Evidence:
    return Bench(options, {URL: PROVIDER.pem}).examine(octets)


def by_domain(octets: bytes, options: StirSettings | None = None) -> Evidence:
    return Bench(options, {URL: DOMAIN.pem}).examine(octets)


def failure(octets: bytes, options: StirSettings | None = None) -> Reason:
    """Return why a request fails, and hold that it does."""
    evidence = judged(octets, options)
    assert evidence.state is State.FAILED
    assert evidence.finding is not None
    return evidence.finding.reason


def changed(payload: Mapping[str, Json] = SHAKEN, /, **claims: Json) -> JsonObject:
    """Return claims with some others; None takes one away."""
    return {name: value for name, value in {**payload, **claims}.items() if value is not None}


def header(
    payload: Mapping[str, Json] = SHAKEN,
    beside: str = ";alg=ES256;ppt=shaken",
    x5u: Json = URL,
    **members: Json,
) -> str:
    """Return a header value whose token has these members in its own header."""
    own: JsonObject = {"alg": "ES256", "ppt": "shaken", "typ": "passport", "x5u": x5u}
    own.update(members)
    own = {name: value for name, value in own.items() if value is not None}
    text = raw_token(canonical_json(own), canonical_json(dict(payload)))
    return f"{text};info=<{URL}>{beside}"


def test_a_shaken_call_is_valid() -> None:
    """Attestation, caller, signer, and what the signature covers."""
    evidence = judged(invite(identity()))
    assert evidence.state is State.VALID
    assert evidence.finding is None
    assert (evidence.attest, evidence.orig) == (b"A", CALLER.encode())
    assert b"provider 1234" in evidence.signer
    assert evidence.covers == (b"from", b"to", b"date")
    assert evidence.notes == ()


def test_no_identity_is_absent() -> None:
    """STIR_ABSENT, with the code that asks for one."""
    evidence = judged(invite())
    assert evidence.state is State.ABSENT
    assert evidence.finding is not None
    assert evidence.finding.reason is Reason.STIR_ABSENT
    assert evidence.finding.reason.status == 428


def test_sti_2_one_valid_identity_suffices() -> None:
    """Only where all are invalid is the request; each is judged for itself."""
    bad = identity(changed(iat=1))
    assert judged(invite(bad, identity(), "x")).state is State.VALID
    assert judged(invite(f"{bad}, {identity()}")).state is State.VALID
    assert failure(invite(bad, "x")) is Reason.PASSPORT_STALE
    notes = judged(invite(identity(), bad)).notes
    assert [note.reason for note in notes] == [Reason.PASSPORT_STALE]


def test_sti_2_the_number_of_identities_is_bounded() -> None:
    """The rest is not looked at, and the record says so."""
    evidence = judged(invite(*["x"] * MAX_IDENTITIES, identity()))
    assert evidence.state is State.FAILED
    assert any("not looked at" in note.detail for note in evidence.notes)
    assert judged(invite(identity() + 70 * ",")).state is State.FAILED


ORDER: list[tuple[Callable[[], bytes], State, Reason]] = [
    (
        lambda: invite(identity(changed(orig={"tn": "1"}, iat=1), ppt="new")),
        State.ABSENT,
        Reason.UNSUPPORTED_PASSPORT,
    ),
    (
        lambda: invite(identity(changed(orig={"tn": "1"}, iat=1), url="https://x.example/")),
        State.FAILED,
        Reason.PASSPORT_ORIG,
    ),
    (
        lambda: invite(identity(url="https://x.example/", holder=DOMAIN)),
        State.UNKNOWN,
        Reason.NO_CREDENTIAL,
    ),
    (
        lambda: invite(identity(changed(iat=1), holder=DOMAIN)),
        State.FAILED,
        Reason.PASSPORT_STALE,
    ),
    (lambda: invite(identity(holder=DOMAIN)), State.FAILED, Reason.PASSPORT_SIGNATURE),
]


@pytest.mark.parametrize("number", range(len(ORDER)))
def test_sti_3_checks_follow_the_order_of_rfc_8224(number: int) -> None:
    """Kind, caller, certificate, freshness, signature: the first that fails is what is said."""
    make, state, reason = ORDER[number]
    evidence = judged(make())
    assert evidence.finding is not None
    assert (evidence.state, evidence.finding.reason) == (state, reason)


def test_sti_3_an_untrusted_certificate_is_said_before_a_stale_date() -> None:
    """Step 3 comes before step 4, where the certificate is here."""
    stranger = issue("stranger", make_authority("another root"), extensions=(numbers(spc(b"1")),))
    request = invite(identity(changed(iat=1), holder=stranger))
    evidence = Bench(None, {URL: stranger.pem}).examine(request)
    assert evidence.finding is not None
    assert evidence.finding.reason is Reason.CREDENTIAL_UNTRUSTED
    assert evidence.finding.reason.status == 437


@pytest.mark.parametrize(
    "value",
    [
        header(alg="none"),
        header(alg="HS256"),
        header(alg="RS256"),
        header(alg="ES384"),
        header(alg=None),
        header(typ=None),
        header(typ="JWT"),
        header(type="passport", typ=None),
        header(x5u="https://other.example/"),
        header(x5u=None),
        header(ppt=None),
        header(crit=["b64"]),
        header(beside=";alg=ES256"),
        header(ppt="", beside=";alg=ES256"),
        header(beside=";ppt=rph"),
        header(beside=";alg=RS256;ppt=shaken"),
        header(beside=";alg=none;ppt=shaken"),
        header(beside=";alg=es256;ppt=shaken"),
    ],
)
def test_sti_4_the_tokens_header_fits_what_stands_beside_it(value: str) -> None:
    """typ, alg, x5u and ppt; none, HMAC, RSA and unknown critical members never count."""
    assert failure(invite(value)) is Reason.PASSPORT_HEADER


def test_sti_4_no_algorithm_but_es256_even_where_it_would_verify() -> None:
    """HS256 with the public certificate as key is the classic; so is an empty signature."""
    unsigned = header(alg="none", beside=";alg=none;ppt=shaken")
    head, _, rest = unsigned.partition(";")
    assert failure(invite(f"{head.rpartition('.')[0]}.;{rest}")) is Reason.PASSPORT_HEADER


@pytest.mark.parametrize(
    "claims",
    [
        {"orig": None},
        {"orig": {}},
        {"orig": CALLER},
        {"orig": [{"tn": CALLER}]},
        {"orig": {"tn": [CALLER]}},
        {"orig": {"tn": CALLER, "uri": "sip:a@b.example"}},
        {"orig": {"tn": "+1-202"}},
        {"orig": {"name": "x"}},
        {"dest": None},
        {"dest": {}},
        {"dest": {"tn": []}},
        {"dest": {"tn": CALLEE}},
        {"dest": {"tn": [1]}},
        {"dest": {"tn": [CALLEE, 1]}},
        {"dest": {"tn": 7}},
        {"dest": {"tn": [CALLEE], "x": []}},
        {"dest": [CALLEE]},
        {"dest": {"tn": [str(number) for number in range(99)]}},
        {"iat": None},
        {"iat": str(IAT)},
        {"iat": float(IAT)},
        {"iat": True},
        {"mky": {}},
        {"mky": []},
        {"mky": 7},
        {"mky": [{"alg": ["sha-256"], "dig": "AB" * 32}]},
        {"mky": [{"alg": "sha-256"}]},
        {"mky": [{"alg": "SHA-256", "dig": "AB" * 32}]},
        {"mky": [{"alg": "sha-256", "dig": FINGERPRINT}]},
    ],
)
def test_sti_5_claims_have_their_form(claims: dict[str, Json]) -> None:
    """One caller, at least one callee, an integer iat, mky as RFC 8225 writes it."""
    assert failure(invite(identity(changed(**claims)))) is Reason.PASSPORT_CLAIMS


def test_sti_5_several_callees_may_be_named() -> None:
    """One of them must be the callee in To."""
    payload = changed(dest={"tn": ["49301", CALLEE], "uri": ["sip:x@y.example"]})
    assert judged(invite(identity(payload))).state is State.VALID


def test_sti_6_orig_is_compared_and_never_believed() -> None:
    """The details name both, so that the reviewer sees what was tried."""
    evidence = judged(invite(identity(), from_="<sip:+12025550199@a.example>"))
    assert evidence.state is State.FAILED
    assert evidence.finding is not None
    assert evidence.finding.reason is Reason.PASSPORT_ORIG
    assert evidence.finding.detail == ("From says 12025550199, the PASSporT speaks for 12025550100")


def test_sti_6_an_asserted_identity_counts_where_the_policy_says_so() -> None:
    """An anonymous From with P-Asserted-Identity: then that header is what is covered."""
    request = invite(
        identity(),
        from_="<sip:anonymous@anonymous.invalid>",
        headers=[f"P-Asserted-Identity: <sip:x@a.example>, <tel:+{CALLER}>"],
    )
    assert failure(request) is Reason.PASSPORT_ORIG
    evidence = judged(request, StirSettings(asserted=True))
    assert evidence.state is State.VALID
    assert evidence.covers[0] == b"p-asserted-identity"
    assert b"from" not in evidence.covers


NATIONAL = "<sip:2025550100@a.example>", "<sip:01112025550123@b.example;user=phone>"


@pytest.mark.parametrize("value", [identity(), compact()])
def test_sti_7_national_numbers_count_where_the_policy_names_the_country(value: str) -> None:
    """From and To as a trunk dials them, the token as E.164; without the country they differ."""
    request = invite(value, from_=NATIONAL[0], to=NATIONAL[1])
    assert judged(request).state is State.FAILED
    evidence = judged(request, StirSettings(country=b"1"))
    assert (evidence.state, evidence.orig) == (State.VALID, CALLER.encode())
    assert judged(request, StirSettings(country=b"49")).state is State.FAILED


def test_sti_7_the_token_itself_is_never_read_as_national() -> None:
    """A signer has authority over E.164 numbers; what he writes is what he signs."""
    payload = changed(SHAKEN, orig={"tn": CALLER[1:]})
    request = invite(identity(payload), from_=NATIONAL[0])
    assert failure(request, StirSettings(country=b"1")) is Reason.PASSPORT_ORIG


@pytest.mark.parametrize(
    ("from_", "to"),
    [
        (f"<tel:+{CALLER}>", "<tel:+1-202-555-0123>"),
        (f'"Somebody Else" <sip:+{CALLER}@a.example>', f"<sip:{CALLEE}@other.example>"),
        (f"<sip:{CALLER}@a.example;user=phone>", f"<sips:+{CALLEE}@b.example>"),
    ],
)
def test_sti_7_sti_17_numbers_compare_in_one_spelling_and_names_do_not_count(
    from_: str, to: str
) -> None:
    """tel and sip, plus and separators; the display name is not signed."""
    assert judged(invite(identity(), from_=from_, to=to)).state is State.VALID


def test_sti_8_addresses_compare_without_port_and_parameters() -> None:
    """Scheme, user and host, in lower case."""
    request = invite(
        identity(ALICE, "", DOMAIN),
        from_="<sip:Alice@A.Example:5070;transport=tcp>",
        to="<sip:bob@b.example;x=y>",
    )
    evidence = by_domain(request)
    assert evidence.state is State.VALID
    assert evidence.orig == b"sip:alice@a.example"
    other = invite(identity(ALICE, "", DOMAIN), from_="<sip:al@a.example>", to=BOB_TO)
    assert by_domain(other).state is State.FAILED


def test_sti_9_dest_is_compared_with_to_and_not_with_the_request_uri() -> None:
    """A retargeted call keeps its To; a cut-and-paste call has another."""
    assert judged(invite(identity(), uri="sip:somewhere@else.example")).state is State.VALID
    other = invite(identity(), to="<sip:+12025550177@b.example>", uri=TO.strip("<>"))
    assert failure(other) is Reason.PASSPORT_DEST


@pytest.mark.parametrize(
    ("iat", "date", "reason"),
    [
        (IAT - 59, DATE, None),
        (IAT + 59, DATE, None),
        (IAT - 30, None, None),
        (IAT - 61, DATE, Reason.PASSPORT_STALE),
        (IAT + 61, DATE, Reason.PASSPORT_STALE),
        (0, DATE, Reason.PASSPORT_STALE),
        (-1, DATE, Reason.PASSPORT_STALE),
        (IAT, "Mon, 21 Sep 2026 14:03:20 GMT", Reason.PASSPORT_STALE),
        (IAT, "Mon, 21 Sep 2026 14:23:20 GMT", Reason.PASSPORT_STALE),
        (IAT, "yesterday", Reason.PASSPORT_STALE),
        (IAT - 61, None, Reason.PASSPORT_STALE),
    ],
)
def test_sti_10_date_and_iat_are_fresh(iat: int, date: str | None, reason: Reason | None) -> None:
    """60 s either way by default; without Date iat counts alone."""
    evidence = judged(invite(identity(changed(iat=iat)), date=date))
    assert (evidence.finding.reason if evidence.finding else None) is reason
    assert (b"date" in evidence.covers) is (reason is None and iat == IAT and date is not None)


def test_sti_10_the_window_is_the_policys() -> None:
    """Longer for a site with slow clocks."""
    request = invite(identity(changed(iat=IAT - 200)))
    assert judged(request, StirSettings(max_age_s=300)).state is State.VALID


def test_sti_10_iat_lies_inside_the_certificates_time() -> None:
    """A token from before its certificate was valid is none."""
    young = issue("young", CA, from_s=float(IAT - 10), extensions=(numbers(spc(b"1")),))
    bench = Bench(None, {URL: young.pem})
    assert bench.examine(invite(identity(holder=young))).state is State.VALID
    evidence = bench.examine(invite(identity(changed(iat=IAT - 20), holder=young), call_id="c2"))
    assert evidence.finding is not None
    assert evidence.finding.reason is Reason.PASSPORT_STALE


def test_sti_11_a_compact_form_is_rebuilt() -> None:
    """From Date, From and To alone; any other value and the signature is wrong."""
    evidence = judged(invite(compact()))
    assert evidence.state is State.VALID
    assert evidence.covers == (b"from", b"to", b"date")
    for request in (
        invite(compact(), from_="<sip:+12025550199@a.example>"),
        invite(compact(), to="<sip:+12025550199@a.example>"),
        invite(compact(), date="Mon, 21 Sep 2026 14:13:21 GMT"),
        invite(compact(url="https://cr.example.com/other.pem").replace("other", "shaken")),
    ):
        assert failure(request) is Reason.PASSPORT_SIGNATURE


def test_sti_11_a_compact_form_may_name_addresses_and_keys() -> None:
    """URIs under a domain's certificate; mky where the SDP has a fingerprint."""
    request = invite(compact(ALICE, DOMAIN), from_=ALICE_FROM, to=BOB_TO)
    assert by_domain(request).state is State.VALID
    with_key = changed(BASE, mky=MKY)
    evidence = judged(invite(compact(with_key), sdp=keyed()))
    assert evidence.state is State.VALID
    assert b"fingerprint" in evidence.covers
    assert failure(invite(compact(with_key), sdp=keyed("CD" + FINGERPRINT[2:]))) is (
        Reason.PASSPORT_SIGNATURE
    )


def test_sti_11_a_number_like_user_may_have_been_signed_either_way() -> None:
    """``sip:1001@a.example``: as a number by a provider, as an address by its domain."""
    payload: JsonObject = {"dest": {"uri": ["sip:1002@b.example"]}, "iat": IAT}
    payload["orig"] = {"uri": "sip:1001@a.example"}
    request = invite(
        compact(payload, DOMAIN), from_="<sip:1001@a.example>", to="<sip:1002@b.example>"
    )
    evidence = by_domain(request)
    assert (evidence.state, evidence.orig) == (State.VALID, b"sip:1001@a.example")


def test_sti_11_the_ways_to_rebuild_a_compact_form_are_bounded() -> None:
    """Each costs a verification; two asserted callers that could be either are cut at four ways."""
    asserted = ["P-Asserted-Identity: <sip:1001@a.example>, <sip:1002@a.example>"]
    to = "<sip:2000@b.example>"
    options = StirSettings(asserted=True)
    for orig, valid in (("1001", True), ("1002", False)):
        payload = changed(BASE, orig={"tn": orig}, dest={"tn": ["2000"]})
        evidence = judged(invite(compact(payload), to=to, headers=asserted), options)
        assert (evidence.state is State.VALID) is valid


@pytest.mark.parametrize(
    ("ppt", "reason"),
    [
        ("shaken", Reason.PASSPORT_SHAKEN),
        ("rph", Reason.PASSPORT_PRIORITY),
        ("div", Reason.PASSPORT_DIVERTED),
    ],
)
def test_sti_11_kinds_with_claims_of_their_own_need_the_full_form(ppt: str, reason: Reason) -> None:
    """attest, rph and div cannot be rebuilt from the message."""
    assert failure(invite(compact(SHAKEN, ppt=ppt))) is reason


def test_sti_10_sti_11_a_compact_form_without_date_is_invalid() -> None:
    """Nothing else says what iat was."""
    assert failure(invite(compact(), date=None)) is Reason.PASSPORT_CLAIMS


def test_sti_12_the_signature_decides_and_odd_json_is_noted() -> None:
    """A sender that writes blanks into its JSON is odd, not false."""
    head = canonical_json({"alg": "ES256", "ppt": "shaken", "typ": "passport", "x5u": URL})
    odd = raw_token(head, canonical_json(SHAKEN).replace(b",", b", "))
    evidence = judged(invite(f"{odd};info=<{URL}>;ppt=shaken"))
    assert evidence.state is State.VALID
    assert [note.reason for note in evidence.notes] == [Reason.PASSPORT_ODD]


def test_sti_7_a_plus_in_a_number_is_borne_and_noted() -> None:
    """RFC 8224 section 8.3 wants none; Kamailio's signer writes it."""
    for orig, dest in (("+", "+"), ("+", ""), ("", "+")):
        plus = changed(orig={"tn": orig + CALLER}, dest={"tn": [dest + CALLEE]})
        evidence = judged(invite(identity(plus)))
        assert (evidence.state, evidence.orig) == (State.VALID, CALLER.encode())
        assert [note.reason for note in evidence.notes] == [Reason.PASSPORT_ODD]


def test_sti_12_a_member_twice_is_invalid() -> None:
    """The signer and we might have read different ones."""
    head = canonical_json({"alg": "ES256", "ppt": "shaken", "typ": "passport", "x5u": URL})
    twice = canonical_json(SHAKEN).replace(b'"attest":"A"', b'"attest":"C","attest":"A"')
    value = f"{raw_token(head, twice)};info=<{URL}>;ppt=shaken"
    assert failure(invite(value)) is Reason.BAD_PASSPORT


@pytest.mark.parametrize("size", [0, 63, 65])
def test_sti_12_a_signature_has_64_octets(size: int) -> None:
    """Raw r and s; neither DER nor anything cut off or longer."""
    signed, _, _ = token(SHAKEN, ppt="shaken").rpartition(".")
    raw = (sign(signed.encode()) + b"\x00")[:size]
    value = f"{signed}.{encode_segment(raw).decode()};info=<{URL}>;ppt=shaken"
    assert failure(invite(value)) is Reason.PASSPORT_SIGNATURE


def test_sti_12_a_signature_has_one_spelling() -> None:
    """A zero octet between r and s changes neither number, and is refused all the same."""
    signed, _, _ = token(SHAKEN, ppt="shaken").rpartition(".")
    raw = sign(signed.encode())
    longer = encode_segment(raw[:32] + b"\x00" + raw[32:]).decode()
    value = f"{signed}.{longer};info=<{URL}>;ppt=shaken"
    assert failure(invite(value)) is Reason.PASSPORT_SIGNATURE


def test_sti_12_a_signature_in_der_is_none() -> None:
    """OpenSSL would write it so, RFC 7518 does not."""
    signed, _, _ = token(SHAKEN, ppt="shaken").rpartition(".")
    raw = sign(signed.encode())
    as_der = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    value = f"{signed}.{encode_segment(as_der).decode()};info=<{URL}>;ppt=shaken"
    assert failure(invite(value)) is Reason.PASSPORT_SIGNATURE
    zero = f"{signed}.{encode_segment(bytes(64)).decode()};info=<{URL}>;ppt=shaken"
    assert failure(invite(zero)) is Reason.PASSPORT_SIGNATURE


TOKEN = token(SHAKEN, ppt="shaken")
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."


@settings(deadline=None)
@given(st.integers(0, len(TOKEN) - 1), st.sampled_from(ALPHABET))
def test_sti_12_no_character_of_a_token_can_change(at: int, other: str) -> None:
    """Whatever the character, whatever it becomes: what was signed is signed, nothing else."""
    spoiled = TOKEN[:at] + other + TOKEN[at + 1 :]
    evidence = judged(invite(f"{spoiled};info=<{URL}>;alg=ES256;ppt=shaken"))
    assert (evidence.state is State.VALID) is (spoiled == TOKEN)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 85), st.sampled_from(ALPHABET))
def test_sti_12_no_character_of_a_compact_form_can_change(at: int, other: str) -> None:
    """The last one holds four bits that mean nothing; they must be zero."""
    value = COMPACT[: at + 2] + other + COMPACT[at + 3 :]
    assert (judged(invite(value)).state is State.VALID) is (value == COMPACT)


COMPACT = compact()


def test_sti_13_mky_names_the_fingerprints_of_the_session_description() -> None:
    """Another DTLS key than the caller's, one more or one less: somebody is in between."""
    value = identity(changed(mky=MKY))
    evidence = judged(invite(value, sdp=keyed()))
    assert evidence.state is State.VALID
    assert b"fingerprint" in evidence.covers
    session_level = keyed().replace(
        "t=0 0\r\n", f"t=0 0\r\na=fingerprint:sha-256 {FINGERPRINT}\r\n"
    )
    assert judged(invite(value, sdp=session_level)).state is State.VALID
    for sdp in (
        keyed("CD" + FINGERPRINT[2:]),
        keyed() + f"a=fingerprint:sha-1 {FINGERPRINT[:59]}\r\n",
        keyed() + "a=fingerprint:garbage\r\n",
        keyed().replace("SHA-256", "SHA-512"),
        keyed().partition("a=fingerprint")[0],
        "",
    ):
        assert failure(invite(value, sdp=sdp)) is Reason.PASSPORT_KEY


def test_sti_13_the_order_of_keys_does_not_count() -> None:
    """Two certificates, in any order, as one set."""
    other = ":".join(["01"] * 20)
    keys: Json = [{"alg": "sha-256", "dig": "AB" * 32}, {"alg": "sha-1", "dig": "01" * 20}]
    sdp = keyed() + f"a=fingerprint:sha-1 {other}\r\n"
    assert judged(invite(identity(changed(mky=keys)), sdp=sdp)).state is State.VALID
    in_order: Json = [{"alg": "sha-1", "dig": "01" * 20}, {"alg": "sha-256", "dig": "AB" * 32}]
    assert judged(invite(compact(changed(BASE, mky=in_order)), sdp=sdp)).state is State.VALID


def test_sti_13_a_fingerprint_without_mky_is_noted_or_refused() -> None:
    """SHAKEN networks do not write mky; a policy may demand it."""
    for value in (identity(), compact()):
        request = invite(value, sdp=keyed())
        evidence = judged(request)
        assert evidence.state is State.VALID
        assert b"fingerprint" not in evidence.covers
        assert [note.reason for note in evidence.notes] == [Reason.PASSPORT_NO_KEY]
        assert failure(request, StirSettings(require_mky=True)) is Reason.PASSPORT_KEY


def test_sti_13_an_encrypted_body_leaves_mky_unknown() -> None:
    """Nobody can say whether the key inside is the one that was signed."""
    request = invite(identity(changed(mky=MKY)), sdp=SMIME_BODY)
    request = request.replace(b"application/sdp", b"application/pkcs7-mime")
    evidence = judged(request)
    assert evidence.state is State.UNKNOWN
    assert evidence.finding is not None
    assert evidence.finding.reason is Reason.ENCRYPTED_BODY


SMIME_BODY = "0"


def test_sti_14_a_passport_serves_one_call() -> None:
    """The same token under another Call-ID or From tag, or from elsewhere, is a replay."""
    bench = Bench()
    value = identity()
    assert bench.examine(invite(value)).state is State.VALID
    for octets, src in (
        (invite(value, call_id="c2"), "192.0.2.1"),
        (invite(value, tag="f2"), "192.0.2.1"),
        (invite(value), "203.0.113.5"),
        (invite(flipped(value), call_id="c2"), "192.0.2.1"),
    ):
        evidence = bench.examine(octets, src=src)
        assert evidence.state is State.FAILED
        assert evidence.finding is not None
        assert evidence.finding.reason is Reason.PASSPORT_REPLAY


def flipped(value: str) -> str:
    """Return the header with the other signature that everybody can make: r and n - s."""
    head, _, rest = value.partition(";")
    signed, _, last = head.rpartition(".")
    raw = decode_segment(last.encode())
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    s = order - int.from_bytes(raw[32:], "big")
    return f"{signed}.{encode_segment(raw[:32] + s.to_bytes(32, 'big')).decode()};{rest}"


def test_sti_14_the_other_signature_is_valid_by_itself() -> None:
    """So that the test above proves something: it is no damaged signature."""
    assert judged(invite(flipped(identity()))).state is State.VALID


def test_sti_14_sti_20_what_honest_calls_do_is_no_replay() -> None:
    """Retransmission, a retry after 407 or 438, a fork, a proxy or B2BUA that passes it on."""
    bench = Bench()
    value = identity()
    for octets, src, dst, retry in (
        (invite(value), "192.0.2.1", "198.51.100.1", False),
        (invite(value), "192.0.2.1", "198.51.100.1", False),
        (invite(value, cseq=2), "192.0.2.1", "198.51.100.1", False),
        (invite(value), "198.51.100.1", "198.51.100.2", False),
        (invite(value, call_id="b2b", tag="x"), "198.51.100.2", "198.51.100.3", False),
        (invite(value), "203.0.113.5", "198.51.100.9", True),
    ):
        evidence = bench.examine(octets, src=src, dst=dst, retry=retry)
        assert evidence.state is State.VALID, (src, evidence)


def test_sti_20_a_full_form_after_438_is_another_token() -> None:
    """Same Call-ID and CSeq, compact first, then full."""
    bench = Bench()
    assert bench.examine(invite(compact())).state is State.VALID
    assert bench.examine(invite(identity())).state is State.VALID


def test_sti_14_only_what_was_verified_is_remembered() -> None:
    """Otherwise a forger could spend an honest caller's token before him."""
    bench = Bench()
    value = identity()
    stale = Moment(NOW.monotonic_s, NOW.utc_s + 500)
    bench.examine(invite(value, to="<sip:+1@b.example>", call_id="thief"))
    bench.examine(invite(value, call_id="thief"), now=stale)
    bench.examine(invite(header(changed(attest="B")).replace("alg=ES256", "alg=x"), call_id="t"))
    spoiled = value.replace(";info", ";x=1;info")
    signed, _, rest = spoiled.partition(";")
    bench.examine(invite(signed[:-2] + "AA;" + rest, call_id="thief"))
    assert len(bench.stir.memory) == 0
    assert bench.examine(invite(value)).state is State.VALID
    assert len(bench.stir.memory) == 1


def test_sti_15_a_certificate_that_is_not_here_is_waited_for() -> None:
    """Where the packet is patient and the policy fetches; otherwise nobody can say."""
    bench = Bench(None, {"https://other.example/": PROVIDER.pem})
    with pytest.raises(Awaited) as caught:
        bench.examine(invite(identity()), patient=True)
    assert caught.value.urls == (URL,)
    bench.credentials.put(URL, PROVIDER.pem, NOW.utc_s + 60)
    assert bench.examine(invite(identity()), patient=True).state is State.VALID


@pytest.mark.parametrize("patient", [True, False])
def test_sti_15_without_a_certificate_the_caller_is_unknown(patient: bool) -> None:
    """NO_CREDENTIAL, and never valid; the same where the policy fetches nothing."""
    bench = Bench(StirSettings(fetch=not patient), {"https://other.example/": PROVIDER.pem})
    evidence = bench.examine(invite(identity()), patient=patient)
    assert evidence.state is State.UNKNOWN
    assert evidence.finding is not None
    assert evidence.finding.reason is Reason.NO_CREDENTIAL
    assert evidence.finding.reason.status == 436


def test_sti_15_a_failed_fetch_is_said_and_not_repeated() -> None:
    """Until its time is over nobody waits for that URL again."""
    bench = Bench(None, {"https://other.example/": PROVIDER.pem})
    bench.credentials.fail(URL, "the server did not answer in time", NOW.utc_s + 30)
    evidence = bench.examine(invite(identity()), patient=True)
    assert evidence.state is State.UNKNOWN
    assert evidence.finding is not None
    assert evidence.finding.detail == "the server did not answer in time"


@pytest.mark.parametrize("url", ["http://cr.example.com/a", "https://127.0.0.1/a"])
def test_sti_15_a_url_that_may_not_be_asked_makes_nobody_wait(url: str) -> None:
    """Nothing reaches into our own network; the operator may still hold its certificate."""
    bench = Bench()
    evidence = bench.examine(invite(identity(url=url)), patient=True)
    assert evidence.state is State.UNKNOWN
    own = Bench(None, {url: PROVIDER.pem})
    assert own.examine(invite(identity(url=url)), patient=True).state is State.VALID
    private = Bench(StirSettings(fetch_private=True))
    if url.startswith("https"):
        with pytest.raises(Awaited):
            private.examine(invite(identity(url=url)), patient=True)


def test_sti_15_nothing_is_fetched_for_what_fails_anyway_or_is_proven_already() -> None:
    """A stale token or one for another callee costs no fetch; one valid one suffices."""
    bench = Bench()
    elsewhere = "https://elsewhere.example/"
    for octets in (
        invite(identity(changed(iat=1), url=elsewhere)),
        invite(identity(url=elsewhere), to="<sip:+1@b.example>"),
        invite(identity(url=elsewhere), from_="<sip:+1@b.example>"),
        invite(identity(changed(attest="X"), url=elsewhere)),
    ):
        assert bench.examine(octets, patient=True).state is State.FAILED
    both = invite(identity(url=elsewhere), identity())
    assert bench.examine(both, patient=True).state is State.VALID


def test_sti_15_a_packet_makes_us_fetch_a_few_urls_at_most() -> None:
    """Ten headers with ten URLs are no way to make us ask ten hosts."""
    values = [identity(url=f"https://x{number}.example/") for number in range(9)]
    with pytest.raises(Awaited) as caught:
        Bench().examine(invite(*values), patient=True)
    assert len(caught.value.urls) == 4


def test_sti_18_in_a_dialog_the_other_side_may_ask() -> None:
    """Its From is the callee of the first request: flagged, neither valid nor failed."""
    request = invite(identity(), from_=TO, to=FROM)
    evidence = Bench().examine(request, in_dialog=True)
    assert evidence.state is State.UNKNOWN
    assert evidence.finding is not None
    assert evidence.finding.reason is Reason.PASSPORT_ORIG
    other = Bench().examine(invite(identity(), to="<sip:+1@b.example>"), in_dialog=True)
    assert other.finding is not None
    assert (other.state, other.finding.reason) == (State.UNKNOWN, Reason.PASSPORT_DEST)


@pytest.mark.parametrize("method", ["MESSAGE", "OPTIONS", "BYE", "REFER"])
def test_sti_18_any_request_may_carry_one(method: str) -> None:
    """Not only INVITE."""
    assert judged(invite(identity(), method=method)).state is State.VALID


def test_sti_18_a_response_proves_nobody() -> None:
    """RFC 8946 puts Identity into 3xx; it is not verified."""
    request = invite(identity())
    response = b"SIP/2.0 302 Moved\r\n" + request.partition(b"\r\n")[2]
    evidence = judged(response)
    assert evidence.state is State.UNKNOWN


@pytest.mark.parametrize("ppt", ["new", "msg", "SHAKEN"])
def test_sti_22_an_unsupported_kind_is_ignored(ppt: str) -> None:
    """As if the header were absent: 428, and another header may still speak."""
    value = identity(ppt=ppt)
    evidence = judged(invite(value))
    assert evidence.state is State.ABSENT
    assert evidence.finding is not None
    assert evidence.finding.reason is Reason.UNSUPPORTED_PASSPORT
    assert evidence.finding.reason.status == 428
    assert judged(invite(value, identity())).state is State.VALID


def test_sti_22_claims_nobody_asked_for_are_ignored() -> None:
    """Without ppt they mean nothing: no attestation from a base PASSporT, and no diversion."""
    payload = changed(BASE, attest="A", div={"tn": "1"}, other=[1, {"x": None}])
    evidence = judged(invite(identity(payload, "")))
    assert evidence.state is State.VALID
    assert evidence.attest == b""


def test_sti_23_only_the_compact_serialization_is_read() -> None:
    """JSON serialization is no Identity header."""
    assert failure(invite('{"payload":"e30"}')) is Reason.BAD_PASSPORT


def test_sti_50_an_old_identity_is_no_identity() -> None:
    """RFC 4474 is obsolete and not verified here (RFC 8224 section 6.2)."""
    old = '"' + "A" * 171 + '="'
    evidence = judged(invite(old, headers=["Identity-Info: <https://a.example/c>;alg=rsa-sha1"]))
    assert evidence.state is State.ABSENT
    assert evidence.finding is not None
    assert evidence.finding.reason is Reason.OLD_IDENTITY
    assert judged(invite(old, identity())).state is State.VALID


def test_sti_36_emergency_calls_are_judged_like_others() -> None:
    """Evidence alone stops nothing; that a failure must not stop them is the policy's rule."""
    request = invite(identity(changed(dest={"tn": ["911"]})), to="<sip:911@b.example>")
    assert judged(request).state is State.VALID
    urn = invite(
        identity(changed(BASE, dest={"uri": ["urn:service:sos"]}), ""),
        to="<urn:service:sos>",
        uri="urn:service:sos",
    )
    assert judged(urn).state is State.VALID


def test_an_expired_chain_is_not_trusted_however_it_came() -> None:
    """The store's own words are in the record."""
    old = issue(
        "old", CA, from_s=IAT - 90 * DAY_S, until_s=IAT - DAY_S, extensions=(numbers(spc(b"1")),)
    )
    evidence = Bench(None, {URL: old.pem}).examine(invite(identity(holder=old)))
    assert evidence.finding is not None
    assert evidence.finding.reason is Reason.CREDENTIAL_UNTRUSTED
    assert "expired" in evidence.finding.detail
    garbage = Bench(None, {URL: b"0\x03abc"}).examine(invite(identity()))
    assert garbage.finding is not None
    assert garbage.finding.reason is Reason.CREDENTIAL_UNTRUSTED


@settings(deadline=None, max_examples=60)
@given(st.binary(max_size=80), st.sampled_from([b"", b"..", b"e30.e30."]))
def test_examine_is_total(octets: bytes, front: bytes) -> None:
    """No Identity header raises, and none of these is valid."""
    value = front + octets.translate(None, b"\r\n\x00") + f";info=<{URL}>".encode()
    request = invite("@").replace(b"Identity: @", b"Identity: " + value)
    assert judged(request).state is not State.VALID


def test_examine_helper_names_chains_by_file() -> None:
    """Kept short for the other test files."""
    assert examine(invite(identity()), shaken=PROVIDER.pem).state is State.VALID
