"""``trust mikey`` and its file of keys: what they become, and what a wrong line is told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from subjects import load, problems_of

from sipguard.policy.problems import Problems
from sipguard.policy.rules import Policy
from sipguard.policy.shared_keys import read_shared_keys
from sipguard.policy.syntax import Place
from sipguard.policy.trust import NO_KEYS, MikeyTrust, TrustFile

PEM = b"-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n"
CRL = b"-----BEGIN X509 CRL-----\nMA==\n-----END X509 CRL-----\n"
KEY = bytes(range(16))
HEX, BASE64 = KEY.hex(), "AAECAwQFBgcICQoLDA0ODw=="
FILES: dict[str, str | bytes] = {
    "ca.pem": PEM,
    "crl.pem": CRL,
    "middle/a.pem": PEM,
    "certs/http%3A%2F%2Fexample.org%2Fa.cer": PEM,
    "certs/alice.pem": PEM,
    "none": "# no key\n",
    "psk": f"alice@example.com hex:{HEX}\n",
}


def mikey(line: str) -> MikeyTrust:
    trust = policy(line).mikey
    assert trust is not None
    return trust


def policy(line: str, rule: str = "sealed open if mikey.valid") -> Policy:
    return load(f"{line}\nchain media\n  {rule}\n", **FILES)


def test_trust_mikey_has_its_defaults() -> None:
    """MIK-2: ten minutes of skew; no key, no authority, and then nothing is valid."""
    trust = mikey("trust mikey max-age 10m")
    assert trust == MikeyTrust() == MikeyTrust(keys=NO_KEYS, max_age_s=600)
    assert not trust.proves
    assert mikey('trust mikey psk "psk"').proves
    assert mikey('trust mikey ca "ca.pem"').proves
    assert policy("", "plain reject if not keyed").mikey is None


def test_trust_mikey_is_read() -> None:
    """Every option reaches the policy; a certificate keeps the URL that its file is named after."""
    trust = mikey(
        'trust mikey psk "psk" ca "ca.pem" intermediates "middle" certs "certs" '
        'crl "crl.pem" crl-required max-age 1h'
    )
    assert trust.keys.by_name == {b"alice@example.com": KEY}
    assert trust.ca == (TrustFile("ca.pem", PEM, Place("p", 1, 26)),)
    assert [file.name for file in trust.intermediates] == ["middle/a.pem"]
    assert [(url, file.octets) for url, file in trust.certs] == [
        ("", PEM), ("http://example.org/a.cer", PEM),
    ]  # fmt: skip
    assert [file.octets for file in trust.crl] == [CRL]
    assert (trust.crl_hard, trust.max_age_s) == (True, 3600)


TOLD = [
    ('trust mikey psk "no"', "17: cannot read no: No such file or directory (this file decides"),
    ('trust mikey psk "psk" "psk"', "23: psk is one file"),
    ("trust mikey psk", "13: psk needs a file"),
    ("trust mikey psk keys", "17: psk needs a file in quotes"),
    ('trust mikey pks "psk"', "13: unknown option pks (did you mean psk?)"),
    ('trust mikey psk "psk" remember 1h', "23: unknown option remember (there are psk, ca,"),
    ("trust mikey max-age 2h", "21: max-age is 1s to 1h, not 2h"),
    ('trust mikey certs "certs"', "13: certs without ca: nobody's certificate is trusted (add ca"),
    ('trust mikey intermediates "middle"', "13: intermediates without ca: nobody's certificate"),
    ('trust mikey crl "crl.pem"', "13: crl without ca: nobody's certificate is trusted (add ca"),
    ('trust mikey ca "ca.pem" crl-required', "25: crl-required without crl: nothing would be"),
    ('trust mikey ca "psk"', "16: psk holds no certificate (a certificate in PEM or DER is"),
    ('trust mikey psk "psk"\ntrust mikey psk "psk"', "7: trust mikey stands twice (first at p:1)"),
    ('trust mickey psk "psk"', "7: nothing is called trust mickey (did you mean mikey?)"),
]


@pytest.mark.parametrize(("text", "told"), TOLD)
def test_trust_mikey_is_checked(text: str, told: str) -> None:
    """Keys decide which calls get media: a line that is not exactly right does not load."""
    (first, *_) = [str(problem) for problem in problems_of(text + "\n", **FILES)]
    line = 1 + text.count("\n")
    assert first.startswith(f"p:{line}:{told}")


# --- the file of keys


def read(text: str | bytes) -> tuple[dict[bytes, bytes], Problems]:
    problems = Problems()
    octets = text.encode() if isinstance(text, str) else text
    return dict(read_shared_keys("keys/psk", octets, problems).by_name), problems


def test_keys_are_read() -> None:
    """Names as messages say them; comments, blanks, either line end, a BOM."""
    found, problems = read(
        "\ufeff# who                key\r\n\n"
        f"alice@example.com    hex:{HEX.upper()}\r\n"
        f"\tsip:bob@example.net\tbase64:{BASE64}   # of the door\n"
        f"tel:+49-30-1234 HEX:{HEX}{HEX} #\n"
    )
    assert found == {
        b"alice@example.com": KEY,
        b"sip:bob@example.net": KEY,
        b"tel:+49-30-1234": KEY + KEY,
    }
    assert (problems.errors, problems.warnings) == ([], [])


WRONG = [
    ("alice@example.com", "1: this line has a single word (write NAME hex:DIGITS or NAME base64"),
    ("alice@example.com # hex:00", "1: this line has a single word (write NAME hex:DIGITS or"),
    (f"hex:{HEX} alice@example.com", "1: the key stands before the name (write NAME hex:DIGITS"),
    (f"alice@example.com {HEX}", "19: the key does not say whether it is hexadecimal or base64 "),
    (f"alice@example.com b64:{BASE64}", "19: the key does not say whether it is hexadecimal or"),
    (f"a@b hex:{HEX}0", "5: a hexadecimal digit is missing: they come in pairs (openssl rand"),
    (f"a@b hex:0x{HEX}", "5: the key is not hexadecimal (0 to 9 and a to f alone, without 0x,"),
    (f"a@b hex:{HEX[:-1]}g", "5: the key is not hexadecimal (0 to 9 and a to f alone, without"),
    (f"a@b base64:{BASE64[:-1]}", "5: the key is not base64 (a multiple of four letters, digits,"),
    ("a@b base64:____AAAA", "5: the key is not base64 (a multiple of four letters, digits, + and"),
    ("a@b base64:", "5: a key has 1 to 256 octets (openssl rand -hex 16 makes one)"),
    ("a@b hex:", "5: a key has 1 to 256 octets (openssl rand -hex 16 makes one)"),
    (f"a@b hex:{'00' * 257}", "5: a key has 1 to 256 octets (openssl rand -hex 16 makes one)"),
    (f"a@b  hex:{HEX} {HEX}", "43: something stands behind the key (write NAME hex:DIGITS or NAME"),
    (f"sip:@ hex:{HEX}", "1: this is neither a NAI nor a SIP or tel URI (write alice@example.com,"),
    (f"http://a hex:{HEX}", "1: this is neither a NAI nor a SIP or tel URI (write"),
    (f"alice:5060@b hex:{HEX}", "1: this is neither a NAI nor a SIP or tel URI (write"),
]  # fmt: skip


@pytest.mark.parametrize(("row", "told"), WRONG)
def test_a_wrong_key_is_told_by_its_place_alone(row: str, told: str) -> None:
    """File, line and column, what to write instead, and nothing of a line that is a secret."""
    files = {**FILES, "psk": f"# keys\n\n  {row}\n"}
    (problem,) = problems_of('trust mikey psk "psk"\n', **files)
    column, _, rest = told.partition(":")
    assert str(problem).startswith(f"psk:3:{int(column) + 2}:{rest}")
    for secret in (HEX[:8], BASE64[:8], "____AAAA"):
        assert secret not in str(problem)


@pytest.mark.parametrize(
    "other",
    [
        "alice@EXAMPLE.com",
        "sip:alice@example.com",
        "sips:%61lice@example.com",
        "SIP:alice@example.com",
    ],
)
def test_one_holder_has_one_key(other: str) -> None:
    """Two spellings of one user: which key counts must not depend on the order of lines."""
    _, problems = read(f"alice@example.com hex:{HEX}\n# and\n{other} hex:{HEX}\n")
    (problem,) = problems.errors
    assert str(problem) == "keys/psk:3:1: this name stands twice (first in line 1)"


def test_users_are_told_apart_by_case_and_numbers_are_not() -> None:
    """RFC 3261 section 19.1.4; RFC 3966 section 5."""
    found, problems = read(f"alice@a hex:{HEX}\nAlice@a hex:{HEX}\n")
    assert len(found) == 2
    assert problems.errors == []
    assert len(read(f"tel:+49-30 hex:{HEX}\ntel:+4930 hex:{HEX}\n")[1].errors) == 1


def test_what_is_no_uri_may_still_be_a_name() -> None:
    """RFC 4282: a NAI may have characters that no SIP URI has."""
    assert read(f"fred#1@example.com hex:{HEX}\n")[0] == {b"fred#1@example.com": KEY}


def test_a_certificate_in_place_of_keys_is_one_problem() -> None:
    """Not one for each of its lines."""
    (problem,) = problems_of('trust mikey psk "ca.pem"\n', **FILES)
    assert str(problem).startswith("ca.pem:1:1: this is PEM, and no file of pre-shared keys (write")


def test_short_keys_and_empty_files_are_warnings() -> None:
    """They work, and were hardly meant; the length is told as too short, the key is not."""
    _, problems = read("a@b hex:c0ffee\n")
    (warning,) = problems.warnings
    assert str(warning).startswith("keys/psk:1:5: ")
    assert "less than 16 octets" in str(warning)
    assert "c0ffee" not in str(warning)
    (warning,) = read("# nothing\n")[1].warnings
    assert "the file holds no key" in str(warning)


@given(st.binary(max_size=200))
def test_any_octets_are_keys_or_problems(octets: bytes) -> None:
    """A file of the wrong kind ends in sentences."""
    for text in (octets, b"a@b hex:" + octets, b"a@b base64:" + octets, octets + b" hex:00"):
        _, problems = read(text)
        assert all(problem.line >= 1 and problem.column >= 1 for problem in problems.errors)


def test_a_policy_shows_none_of_its_keys() -> None:
    """Whatever prints a policy, in a traceback or a log, prints no key."""
    shown = repr(policy('trust mikey psk "psk"'))
    assert "<1 keys>" in shown
    for secret in (HEX, BASE64, repr(KEY)[2:-1], "alice@example.com"):
        assert secret not in shown


# --- advice

NEVER = "mikey.valid is never true: there is no key or authority to check a message with (add trust"


@pytest.mark.parametrize("trust", ["", "trust mikey max-age 5m\n", 'trust mikey psk "none"\n'])
def test_a_rule_that_nothing_can_fulfil_is_a_warning(trust: str) -> None:
    """As with the proofs of callers: nobody's message can be valid here."""
    warnings = [str(w) for w in policy(trust).warnings]
    assert [w for w in warnings if NEVER in w], warnings


