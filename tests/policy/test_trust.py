"""``trust`` lines: what they become, and what a wrong one is told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from subjects import load, octets, problems_of

from sipguard.errors import PolicyError
from sipguard.policy import load_policy
from sipguard.policy.accounts import read_accounts
from sipguard.policy.problems import Problems
from sipguard.policy.rules import Policy
from sipguard.policy.syntax import Place
from sipguard.policy.trust import AibTrust, DigestTrust, NothingToRead, StirTrust, TrustFile

PEM = b"-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n"
CRL = b"-----BEGIN X509 CRL-----\nMA==\n-----END X509 CRL-----\n"
DER = b"\x30\x82\x01\x00"
KEY = b"-----BEGIN PRIVATE KEY-----\nMA==\n-----END PRIVATE KEY-----\n"
URL = "https://certs.example.org/a.pem"
MD5 = "0123456789abcdef" * 2
SHA = "0123456789abcdef" * 4
FILES: dict[str, str | bytes] = {
    "ca.pem": PEM,
    "ca.der": DER,
    "ca/a.pem": PEM + b"# 1",
    "ca/b.crt": DER,
    "ca/README": b"0 means nothing",
    "ca/b.key": KEY,
    "ca/old": DER,
    "crl.pem": CRL,
    "key.pem": KEY,
    "urls/https%3A%2F%2Fcerts.example.org%2Fa.pem": PEM,
    "readme/README": b"nothing here",
    "ha1": f"# accounts\nalice:example.com:md5:{MD5}\r\nalice:example.com:SHA-256:{SHA}\n\n",
}


def trusting(line: str, rule: str = "a drop if not aib.valid and not stir.valid") -> Policy:
    """Return a policy with one trust line, and a rule that asks."""
    return load(f"{line}\nset relays {{ 198.51.100.40 }}\nchain request\n  {rule}\n", **FILES)


def aib(line: str) -> AibTrust:
    trust = trusting(line).aib
    assert trust is not None
    return trust


def stir(line: str) -> StirTrust:
    trust = trusting(line).stir
    assert trust is not None
    return trust


def test_trust_aib_has_its_defaults() -> None:
    """Ten minutes of Date, an hour of memory, strict in all else."""
    place = Place("p", 1, 14)
    assert aib('trust aib ca "ca.pem"') == AibTrust((TrustFile("ca.pem", PEM, place),))
    assert stir('trust stir ca "ca.pem"') == StirTrust(
        (TrustFile("ca.pem", PEM, Place("p", 1, 15)),)
    )


def test_trust_aib_is_read() -> None:
    """Every option reaches the policy."""
    trust = aib(
        'trust aib ca "ca.pem" "ca.der" certs "ca" crl "crl.pem" crl-required max-age 5m '
        'intermediates "ca.der" '
        "remember 2h legacy sha1 domain-signers codes identity relays relays"
    )
    assert [file.octets for file in trust.ca] == [PEM, DER]
    assert [file.name for file in trust.certs] == ["ca/a.pem", "ca/b.crt"]
    assert [file.octets for file in trust.crl] == [CRL]
    assert [file.octets for file in trust.intermediates] == [DER]
    assert (trust.crl_hard, trust.legacy_sha1, trust.domain_signers) == (True, True, True)
    assert (trust.max_age_s, trust.remember_s, trust.codes) == (300, 7200, "identity")
    assert trust.relays[octets("198.51.100.40")]
    assert not trust.relays[octets("198.51.100.41")]


def test_trust_stir_is_read() -> None:
    """Every option reaches the policy; a file named after a URL is that URL's certificate."""
    trust = stir(
        'trust stir ca "ca" max-age 30s remember 10m fetch any fetch-ca "ca.pem" within 3s '
        'certs "urls" spc { 1234 567A } spc-for-uris crl "crl.pem" codes strict '
        "require-mky country 49 asserted"
    )
    assert (trust.max_age_s, trust.remember_s, trust.within_s) == (30, 600, 3.0)
    assert (trust.fetch, trust.codes, trust.crl_hard) == ("any", "strict", False)
    assert (trust.require_mky, trust.asserted, trust.country) == (True, True, "49")
    assert trust.spc_for_uris
    assert [file.octets for file in trust.fetch_ca] == [PEM]
    assert [(url, file.octets) for url, file in trust.certs] == [(URL, PEM)]
    assert trust.spc == {"1234", "567A"}


