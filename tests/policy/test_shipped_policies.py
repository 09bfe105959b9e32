"""The policies in ``policies/``: they load, and do what their comments say."""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from subjects import STRANGER, Counts, Keying, Stream, octets, request, response
from subjects import subject as made

from sipguard.edge.policy_file import Files
from sipguard.moment import Moment
from sipguard.policy import Policy, Subject, load_policy
from sipguard.policy.fields import FIELDS, HEADER_DOC, METHODS
from sipguard.policy.settings import SETTINGS
from sipguard.policy.trust_options import OPTIONS
from sipguard.policy.verdicts import TOLERABLE
from sipguard.reason import Finding, Reason
from sipguard.verdict import Action, Endpoint

FOLDER = Path(__file__).parents[2] / "policies"
FILES = sorted(FOLDER.glob("*.policy"))
NIGHT = Moment(0.0, 1_704_679_200.0)  # 2024-01-08 02:00 UTC
Rates = Mapping[tuple[str, bytes, int], int]


def _load(name: str) -> Policy:
    files = Files()
    return load_policy(str(FOLDER / name), files.text, files)


def _ruled(policy: Policy, subject: Subject, chain: str = "request") -> str:
    ruling = policy.judge(chain, subject)
    return f"{ruling.rule.name} {ruling.action}" if ruling else "none"


def test_the_five_are_there() -> None:
    """README names them."""
    names = {"strict.policy", "shadow.policy", "branch-office.policy", "signed-callers.policy"}
    names.add("secure-media.policy")
    assert names <= {file.name for file in FILES}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_policy_loads_without_a_warning(file: Path) -> None:
    """What is shipped is an example; it has no dead rule and no unused set."""
    assert _load(file.name).warnings == ()


# --- strict


@pytest.mark.parametrize("src", ["10.1.2.3", "172.16.9.9", "192.168.0.7", "fd00::7"])
@pytest.mark.parametrize("method", METHODS)
def test_strict_lets_telephones_work(src: str, method: str) -> None:
    """Whatever a telephone legally sends, from any private network."""
    subject = made(request(method), src=src)
    subject.transaction_known = True
    assert _ruled(_load("strict.policy"), subject) == "handsets accept"


@pytest.mark.parametrize("method", ["ACK", "BYE", "CANCEL", "PRACK", "UPDATE"])
def test_strict_drops_what_belongs_to_no_call(method: str) -> None:
    """A forged BYE ends nobody's call."""
    policy = _load("strict.policy")
    tagged = request(method, to="<sip:bob@example.com>;tag=b1")
    assert _ruled(policy, made(tagged)) == "stray drop"


@pytest.mark.parametrize("method", ["INVITE", "INFO", "REFER"])
def test_strict_refuses_stray_tags(method: str) -> None:
    """A re-INVITE of a call that nobody saw moves no media."""
    tagged = request(method, to="<sip:bob@example.com>;tag=b1")
    assert _ruled(_load("strict.policy"), made(tagged)) == "stray-tag reject"


def test_strict_lets_refreshes_pass() -> None:
    """NOTIFY and SUBSCRIBE with tags belong to subscriptions, which are no calls."""
    for method in ("NOTIFY", "SUBSCRIBE"):
        tagged = request(method, to="<sip:bob@example.com>;tag=b1")
        assert _ruled(_load("strict.policy"), made(tagged)) == "handsets accept"


SCANNERS = [
    "friendly-scanner",
    "sipvicious",
    "SIPVicious/0.3",
    "sundayddr",
    "sip-scan",
    "sipcli/v1.8",
    "VaxSIPUserAgent/3.1",
    "pplsip",
    "sipsak 0.9.8.1",
    "Nmap NSE",
]
TELEPHONES = [
    "baresip v1.0.0 (x86_64/Linux)",
    "Linphone/3.12.0 (belle-sip/1.6.3)",
    "Twinkle/1.10.2",
    "SIPp",
    "kamailio (5.6.3 (x86_64/linux))",
    "snomPA1/8.7",
    "Yealink SIP-T46S 66.84",
    "Grandstream HT802",
    "",
]


@pytest.mark.parametrize("agent", SCANNERS)
def test_strict_is_silent_to_scanners(agent: str) -> None:
    """From inside, too: an answer of any kind tells them that somebody is here."""
    raw = request("OPTIONS", headers=f"User-Agent: {agent}\r\n")
    assert _ruled(_load("strict.policy"), made(raw)) == "scanner drop"


@pytest.mark.parametrize("agent", TELEPHONES)
def test_strict_takes_no_telephone_for_a_scanner(agent: str) -> None:
    """Telephones call themselves much."""
    raw = request(headers=f"User-Agent: {agent}\r\n")
    assert _ruled(_load("strict.policy"), made(raw)) == "handsets accept"