@pytest.mark.parametrize(
    ("trust", "rule"),
    [
        ('trust mikey psk "psk"', "sealed open if mikey.valid"),
        ('trust mikey ca "ca.pem"', "sealed open if mikey.valid"),
        ("", "wrong reject if mikey.state == failed"),
        ("", "old reject if mikey.mode == dhhmac"),
        ('trust mikey psk "psk"', "plain reject if not keyed"),
        ("trust mikey max-age 1h", "plain reject if not keyed"),
    ],
)
def test_what_works_is_no_warning(trust: str, rule: str) -> None:
    """A message can have failed without any key; and a key is used whether a rule asks or not."""
    assert policy(trust, rule).warnings == ()


@pytest.mark.parametrize(
    ("rule", "asks"),
    [
        ("a reject if key.method == mikey and not mikey.valid", True),
        ("a reject if not keyed or (mikey.state in {unknown failed})", True),
        ("a reject if mikey.mode == psk", False),
        ("a reject", False),
    ],
)
def test_a_rule_knows_whether_it_asks_what_mikey_is_worth(rule: str, asks: bool) -> None:
    """A refusal says why; and keys are no reason to have a request's signatures verified."""
    loaded = policy('trust mikey psk "psk"', rule)
    assert loaded.chains["media"].rules[0].asks_mikey is asks
    assert not loaded.asks_proofs
