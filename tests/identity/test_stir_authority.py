"""May the certificate speak for this caller: STI-16 and STI-30 to STI-34 (RFC 8226, 9060, 9118)."""

import pytest
from authority import Holder, issue, make_authority
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import AuthorityInformationAccessOID
from hypothesis import given
from hypothesis import strategies as st
from passports import (
    ALICE,
    BASE,
    CA,
    CALLER,
    DOMAIN,
    PROVIDER,
    SHAKEN,
    URL,
    Bench,
    compact,
    constraints,
    der,
    identity,
    invite,
    numbers,
    one,
    span,
    spc,
)

from sipguard.errors import HostileInput
from sipguard.evidence import Evidence, State
from sipguard.identity.constraints import Constraints, parse_constraints
from sipguard.identity.stir import Stir, StirSettings
from sipguard.identity.trust import Store
from sipguard.reason import Reason
from sipguard.wire.passport import Json, JsonObject

Extension = tuple[x509.ExtensionType, bool]


def holder_of(*extensions: Extension, issuer: Holder = CA, name: str = "holder") -> Holder:
    return issue(name, issuer, extensions=extensions)


def call(
    holder: Holder,
    payload: JsonObject = SHAKEN,
    options: StirSettings | None = None,
    *,
    above: bytes = b"",
) -> Evidence:
    """Return what a shaken call signed by *holder* proves."""
    bench = Bench(options, {URL: holder.pem + above})
    return bench.examine(invite(identity(payload, holder=holder)))


def alice_calls(holder: Holder) -> bytes:
    """Return a call whose parties are named by URIs."""
    value = identity(ALICE, "", holder)
    return invite(value, from_="<sip:alice@a.example>", to="<sip:bob@b.example>")


def why(evidence: Evidence) -> Reason | None:
    return evidence.finding.reason if evidence.finding else None


def without(name: str) -> JsonObject:
    return {key: value for key, value in SHAKEN.items() if key != name}


def test_sti_16_an_address_needs_a_certificate_of_its_domain() -> None:
    """Exactly the host of From: no other, no wildcard, and no provider's code."""
    for holder, valid in (
        (DOMAIN, True),
        (issue("b", CA, dns=("b.example",)), False),
        (issue("wild", CA, dns=("*.example",)), False),
        (issue("sub", CA, dns=("sip.a.example",)), False),
        (PROVIDER, False),
    ):
        bench = Bench(None, {URL: holder.pem})
        evidence = bench.examine(alice_calls(holder))
        assert (evidence.state is State.VALID) is valid
        assert why(evidence) is (None if valid else Reason.NO_AUTHORITY)


def test_sti_16_a_policy_may_let_a_named_provider_speak_for_addresses() -> None:
    """Only a code that it names, and only where it says so."""
    request = alice_calls(PROVIDER)
    for options, valid in (
        (StirSettings(spcs=frozenset([b"1234"]), spcs_for_uris=True), True),
        (StirSettings(spcs=frozenset([b"1234"])), False),
        (StirSettings(spcs=frozenset([b"5678"]), spcs_for_uris=True), False),
        (StirSettings(spcs_for_uris=True), False),
    ):
        assert (Bench(options).examine(request).state is State.VALID) is valid


def test_sti_16_a_number_needs_a_certificate_that_covers_it() -> None:
    """By itself, in a range, or by a provider's code; a domain has no numbers."""
    caller = CALLER.encode()
    for holder, reason in (
        (holder_of(numbers(one(caller))), None),
        (holder_of(numbers(span(b"12025550000", 1000))), None),
        (holder_of(numbers(spc(b"77"), one(b"1"))), None),
        (holder_of(numbers(one(b"12025550101"))), Reason.NO_AUTHORITY),
        (holder_of(numbers(span(b"12025550000", 100))), Reason.NO_AUTHORITY),
        (DOMAIN, Reason.NO_AUTHORITY),
    ):
        assert why(call(holder)) is reason
    words = call(holder_of(numbers(one(b"12025550101")))).finding
    assert words is not None
    assert "does not cover 12025550100" in words.detail
    assert words.reason.status == 437


def test_sti_31_a_code_counts_as_the_policy_says() -> None:
    """Which numbers a code has is nobody's knowledge here: a list of codes, or all of them."""
    for codes, valid in ((frozenset([b"1234", b"9"]), True), (frozenset([b"9"]), False)):
        evidence = call(PROVIDER, SHAKEN, StirSettings(spcs=codes))
        assert (evidence.state is State.VALID) is valid


