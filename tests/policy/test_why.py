"""Why a rule matched: its tests, the values they were asked of, and nothing found out for it."""

import pytest
from subjects import MONDAY_NOON, STRANGER, Counts, Proven, octets

from sipguard.evidence import Evidence, State
from sipguard.journal.observation import Answer
from sipguard.moment import Moment
from sipguard.policy import Policy, Subject, load_policy
from sipguard.policy.field import Scope
from sipguard.policy.fields import FIELDS
from sipguard.policy.why import Explainer
from sipguard.reason import Finding, Reason
from sipguard.wire.packet import Packet
from sipguard.wire.sip import parse_message

INVITE = (
    b"INVITE sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.66:5060;branch=z9hG4bK1\r\n"
    b"From: <sip:alice@example.com>;tag=1\r\nTo: <sip:bob@example.com>\r\nCall-ID: c\r\n"
    b"CSeq: 1 INVITE\r\nX-Note: a, b\r\nContent-Length: 0\r\n\r\n"
)


def policy_of(rule: str, chain: str = "request") -> Policy:
    zone = "zone z { interface e ipsec }\n"
    text = (
        f"{zone}set phones {{ 10.20.0.0/16 }}\nset own {{ example.com }}\nchain {chain}\n  {rule}\n"
    )
    return load_policy("p", lambda _name: text)


def subject_of(now: Moment = MONDAY_NOON) -> Subject:
    packet = Packet(octets(STRANGER), octets("10.20.0.5"), 5060, 5060, INVITE)
    return Subject(packet, parse_message(INVITE), now, Counts({("src", b"INVITE", 1): 23}))


def why(
    rule: str, subject: Subject | None = None, chain: str = "request"
) -> tuple[bool, list[Answer]]:
    policy = policy_of(rule, chain)
    told = Explainer().why(policy, policy.rules[0].place, subject or subject_of())
    assert told is not None
    assert told.text == policy.rules[0].condition
    return told.any, list(told.tests)


def asked(text: str, values: tuple[tuple[str, bytes], ...], holds: bool | None = True) -> Answer:
    return Answer(text, holds, values)


def test_each_part_of_an_and_with_its_value() -> None:
    """The reviewer sees which facts came together."""
    assert why("a drop if method == INVITE and src not in phones and from.host in own") == (
        False,
        [
            asked("method == INVITE", (("method", b"INVITE"),)),
            asked("src not in phones", (("src", b"192.0.2.66"),)),
            asked("from.host in own", (("from.host", b"example.com"),)),
        ],
    )


def test_each_part_of_an_or_says_whether_it_held() -> None:
    """One was enough; the others are told apart."""
    is_any, tests = why("a drop if message.size > 8k or headers.count > 2 or dialog.known")
    assert is_any
    assert [(test.text, test.holds) for test in tests] == [
        ("message.size > 8k", False),
        ("headers.count > 2", True),
        ("dialog.known", False),
    ]


@pytest.mark.parametrize(
    ("condition", "name", "value"),
    [
        ("rate(src, INVITE) > 10/s", "rate(src, INVITE)", b"23 in 1 s"),
        ('header["X-Note"] == "a, b"', 'header["X-Note"]', b"a, b"),
        ("within mon 08:00-18:00 utc", "time", b"mon 12:00 utc"),
        ("finding in {SIP-8}", "finding", b"SIP-8"),
        ("from.user != to.user", "to.user", b"bob"),
        ("user_agent matches /x*/", "user_agent", b""),
        ("not replay", "replay", b"false"),
    ],
)
def test_values_of_every_kind(condition: str, name: str, value: bytes) -> None:
    """As the policy's author would write them."""
    subject = subject_of()
    subject.findings = [Finding(Reason.BARE_LF)]
    _, (test,) = why(f"a drop if {condition}", subject)
    assert dict(test.values)[name] == value


def test_no_proof_is_verified_to_explain() -> None:
    """A signature costs; a flood must not be able to ask for explanations."""
    subject = subject_of()
    proven = Proven(aib=Evidence(State.ABSENT))
    subject.proofs = proven
    _, tests = why("a drop if src not in phones or not aib.valid", subject)
    assert proven.kinds == []
    assert [(test.holds, test.values) for test in tests] == [
        (True, (("src", b"192.0.2.66"),)),
        (None, ()),
    ]
    subject.proofs.aib()
    _, tests = why("a drop if src not in phones or not aib.valid", subject)
    assert tests[1] == asked("not aib.valid", (("aib.valid", b"false"),), True)


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_can_be_shown(name: str) -> None:
    """No field that a rule may read stops a record."""
    field = FIELDS[name]
    chain = "media" if field.scope == Scope.MEDIA else "request"
    word = [*getattr(field, "words", ()), "x"][0]
    tests = (
        "",
        "> 1",
        'in { "x" }',
        "in { SIP-8 }",
        "in { 10.0.0.0/8 }",
        "in { signalling }",
        "in { z }",
    )
    for test in (*tests, f"== {word}"):
        try:
            policy = policy_of(f"a drop if {name} {test}", chain)
        except Exception:  # noqa: BLE001 - a test that does not fit this field
            continue
        subject = subject_of()
        subject.proofs = Proven()
        for kind in ("aib", "smime", "stir", "digest"):
            getattr(subject.proofs, kind)()
        told = Explainer().why(policy, policy.rules[0].place, subject)
        assert told is not None
        assert [n for n, _ in told.tests[0].values] == [name]
        return
    pytest.fail(f"no test of {name} loads")


def test_what_no_rule_decided_has_no_why() -> None:
    """The default and sipguard's own checks ask nothing; nor does a rule without a condition."""
    policy = policy_of("a drop")
    for place in ("", "p", "p:99", policy.rules[0].place):
        assert Explainer().why(policy, place, subject_of()) is None


def test_a_new_policy_is_explained_by_its_own_rules() -> None:
    """After a reload the same place may hold another rule."""
    explainer = Explainer()
    for condition in ("method == INVITE", "method == BYE"):
        policy = policy_of(f"a drop if {condition}")
        told = explainer.why(policy, policy.rules[0].place, subject_of())
        assert told is not None
        assert told.text == condition