def test_strict_knows_the_port_scanner() -> None:
    """nmap's UDP probe names its user and host ``nm``."""
    raw = request("OPTIONS", uri="sip:nm", from_="<sip:nm@nm>;tag=root", to="<sip:nm2@nm2>")
    assert _ruled(_load("strict.policy"), made(raw)) == "probe drop"


def test_strict_drops_strangers_replays_and_hijackers() -> None:
    """The three attacks that a finding or a field names."""
    policy = _load("strict.policy")
    assert _ruled(policy, made(src=STRANGER)) == "stranger drop"
    replayed = made()
    replayed.replay = True
    assert _ruled(policy, replayed) == "replayed drop"
    hijack = made(request("REGISTER"))
    hijack.registration_foreign = True
    assert _ruled(policy, hijack) == "hijack reject"


@pytest.mark.parametrize(
    ("method", "rates", "ruled"),
    [
        ("INVITE", {("src", b"INVITE", 1): 20}, "handsets accept"),
        ("INVITE", {("src", b"INVITE", 1): 21}, "call-flood drop"),
        ("OPTIONS", {("src", b"OPTIONS", 1): 21}, "probe-flood drop"),
        ("REGISTER", {("src", b"REGISTER", 1): 11}, "signup-flood drop"),
        ("REGISTER", {("src.aor", b"REGISTER", 60): 20}, "handsets accept"),
        ("REGISTER", {("src.aor", b"REGISTER", 60): 21}, "guessing drop"),
        ("MESSAGE", {("src", b"*", 1): 201}, "flood drop"),
        ("MESSAGE", {("src", b"INVITE", 1): 500}, "handsets accept"),
    ],
)
def test_strict_bounds_floods(method: str, rates: Rates, ruled: str) -> None:
    """The limits of its comments."""
    subject = made(request(method), rates=Counts(rates))
    assert _ruled(_load("strict.policy"), subject) == ruled


def test_strict_demands_tls_for_sips() -> None:
    """sips: over UDP is a lie."""
    policy = _load("strict.policy")
    for reason in (Reason.SIPS_IN_CLEAR, Reason.SIPS_DOWNGRADE):
        for src, ruled in (("10.1.1.1", "downgrade reject"), (STRANGER, "garbage drop")):
            subject = made(src=src)
            subject.findings = [Finding(reason)]
            assert _ruled(policy, subject, "parse") == ruled
    raw = request(uri="sips:bob@example.com")
    assert _ruled(policy, made(raw, transport="tls")) == "handsets accept"


def test_strict_takes_no_lies_about_the_way() -> None:
    """A Via that says TLS on a message in clear, and a client that was bid down."""
    policy = _load("strict.policy")
    lie = request().replace(b"/UDP", b"/TLS")
    assert _ruled(policy, made(lie)) == "via-lie reject"
    assert _ruled(policy, made(lie, transport="tls")) == "handsets accept"
    assert _ruled(policy, made(request().replace(b"/UDP", b"/TCP"))) == "handsets accept"
    subject = made()
    subject.findings = [Finding(Reason.SECURITY_BID_DOWN)]
    assert _ruled(policy, subject) == "bid-down reject"


def test_strict_opens_for_sealed_media_alone() -> None:
    """No key, no hole; and no hole to an address that nobody vouches for."""
    policy = _load("strict.policy")
    cases = [
        (Stream(), "sealed open"),
        (Stream(keyed=False, keying=Keying(b"", b"", 0)), "plain reject"),
        (Stream(callee_vouched=False), "none"),
        (Stream(callee=Endpoint(b"", 0), callee_vouched=False), "none"),
        (Stream(callee=Endpoint(octets("198.51.100.40"), 9), callee_vouched=False), "sealed open"),
    ]
    for stream, ruled in cases:
        assert _ruled(policy, made(stream=stream), "media") == ruled


def test_strict_judges_form_first() -> None:
    """Ambiguity is dropped; a telephone's plain mistake is told."""
    policy = _load("strict.policy")
    cases = [
        (Reason.DUPLICATE_HEADER, "10.1.1.1", "ambiguous drop"),
        (Reason.BAD_VIA, "10.1.1.1", "malformed reject"),
        (Reason.BAD_VIA, STRANGER, "garbage drop"),
        (Reason.TOO_LARGE, "10.1.1.1", "oversize drop"),
        (Reason.NO_COOKIE, "10.1.1.1", "none"),
    ]
    for reason, src, ruled in cases:
        subject = made(src=src)
        subject.findings = [Finding(reason)]
        assert _ruled(policy, subject, "parse") == ruled


def test_strict_takes_responses_to_known_requests_alone() -> None:
    """A response to nothing is no answer."""
    policy = _load("strict.policy")
    subject = made(response(200))
    assert _ruled(policy, subject, "response") == "none"
    subject.transaction_known = True
    assert _ruled(policy, subject, "response") == "answers accept"
    assert (policy.mode, policy.default) == ("enforce", Action.DROP)


# --- shadow and branch office