@pytest.mark.parametrize("value", [b"", b"0\x00", b"1ca.example/TNAuthList", span(b"999", 2)])
def test_sti_30_a_broken_list_gives_no_authority(value: bytes) -> None:
    """A URL in its place is what a well-known library's examples have."""
    extension = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.5.5.7.1.26"), value)
    assert why(call(holder_of((extension, False)))) is Reason.NO_AUTHORITY


def test_sti_32_a_list_by_reference_is_not_fetched_and_unknown() -> None:
    """The certificate names where its numbers are listed; nobody here knows them."""
    access = x509.AuthorityInformationAccess(
        [
            x509.AccessDescription(
                x509.ObjectIdentifier("1.3.6.1.5.5.7.48.14"),
                x509.UniformResourceIdentifier("https://lists.example/tn"),
            )
        ]
    )
    evidence = call(holder_of((access, False)))
    assert (evidence.state, why(evidence)) == (State.UNKNOWN, Reason.NO_AUTHORITY)
    elsewhere = x509.AuthorityInformationAccess(
        [
            x509.AccessDescription(
                AuthorityInformationAccessOID.OCSP,
                x509.UniformResourceIdentifier("https://ocsp.example/"),
            )
        ]
    )
    assert call(holder_of((elsewhere, False))).state is State.FAILED


@pytest.mark.parametrize(
    ("extension", "payload", "valid"),
    [
        (constraints(["attest", "origid"]), SHAKEN, True),
        (constraints(["rcd"]), SHAKEN, False),
        (constraints([], {"attest": ["B", "A"]}), SHAKEN, True),
        (constraints([], {"attest": ["B", "C"]}), SHAKEN, False),
        (constraints([], {"rcd": ["x"]}), SHAKEN, True),
        (constraints([], {"orig": ['{"tn":"12025550100"}']}), SHAKEN, True),
        (constraints([], {"orig": ['{"tn":"12025550101"}']}), SHAKEN, False),
        (constraints(["origid"], {"attest": ["A"]}, ["rcd"]), SHAKEN, True),
        (constraints([], None, ["origid"]), SHAKEN, False),
        (constraints(["rcd"], None, ["orig"]), SHAKEN, True),
        (constraints(["rcd"], None, []), SHAKEN, False),
    ],
)
def test_sti_33_constraints_of_the_certificate_bind_its_holder(
    extension: Extension, payload: JsonObject, valid: bool
) -> None:
    """mustInclude, permittedValues, mustExclude; the last one void where it forbids orig."""
    evidence = call(holder_of(numbers(spc(b"1")), extension), payload)
    assert (evidence.state is State.VALID) is valid
    assert why(evidence) is (None if valid else Reason.CLAIM_CONSTRAINT)


def test_sti_33_constraints_bind_a_compact_form_too() -> None:
    """Its payload is rebuilt, and has no attest."""
    holder = holder_of(numbers(spc(b"1")), constraints(["attest"]))
    evidence = Bench(None, {URL: holder.pem}).examine(invite(compact(BASE, holder)))
    assert why(evidence) is Reason.CLAIM_CONSTRAINT


def test_sti_33_both_kinds_in_one_certificate_are_forbidden() -> None:
    """RFC 9118: nobody could say which one counts."""
    holder = holder_of(
        numbers(spc(b"1")), constraints(["attest"]), constraints(["attest"], None, ["rcd"])
    )
    assert why(call(holder)) is Reason.CREDENTIAL_UNTRUSTED


def test_vec_13_constraints_are_read_from_der() -> None:
    """VEC-13: the enhanced form beside a code, in octets of our own making."""
    value = der(
        0x30,
        der(0xA0, der(0x30, der(0x16, b"attest"))),
        der(0xA1, der(0x30, der(0x30, der(0x16, b"attest"), der(0x30, der(0x0C, b"A"))))),
        der(0xA2, der(0x30, der(0x16, b"rcd"))),
    )
    assert parse_constraints(value, enhanced=True) == Constraints(
        ("attest",), (("attest", ("A",)),), ("rcd",)
    )