def test_trust_digest_is_read() -> None:
    """Passwords' digests by user and realm, algorithms and digits in lower case."""
    trust = trusting('trust digest ha1 "ha1" min sha-256 auth-int strict-nonce', "a drop").digest
    assert trust is not None
    assert (trust.min_algorithm, trust.auth_int, trust.strict_nonce) == ("sha-256", True, True)
    assert trust.ha1 is not None
    assert trust.accounts == {
        (b"alice", b"example.com"): ((b"md5", MD5.encode()), (b"sha-256", SHA.encode()))
    }
    assert trusting("trust digest", "a drop").digest == DigestTrust()


def test_trust_is_remembered_twice_as_long_as_it_is_good() -> None:
    """A Date an hour ahead is good for two hours, and so is a replay of it (AIB-8)."""
    assert aib('trust aib ca "ca.pem" max-age 1h').remember_s == 7200
    assert stir('trust stir ca "ca.pem" max-age 10m').remember_s == 3600


TOLD = [
    ("trust", "6: expected aib, stir, digest, mikey or tls, found the end of the line"),
    ("trust aib", "7: trust aib needs ca: without it nobody is trusted (write trust aib ca"),
    ("trust stir max-age 1m", "7: trust stir needs ca: without it nobody is trusted"),
    ('trust aib ca "no.pem"', "14: cannot read no.pem: No such file or directory (this file"),
    ('trust aib ca "key.pem"', "14: key.pem holds a private key and no certificate (name the"),
    ('trust aib ca "crl.pem"', "14: crl.pem holds no certificate (a certificate in PEM or DER"),
    ('trust aib ca "readme"', "14: the folder readme holds no certificate"),
    ('trust aib ca "ca.pem" crl "ca.pem"', "27: ca.pem holds no revocation list (a revocation"),
    ('trust aib ca "ca.pem" crl-required', "23: crl-required without crl: nothing would be valid"),
    ('trust aib ca "ca.pem" ca "ca"', "23: ca stands twice"),
    ('trust aib "ca.pem"', '11: no option takes "ca.pem" here'),
    ('trust aib legacy sha1 "ca.pem"', '23: no option takes "ca.pem" here'),
    ("trust aib { a }", "13: unexpected braces"),
    ('trust aib ca "ca.pem" max-age 2h', "31: max-age is 1s to 1h, not 2h"),
    ('trust aib ca "ca.pem" max-age 0s', "31: max-age is 1s to 1h, not 0s"),
    ("trust aib max-age", "11: max-age needs a duration"),
    ("trust aib max-age { 1 }", "21: max-age needs a duration, not braces"),
    (
        'trust aib ca "ca.pem" remember 19m',
        "32: remember must be twice max-age (10m) or replays get through (write remember 20m",
    ),
    ('trust stir ca "ca.pem" remember 119s', "33: remember must be twice max-age (1m)"),
    ("trust aib legacy md5", "18: legacy is sha1, not md5"),
    ("trust aib legacy", "11: legacy needs sha1"),
    ("trust aib codes 403", "17: codes is strict or identity, not 403"),
    ('trust aib ca "ca.pem" relays relais', "30: unknown set relais (did you mean relays?)"),
    ('trust aib ca "ca.pem" relays "relays"', "30: relays needs a set, by name or in braces"),
    ('trust aib ca "ca.pem" relays names', "30: set names holds example.com, which is no address"),
    ('trust aib ca "ca.pem" fetch any', "23: unknown option fetch (there are ca,"),
    ('trust aib ca "ca.pem"\ntrust aib ca "ca.pem"', "7: trust aib stands twice (first at p:1)"),
    ('trust stir ca "ca.pem" within 1m', "31: within is 1s to 30s, not 1m"),
    ('trust stir ca "ca.pem" spc { 12-34 }', "30: 12-34 is no service provider code (write spc"),
    ('trust stir ca "ca.pem" spc {}', "24: spc holds 1 to 1000 codes (write spc { 1234 }, or"),
    ('trust stir ca "ca.pem" spc 1234', "28: unknown set 1234 (a value that is no set stands"),
    ('trust stir ca "ca.pem" spc-for-uris', "24: spc-for-uris without spc: no code is named"),
    ('trust stir ca "ca.pem" certs "nowhere"', "30: cannot read nowhere: No such file"),
    ("trust stir country", "12: country needs a country code"),
    ("trust stir country { 49 }", "22: country needs a country code, not braces"),
    ('trust stir ca "ca.pem" country +49', "32: +49 is no country code (did you mean country 49?"),
    ('trust stir ca "ca.pem" country 0044', "32: 0044 is no country code (did you mean country 44"),
    ('trust stir ca "ca.pem" country 1242', "32: 1242 is no country code (did you mean country 1?"),
    ('trust stir ca "ca.pem" country 4', "32: 4 is no country code (write its digits alone, as in"),
    ('trust stir ca "ca.pem" country DE', "32: DE is no country code (write its digits alone, as"),
    ('trust stir ca "ca.pem" country 0', "32: 0 is no country code (write its digits alone, as in"),
    ('trust aib ca "ca.pem" asserted', "23: unknown option asserted (there are ca,"),
    ("trust digest min md5", "18: min is sha-256, not md5"),
    ('trust digest ha1 "no"', "18: cannot read no: No such file or directory"),
    ('trust digest ha1 "ha1" "ha1"', "24: ha1 is one file"),
    ("trust digest realm x", "14: unknown option realm (there are ha1, min, auth-int or"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "told"), TOLD)