def test_shadow_drops_nothing_but_says_what_strict_would() -> None:
    """The first policy of an admin: same judgement, no consequences."""
    policy = _load("shadow.policy")
    assert (policy.mode, policy.default, policy.on_overload) == (
        "shadow",
        Action.DROP,
        "accept-all",
    )
    assert _ruled(policy, made(src=STRANGER)) == "stranger drop"
    assert _ruled(policy, made()) == "handsets accept"
    assert _ruled(policy, made(stream=Stream(keyed=False)), "media") == "plain reject"
    assert _ruled(policy, made(stream=Stream()), "media") == "sealed open"


def _office(number: str, src: str = "10.20.1.1", now: Moment | None = None) -> str:
    raw = request(uri=f"sip:{number}@example.com")
    subject = made(raw, src=src, now=now) if now else made(raw, src=src)
    return _ruled(_load("branch-office.policy"), subject)


def test_branch_office_keeps_its_promises() -> None:
    """Emergency first, premium never, abroad by day, own names from inside alone."""
    assert _office("112", now=NIGHT) == "emergency accept"
    assert _office("+19005551234") == "premium reject"
    assert _office("+33123456") == "handsets accept"
    assert _office("+33123456", now=NIGHT) == "at-night reject"
    assert _office("+49301234", now=NIGHT) == "handsets accept"
    assert _office("*21*555", src="198.51.100.17") == "forwarding reject"
    assert _office("x21x555", src="198.51.100.17") == "handsets accept"
    assert _office("bob", src=STRANGER) == "stranger drop"
    assert _office("bob", src="203.0.113.10") == "spoofed reject"


def test_branch_office_forgives_the_door() -> None:
    """The intercom's line ends, and nobody else's."""
    policy = _load("branch-office.policy")
    for src, ruled in (("10.21.0.10", "none"), ("10.20.0.9", "ambiguous drop")):
        subject = made(src=src)
        subject.findings = [Finding(Reason.BARE_LF)]
        assert _ruled(policy, subject, "parse") == ruled


def test_branch_office_doors_only_call_the_house() -> None:
    """A door that was broken into makes no calls outside."""
    assert _office("bob", src="10.21.0.10") == "door-calls accept"
    raw = request(uri="sip:x@elsewhere.org", to="<sip:x@elsewhere.org>")
    assert _ruled(_load("branch-office.policy"), made(raw, src="10.21.0.10")) == "door drop"


# --- the reference


def test_the_reference_has_every_field_and_setting() -> None:
    """README.md says of each what the tables in the code say."""
    text = (FOLDER / "README.md").read_text("utf-8")
    lines = text.splitlines()
    table = text[text.index("## Fields") :].splitlines()
    for field in FIELDS.values():
        row = [line for line in table if line.startswith(f"| `{field.name}` |")]
        assert len(row) == 1, field.name
        assert f"| {field.kind} |" in row[0]
        assert row[0].endswith(f"| {field.doc} |")
    for name, known in SETTINGS.items():
        values = known.usage.replace("|", " or ")
        assert f"| `{name}` | {values} | `{known.default}` | {known.doc} |" in lines
    assert any(HEADER_DOC in line for line in lines)


def test_the_reference_names_nothing_that_is_not_there() -> None:
    """A row for a field that was taken away would send an admin astray."""
    text = (FOLDER / "README.md").read_text("utf-8")
    section = text[text.index("## Fields") : text.index("## Who is really calling")]
    named = [line.split("`")[1] for line in section.splitlines() if line.startswith("| `")]
    assert set(named) - set(FIELDS) == {'header["X-Name"]'}


def test_the_reference_has_every_option_of_trust_lines() -> None:
    """Under the heads of their tables, with every default; and no option that is not there."""
    text = (FOLDER / "README.md").read_text("utf-8")
    named: dict[str, set[str]] = {kind: set() for kind in OPTIONS}
    kinds: list[str] = []
    for line in text[text.index("## Who is really calling") :].splitlines():
        if not line.startswith("|"):
            kinds = []
        elif line.startswith("| `trust "):
            kinds = re.findall(r"`trust (\w+)`", line.partition(" | ")[0])
        elif line.startswith("| `"):
            option = line[3:].split("`")[0].split()[0]
            assert line.count(" | ") == 2
            assert not [kind for kind in kinds if option in named[kind]], option
            for kind in kinds:
                named[kind].add(option)
    assert named == {kind: set(options) for kind, options in OPTIONS.items()}


def test_the_reference_lists_what_can_be_tolerated() -> None:
    """Every fault that ``tolerate`` takes."""
    text = (FOLDER / "README.md").read_text("utf-8")
    assert all(f"`{code}`" in text for code in TOLERABLE)


def test_the_examples_of_the_reference_load() -> None:
    """What a reader copies works."""
    text = (FOLDER / "README.md").read_text("utf-8")
    example = text.split("```")[3]
    assert load_policy("example", lambda _: example).warnings == ()