@pytest.mark.parametrize(
    "value",
    [
        b"",
        der(0x30, der(0xA3, der(0x30))),
        der(0x30, der(0xA2, der(0x30, der(0x16, b"rcd")))),
        der(0x30, der(0xA1, der(0x30)), der(0xA0, der(0x30))),
        der(0x30, der(0xA0, der(0x30)), der(0xA0, der(0x30))),
        der(0x30, der(0xA0, der(0x30, der(0x0C, b"x")))),
        der(0x30, der(0xA1, der(0x30, der(0x16, b"x")))),
        der(0x30, der(0xA1, der(0x30, der(0x30, der(0x16, b"x"))))),
        der(0x30, der(0xA0, der(0x30, der(0x16, b"\xff")))),
    ],
)
def test_sti_33_constraints_that_cannot_be_read_permit_nothing(value: bytes) -> None:
    """Out of order, twice, of another kind: fail, since what they forbid is not known."""
    extension = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.5.5.7.1.27"), value)
    if value:
        assert why(call(holder_of(numbers(spc(b"1")), (extension, False)))) is (
            Reason.CLAIM_CONSTRAINT
        )
    with pytest.raises(HostileInput) as caught:
        parse_constraints(value, enhanced=False)
    assert caught.value.reason is Reason.CLAIM_CONSTRAINT


@given(st.binary(max_size=80).map(lambda b: der(0x30, b)) | st.binary(max_size=40))
def test_parse_constraints_is_total(octets: bytes) -> None:
    """No octets raise anything but HostileInput."""
    for enhanced in (True, False):
        try:
            parse_constraints(octets, enhanced=enhanced)
        except HostileInput:
            continue


@pytest.mark.parametrize("kind", ["p384", "rsa2048", "ed25519"])
def test_sti_34_only_p256_keys_sign_passports(kind: str) -> None:
    """Whatever the authority certified."""
    holder = issue("other key", CA, kind=kind, extensions=(numbers(spc(b"1")),))
    evidence = Bench(None, {URL: holder.pem}).examine(invite(identity()))
    assert why(evidence) is Reason.CREDENTIAL_UNTRUSTED


@pytest.mark.parametrize("kind", ["p256", "rsa2048"])
def test_sti_34_authorities_may_sign_with_ecdsa_or_rsa(kind: str) -> None:
    """RFC 8226 section 7: both kinds of certificate signatures."""
    root = make_authority("another STI root", kind=kind)
    holder = issue("its provider", root, extensions=(numbers(spc(b"1")),), digest=hashes.SHA256())
    bench = Bench(None, {URL: holder.pem})
    bench.stir = Stir(StirSettings(), Store((root.der,)), bench.credentials)
    assert bench.examine(invite(identity(holder=holder))).state is State.VALID


def delegate(parent: Extension | None, child: Extension) -> Evidence:
    """Return what a call under a delegate certificate proves."""
    usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
    authority: list[Extension] = [
        (x509.BasicConstraints(ca=True, path_length=None), True),
        (usage, True),
    ]
    middle = issue("delegator", CA, extensions=(*authority, *([parent] if parent else [])))
    leaf = holder_of(child, issuer=middle, name="delegate")
    return call(leaf, above=middle.pem)


def test_sti_34_sti_31_a_delegate_speaks_only_for_what_its_issuer_has() -> None:
    """RFC 9060: each list inside the one above; an authority without a list is not limited."""
    caller = CALLER.encode()
    around = span(b"12025550000", 1000)
    assert delegate(numbers(around), numbers(one(caller))).state is State.VALID
    assert delegate(numbers(spc(b"1234")), numbers(one(caller))).state is State.VALID
    assert delegate(None, numbers(one(caller))).state is State.VALID
    for parent, child in (
        (numbers(one(b"1")), numbers(one(caller))),
        (numbers(around), numbers(one(caller), one(b"44"))),
        (numbers(around), numbers(spc(b"1234"))),
        (numbers(spc(b"1")), numbers(spc(b"2"))),
    ):
        assert why(delegate(parent, child)) is Reason.NO_AUTHORITY


def test_sti_35_attest_may_be_bound_by_the_certificate() -> None:
    """A reseller that may attest C only cannot attest A."""
    reseller = holder_of(numbers(spc(b"1")), constraints(["attest"], {"attest": ["C"]}))
    low: dict[str, Json] = {**SHAKEN, "attest": "C"}
    assert call(reseller, low).attest == b"C"
    assert why(call(reseller)) is Reason.CLAIM_CONSTRAINT
    assert why(call(reseller, without("attest"))) is Reason.PASSPORT_SHAKEN