def test_trust_lines_are_checked(text: str, told: str) -> None:
    """Trust decides calls: a line that is not exactly right keeps the policy from loading."""
    sets = "\nset relays { 198.51.100.40 }\nset names { example.com }\n"
    (first, *_) = [str(problem) for problem in problems_of(text + sets, **FILES)]
    line = 1 + text.count("\n")
    assert first.startswith(f"p:{line}:{told}")


def test_an_unreadable_folder_and_a_file_that_vanishes_are_problems() -> None:
    """What the disk does between two looks ends in a sentence."""

    class Broken(NothingToRead):
        def names(self, folder: str) -> tuple[str, ...] | None:
            if folder == "denied":
                raise PermissionError(13, "Permission denied")
            return ("gone.pem",) if folder == "gone" else ("x",) * 2001

    for name, told in [
        ("denied", "cannot read denied: Permission denied"),
        ("gone", "cannot read gone/gone.pem: No such file"),
        ("many", "many has more than 2000 files"),
    ]:
        text = f'trust aib ca "{name}"\n'
        with pytest.raises(PolicyError, match=told):
            load_policy("p", {"p": text}.__getitem__, Broken())


def test_keys_in_a_folder_are_not_even_read() -> None:
    """An authority's folder holds its key, and the gateway need not be able to read it."""

    class Guarded(NothingToRead):
        def octets(self, name: str) -> bytes:
            if name.endswith(".key"):
                raise PermissionError(13, "Permission denied")
            return PEM

        def names(self, folder: str) -> tuple[str, ...] | None:
            return ("ca.key", "ca.pem")

    text = 'trust aib ca "trial"\nchain request\n  a drop if not aib.valid\n'
    trust = load_policy("p", {"p": text}.__getitem__, Guarded()).aib
    assert trust is not None
    assert [file.name for file in trust.ca] == ["trial/ca.pem"]


ASK_AIB, ASK_STIR = "  a drop if not aib.valid", "  a drop if not stir.valid"
WARNED = [
    ("", "  a drop if aib.valid", '2:13: aib.valid is always unknown without trust aib (add trust'),
    ("", "  a drop if not smime.sdp == valid", "2:17: smime.sdp is always unknown without"),
    ("", "  a drop if sdp.encrypted", "2:13: sdp.encrypted is always unknown without trust aib"),
    ("", "  a drop if stir.attest in {A}", "2:13: stir.attest is always unknown without"),
    ("", "  a drop if from.user == stir.orig", "2:26: stir.orig is always unknown without trust"),
    ("", "  a drop if digest.valid", "2:13: digest.valid is never true: there is nothing to check"),
    ("trust digest min sha-256", "  a drop if digest.valid", "3:13: digest.valid is never true"),
    ('trust aib ca "ca.pem"', ASK_STIR, "1:7: trust aib is never used (a rule must ask, as in"),
    ('trust stir ca "ca.pem"', ASK_AIB, "1:7: trust stir is never used (a rule must ask, as in"),
    ('trust stir ca "ca.pem" fetch never', ASK_STIR, "1:7: fetch never without certs: no PASSporT"),
    (
        'trust stir ca "ca.pem" fetch never certs "urls" within 1s',
        ASK_STIR,
        "1:49: within does nothing with fetch never",
    ),
    ('trust stir ca "ca.pem" certs "ca"', ASK_STIR, "1:30: ca/a.pem is not named after its URL"),
    ('trust digest ha1 "empty"', "  a drop", "empty:1:1: the file holds no account"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "rule", "told"), WARNED)
def test_trust_that_does_nothing_is_a_warning(line: str, rule: str, told: str) -> None:
    """A rule that can never hold, or a signature that nobody asks for, was not meant."""
    text = f"{line}\n" if line else ""
    policy = load(f"{text}chain request\n{rule}\n", **FILES, empty="# nothing\n")
    shown = [str(warning) for warning in policy.warnings]
    assert [w for w in shown if w.removeprefix("p:").startswith(told)], shown


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ('trust aib ca "ca.pem"', "  a drop if smime.sdp == failed"),
        ('trust aib ca "ca.pem"', "  a drop if not aib.valid"),
        ('trust stir ca "ca.pem"', "  a drop if replay and not stir.attest in {A}"),
        ('trust digest ha1 "ha1"', "  a drop if not digest.valid"),
        ("", "  a drop if digest.failed or digest.replayed"),
        ("", "  a drop if replay.kind == changed"),
        ("trust digest min sha-256", "  a drop if digest.failed"),
    ],
)
def test_trust_that_is_used_is_no_warning(line: str, rule: str) -> None:
    """Advice that is wrong is worse than none; digests are judged without any trust line."""
    assert load(f"{line}\nchain request\n{rule}\n", **FILES).warnings == ()


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("alice", "this is no account"),
        (f":example.com:md5:{MD5}", "this is no account"),
        (f"alice:example.com:crc:{MD5}", "the algorithm is not known"),
        (f"alice:example.com:md5-sess:{MD5}", "the algorithm is not known"),
        (f"alice:example.com:md5:{SHA}", "a digest has 32 hexadecimal digits here"),
        (f"alice:example.com:sha-256:{MD5}", "a digest has 64 hexadecimal digits here"),
        (f"alice:example.com:md5:{MD5[:-1]}g", "a digest has 32 hexadecimal digits here"),
        (f"a:b:md5:{MD5}\na:b:MD5:{MD5}", "this account stands twice"),
    ],
)
def test_a_wrong_account_is_told_by_its_line_alone(row: str, told: str) -> None:
    """The place is in the accounts file, and the secret in it is not repeated."""
    line = 3 + row.count("\n")
    (problem,) = problems_of('trust digest ha1 "f"\n', f=f"# one\n\n{row}\n")
    assert str(problem).startswith(f"f:{line}:1: {told} (write user:realm:")
    assert "alice" not in str(problem)
    assert MD5[:8] not in str(problem)


def test_a_realm_may_have_colons() -> None:
    """A user name has none (RFC 7616 section 3.4.2)."""
    problems = Problems()
    accounts = read_accounts("f", f"a:b:c:md5:{MD5}".encode(), problems)
    assert accounts == {(b"a", b"b:c"): ((b"md5", MD5.encode()),)}


@given(st.binary(max_size=200))
def test_any_octets_are_accounts_or_problems(octets: bytes) -> None:
    """A file of the wrong kind ends in sentences."""
    problems = Problems()
    read_accounts("f", octets, problems)
    assert all(problem.line >= 1 for problem in problems.errors)
