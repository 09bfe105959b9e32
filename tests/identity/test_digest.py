"""What a gateway can tell of digests: with H(A1) all, without it more than one thinks (DIG-*)."""

import pytest
from attributes import attributes_of, texts_in
from digest_gate import ASKED, OTHER, PHONE, SERVER, Gate, invite, noted, proof, register, why
from digester import NONCE, PASSWORD, REALM, USER, Asked, answer, secret
from hypothesis import given
from hypothesis import strategies as st
from phones import octets

from sipguard.evidence import State
from sipguard.identity.digest import DigestSettings
from sipguard.identity.digest_proof import Proof, Verifier, digest_of, response_of
from sipguard.reason import Finding, Reason
from sipguard.wire.digest import Credentials, parse_credentials

REGISTRAR = f"sip:{REALM}"
ACCOUNT = (USER.encode(), REALM.encode())
KNOWN_ACCOUNT = {ACCOUNT: ((b"MD5", secret().encode()), (b"SHA-256", secret("SHA-256").encode()))}


@pytest.fixture
def gate() -> Gate:
    """A gateway that saw the registrar ask the telephone."""
    made = Gate()
    made.ask(ASKED)
    return made


# --- the vectors


def test_vectors_of_rfc_7616_section_3_9_1() -> None:
    """DIG-10: Mufasa with MD5 and with SHA-256."""
    given = Credentials(
        b"Mufasa", b"http-auth@example.org", b"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
        b"/dir/index.html", b"", qop=b"auth", nc=b"00000001",
        cnonce=b"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
    )  # fmt: skip
    wanted = {
        b"MD5": b"8ca523f5e9506fed4657c9700eebdbec",
        b"SHA-256": b"753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
    }
    for algorithm, right in wanted.items():
        ha1 = digest_of(algorithm, b"Mufasa:http-auth@example.org:Circle of Life")
        made = response_of(given._replace(algorithm=algorithm), ha1, b"GET", b"")
        assert made == right


def test_vector_of_rfc_7616_section_3_9_2() -> None:
    """DIG-9: SHA-512/256 with a hashed user name.

    The RFC prints the first half of SHA-512 instead, which is another function; erratum 4897
    has the values below.
    """
    user, realm = "J\u00e4s\u00f8n Doe".encode(), b"api@example.org"
    ha1 = digest_of(b"SHA-512-256", user + b":" + realm + b":Secret, or not?")
    verifier = Verifier({(user, realm): ((b"SHA-512-256", ha1),)})
    given = Credentials(
        b"793263caabb707a56211940d90411ea4a575adeccb7e360aeb624ed06ece9b0b", realm,
        b"5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK", b"/doe.json",
        b"3798d4131c277846293534c3edc11bd8a5e4cdcbff78b05db9d95eeb1cec68a5", b"SHA-512-256",
        b"auth", b"NTg6RKcb9boFIAS3KrFK9BGeh+iDa/sm6jUMp2wds69v", b"00000001", is_userhash=True,
    )  # fmt: skip
    assert verifier.user_of(given) == user
    assert verifier.verify(given, b"GET", b"") is Proof.RIGHT
    assert verifier.verify(given, b"PUT", b"") is Proof.WRONG


def test_the_hash_of_no_body() -> None:
    """DIG-10: auth-int over nothing hashes the empty string."""
    assert digest_of(b"MD5", b"") == b"d41d8cd98f00b204e9800998ecf8427e"


@pytest.mark.parametrize(
    "algorithm", ["MD5", "MD5-sess", "SHA-256", "SHA-256-sess", "SHA-512-256", "SHA-512-256-sess"]
)
@pytest.mark.parametrize("qop", ["auth", "auth-int"])
def test_every_algorithm_is_verified(algorithm: str, qop: str) -> None:
    """DIG-5, DIG-31: against digests made apart from this code; the body in auth-int (DIG-10)."""
    family = algorithm.removesuffix("-sess")
    verifier = Verifier({ACCOUNT: ((family.encode(), secret(algorithm).encode()),)})
    body = b"v=0\r\n"
    row = answer(Asked(qop=qop, algorithm=algorithm), "INVITE", "sip:b@c", body=body)
    given = parse_credentials(row.partition(": ")[2].encode())
    assert verifier.verify(given, b"INVITE", body) is Proof.RIGHT
    other = Proof.RIGHT if qop == "auth" else Proof.WRONG
    assert verifier.verify(given, b"INVITE", b"v=1\r\n") is other
    assert verifier.verify(given, b"BYE", body) is Proof.WRONG
    assert verifier.verify(given._replace(realm=b"x"), b"INVITE", body) is Proof.UNKNOWN


def test_a_session_may_have_begun_with_another_cnonce() -> None:
    """RFC 7616 section 3.4.2: A1 takes the first cnonce; later requests are never called wrong."""
    verifier = Verifier({ACCOUNT: ((b"MD5", secret().encode()),)})
    for nc, wanted in ((1, Proof.WRONG), (2, Proof.UNKNOWN)):
        row = answer(Asked(algorithm="MD5-sess"), "INVITE", "sip:b@c", nc=nc, ha1="0" * 32)
        given = parse_credentials(row.partition(": ")[2].encode())
        assert verifier.verify(given, b"INVITE", b"") is wanted


def test_an_unknown_algorithm_is_unknown() -> None:
    """DIG-5: AKA's password is made for each challenge; nobody here can compute it."""
    value = (
        f'Digest username="{USER}", realm="{REALM}", nonce="n", uri="sip:x", algorithm=AKAv1-MD5, '
        f'response="{"0" * 32}"'
    )
    verifier = Verifier({ACCOUNT: ((b"AKAv1-MD5", b"00"), (b"MD5", secret().encode()))})
    assert verifier.verify(parse_credentials(value.encode()), b"INVITE", b"") is Proof.UNKNOWN


# --- states


def test_without_credentials_it_is_absent(gate: Gate) -> None:
    """DIG-4: IMS phones name themselves first, which proves nothing."""
    blank = (
        f'Authorization: Digest username="x", realm="y", nonce="", uri="{REGISTRAR}", response=""'
    )
    bearer = "Authorization: Bearer 2YotnFZFEjr1zCsicMWpAA"
    for headers in ("", blank, bearer):
        assert gate.look(register(headers)).state is State.ABSENT


def test_with_a_secret_it_is_valid() -> None:
    """DIG-31: the response is right, and says what it covers."""
    gate = Gate(DigestSettings(ha1=KNOWN_ACCOUNT))
    gate.ask(ASKED)
    evidence = gate.look(register(proof()))
    assert (evidence.state, evidence.finding) == (State.VALID, None)
    assert evidence.signer == f"{USER}@{REALM}".encode()
    assert evidence.covers == (b"method", b"request-uri")
    wrong = gate.look(register(proof(ha1="0" * 32)))
    assert (wrong.state, why(wrong)) == (State.FAILED, Reason.DIGEST_WRONG)


def test_auth_int_covers_the_body() -> None:
    """DIG-10, DIG-29: the session description is part of what was hashed."""
    gate = Gate(DigestSettings(ha1=KNOWN_ACCOUNT, require_auth_int=True))
    body = b"v=0\r\no=- 1 1 IN IP4 192.0.2.10\r\ns=-\r\nc=IN IP4 192.0.2.10\r\nt=0 0\r\n"
    asked = Asked(qop="auth-int")
    gate.ask(asked, method="INVITE")
    evidence = gate.look(invite(proof("INVITE", asked, body=body), body=body))
    assert evidence.state is State.VALID
    assert evidence.covers == (b"method", b"request-uri", b"body", b"sdp")
    swapped = body.replace(b"192.0.2.10", b"192.0.2.66")
    changed = gate.look(invite(proof("INVITE", asked, body=body), body=swapped))
    assert why(changed) is Reason.DIGEST_WRONG


def test_without_a_secret_it_is_unknown(gate: Gate) -> None:
    """Never valid: whoever has no password writes any 32 digits."""
    evidence = gate.look(register(proof(ha1="0" * 32)))
    assert (evidence.state, evidence.finding, evidence.covers) == (State.UNKNOWN, None, ())


def test_a_digest_speaks_for_one_message() -> None:
    """DIG-12: the next request from the same host is as unknown as ever."""
    gate = Gate(DigestSettings(ha1=KNOWN_ACCOUNT))
    gate.ask(ASKED)
    assert gate.send(register(proof())).state is State.VALID
    assert gate.look(register(cseq=2)).state is State.ABSENT


def test_basic_fails(gate: Gate) -> None:
    """DIG-1: in a request and in a challenge."""
    evidence = gate.look(register("Authorization: Basic YWxpY2U6eA=="))
    assert (evidence.state, why(evidence)) == (State.FAILED, Reason.DIGEST_BASIC)
    basic = 'WWW-Authenticate: Basic realm="x"'
    assert gate.reply(register(), 401, basic, ASKED.header()) == [Reason.DIGEST_BASIC]


def test_malformed_credentials_fail(gate: Gate) -> None:
    """DIG-3, DIG-4, DIG-6, DIG-9: an invalid digest scores no better than none."""
    good = proof()
    cases = [
        (good.replace('"' + REALM, REALM), Reason.DIGEST_QUOTES),
        (good.replace('response="', 'response="0'), Reason.DIGEST_LENGTH),
        (good.replace(', cnonce="0a4f113b"', ""), Reason.DIGEST_QOP),
        (good + ", username*=UTF-8''x", Reason.DIGEST_USERS),
    ]
    for headers, reason in cases:
        evidence = gate.look(register(headers))
        assert (evidence.state, why(evidence)) == (State.FAILED, reason)


def test_several_realms_in_one_request(gate: Gate) -> None:
    """DIG-7: each realm is judged by itself; one wrong is one too many."""
    other = Asked(realm="proxy.example.org", nonce="other")
    gate.ask(other, method="INVITE")
    both = proof("INVITE") + "\n" + proof("INVITE", other, proxy=True)
    assert gate.look(invite(both)).state is State.UNKNOWN
    gate = Gate(DigestSettings(ha1=KNOWN_ACCOUNT))
    gate.ask(ASKED)
    gate.ask(other, method="INVITE")
    assert gate.look(invite(both)).state is State.VALID
    wrong = proof("INVITE", ha1="0" * 32) + "\n" + proof("INVITE", other, proxy=True)
    assert gate.look(invite(wrong)).state is State.FAILED


def test_more_credentials_than_are_read_are_refused(gate: Gate) -> None:
    """A stolen one could stand behind a heap of others."""
    heap = "\n".join(proof("INVITE", Asked(realm=f"r{n}"), proxy=True) for n in range(9))
    assert why(gate.look(invite(heap))) is Reason.DIGEST_REPLAY
    heap = heap.rpartition("\n")[0]
    assert gate.look(invite(heap)).state is State.FAILED  # DIG-21: realms that nobody issued for
    assert why(gate.look(invite(heap))) is Reason.DIGEST_ECHO


# --- challenges


def test_a_challenge_needs_its_header(gate: Gate) -> None:
    """DIG-2: 401 asks by WWW-Authenticate, 407 by Proxy-Authenticate."""
    assert gate.reply(register(), 401) == [Reason.DIGEST_NO_CHALLENGE]
    assert Reason.DIGEST_NO_CHALLENGE in gate.reply(register(), 407, ASKED.header(401))
    assert gate.reply(register(), 407, ASKED.header(407)) == []
    assert gate.reply(register(), 401, "WWW-Authenticate: Bearer scope=x") == []


def test_several_challenges_of_one_realm(gate: Gate) -> None:
    """DIG-8: each another algorithm, the best first; realms of other proxies do not matter."""
    strong, weak = Asked(algorithm="SHA-256").header(), ASKED.header()
    other = Asked(realm="other").header()
    assert gate.reply(register(), 401, strong, weak, other) == []
    assert gate.reply(register(), 401, weak, strong) == [Reason.DIGEST_CHALLENGES]
    assert gate.reply(register(), 401, weak, other, weak) == [Reason.DIGEST_CHALLENGES]


@pytest.mark.parametrize("method", ["ACK", "CANCEL"])
def test_ack_and_cancel_are_never_challenged(method: str) -> None:
    """DIG-32: such a challenge is noted, and its nonce is none."""
    gate = Gate(DigestSettings(strict_nonce=True))
    raw = invite().replace(b"INVITE", method.encode())
    assert gate.reply(raw, 407, ASKED.header(407)) == [Reason.DIGEST_CHALLENGES]
    gate.now_s += 400
    assert why(gate.look(invite(proof("INVITE")))) is Reason.DIGEST_NONCE


@pytest.mark.parametrize("method", ["ACK", "CANCEL"])
def test_ack_and_cancel_may_repeat_credentials(gate: Gate, method: str) -> None:
    """DIG-32, TXN-8: a copy of the INVITE's, no new count; another one is noted."""
    gate.send(invite(proof("INVITE")))
    copied = gate.look(invite(proof("INVITE")).replace(b"INVITE", method.encode()))
    assert (copied.state, copied.finding, noted(copied)) == (State.UNKNOWN, None, [])
    other = gate.look(invite(proof("INVITE", nc=2)).replace(b"INVITE", method.encode()))
    assert (why(other), noted(other)) == (None, [Reason.DIGEST_ECHO])
    foreign = invite(proof("INVITE"), call_id="x").replace(b"INVITE", method.encode())
    assert noted(gate.look(foreign)) == [Reason.DIGEST_ECHO]


def test_a_refused_login_is_told(gate: Gate) -> None:
    """DIG-27: asked again is a failed login, unless for a stale nonce; then the client retries."""
    first = register(proof(), cseq=2)
    gate.send(first)
    fresh = Asked(nonce="fresh")
    assert gate.reply(first, 401, fresh.header()) == [Reason.DIGEST_WRONG]
    stale = fresh._replace(stale=True)
    assert gate.reply(first, 401, stale.header()) == []
    other_realm = Asked(realm="behind.example.org", nonce="x")
    assert gate.reply(first, 401, other_realm.header()) == []
    assert gate.look(register(proof(asked=fresh), cseq=3)).finding is None


def test_a_stale_nonce_uses_up_no_count(gate: Gate) -> None:
    """DIG-27: what the server refused was no use of the nonce; a forger cannot burn counts."""
    forged = register(proof(nc=0xFFFFFFFF, ha1="0" * 32), cseq=2)
    gate.send(forged)
    gate.reply(forged, 401, Asked(nonce="fresh").header())
    assert gate.look(register(proof(nc=2), cseq=3)).finding is None


# --- nonces


def test_a_nonce_that_nobody_issued(gate: Gate) -> None:
    """DIG-20: noted; a fault where the policy is strict and the gateway was there long enough."""
    strange = register(proof(asked=Asked(nonce="made-up")))
    assert Reason.DIGEST_NONCE in noted(gate.look(strange))
    strict = Gate(DigestSettings(strict_nonce=True))
    strict.ask(ASKED)
    assert strict.look(strange).state is State.UNKNOWN  # clients still use nonces from before
    strict.now_s += 301
    assert why(strict.look(strange)) is Reason.DIGEST_NONCE
    assert strict.look(register(proof())).state is State.UNKNOWN
    assert Gate(DigestSettings(strict_nonce=True)).look(strange).state is State.UNKNOWN


def test_strict_nonces_need_a_memory_that_forgot_nothing() -> None:
    """DIG-20: at the bound the oldest nonce goes, and then nobody is called a liar for an hour."""
    gate = Gate(DigestSettings(strict_nonce=True), capacity=20)
    gate.ask(ASKED)
    gate.now_s += 400
    for number in range(10):
        gate.ask(Asked(nonce=f"n{number}"))
    assert gate.digests.forgotten
    assert gate.look(register(proof())).state is State.UNKNOWN


def test_a_challenge_to_another_host_is_noted(gate: Gate) -> None:
    """DIG-20: on the first hop; a telephone that got another address does that, too."""
    moved = gate.look(register(proof()), OTHER)
    assert (moved.state, Reason.DIGEST_NONCE in noted(moved)) == (State.UNKNOWN, True)
    gate.ask(ASKED, target=OTHER)  # kamailio gives one nonce to all who ask in one second
    assert Reason.DIGEST_NONCE not in noted(gate.look(register(proof()), OTHER))
    assert Reason.DIGEST_NONCE not in noted(gate.look(register(proof()), PHONE))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (Asked(realm="elsewhere.org", opaque="o"), "the nonce was issued for another realm"),
        (Asked(algorithm="SHA-256", opaque="o"), "an algorithm that was not offered"),
        (Asked(opaque="other"), "opaque is not the challenge's"),
        (Asked(), "opaque is not the challenge's"),
        (Asked(qop="auth-int", opaque="o"), "a qop that was not offered"),
    ],
)
def test_the_challenge_is_repeated_as_it_was(given: Asked, said: str) -> None:
    """DIG-21: realm, algorithm, opaque and qop."""
    gate = Gate()
    gate.ask(Asked(opaque="o"))
    assert gate.look(register(proof(asked=Asked(opaque="o")))).finding is None
    evidence = gate.look(register(proof(asked=given)))
    assert evidence.finding == Finding(Reason.DIGEST_ECHO, said)


def test_realms_that_share_a_nonce() -> None:
    """DIG-21: kamailio's nonce depends on the second alone; all its realms may be answered."""
    gate = Gate()
    gate.ask(ASKED)
    gate.ask(Asked(realm="second.org"))
    assert gate.look(register(proof())).finding is None
    assert gate.look(register(proof(asked=Asked(realm="second.org")))).finding is None


def test_the_next_nonce_is_an_issued_one(gate: Gate) -> None:
    """DIG-30: Authentication-Info brings it, under the terms of the one before."""
    first = register(proof(), cseq=2)
    gate.send(first)
    info = 'Authentication-Info: nextnonce="n2", qop=auth, cnonce="0a4f113b", nc=00000001'
    assert gate.reply(first, 200, info) == []
    following = Asked(nonce="n2")
    assert (
        gate.look(register(proof(asked=following), cseq=3)).notes
        == gate.look(register(proof(nc=2), cseq=3)).notes
    )
    other = following._replace(algorithm="SHA-256")
    assert why(gate.look(register(proof(asked=other), cseq=3))) is Reason.DIGEST_ECHO


def test_a_next_nonce_whose_terms_nobody_saw() -> None:
    """DIG-30: after a restart of the gateway; no terms, no complaint."""
    gate = Gate()
    first = register(proof(), cseq=2)
    gate.send(first)
    gate.reply(first, 200, 'Authentication-Info: nextnonce="n2"')
    for asked in (Asked(nonce="n2"), Asked(nonce="n2", algorithm="SHA-256", opaque="x")):
        evidence = gate.look(register(proof(asked=asked), cseq=3))
        assert (evidence.finding, noted(evidence)) == (None, [Reason.DIGEST_UNCOVERED])


def test_who_serves_whom(gate: Gate) -> None:
    """A registrar is who answers a REGISTER, to the one who sent it and nobody else."""
    server, phone, other = (octets(host) for host in (SERVER, PHONE, OTHER))
    assert gate.digests.serves(server, phone, gate.now)
    assert not gate.digests.serves(server, other, gate.now)
    assert not gate.digests.serves(phone, server, gate.now)
    asked = Gate()
    asked.ask(ASKED, method="INVITE")
    assert not asked.digests.serves(server, phone, asked.now)
    accepted = register(proof(), cseq=2)
    asked.send(accepted)
    asked.reply(accepted, 200)
    assert asked.digests.serves(server, phone, asked.now)


def test_an_ack_is_remembered_as_nothing(gate: Gate) -> None:
    """DIG-32: its credentials are the INVITE's, and prove nothing of their own."""
    gate.send(invite(proof("INVITE")).replace(b"INVITE", b"ACK"))
    assert len(gate.digests) == 0


def test_authentication_info_repeats_the_request(gate: Gate) -> None:
    """DIG-30: with another cnonce it answers somebody else, and its nonce is none."""
    first = register(proof(), cseq=2)
    gate.send(first)
    info = 'Authentication-Info: nextnonce="n2", qop=auth, cnonce="other", nc=00000001'
    assert gate.reply(first, 200, info) == [Reason.DIGEST_ECHO]
    unissued = gate.look(register(proof(asked=Asked(nonce="n2")), cseq=3))
    assert Reason.DIGEST_NONCE in noted(unissued)
    assert gate.reply(first, 200, "Authentication-Info: nextnonce") == [Reason.DIGEST_QUOTES]


# --- counts


def test_a_count_is_used_once(gate: Gate) -> None:
    """DIG-23: later requests of the nonce count up; order may change within 64."""
    for cseq, nc in ((2, 1), (3, 2), (4, 70), (5, 7), (6, 69)):
        raw = register(proof(nc=nc), cseq=cseq)
        assert gate.send(raw).finding is None, nc
        gate.reply(raw, 200)
    for nc in (1, 2, 7, 69, 70):
        raw = register(proof(nc=nc, cnonce="another"), cseq=9)
        assert why(gate.look(raw)) is Reason.DIGEST_COUNT, nc
    assert gate.look(register(proof(nc=68), cseq=9)).finding is None
    assert why(gate.look(register(proof(nc=6), cseq=9))) is Reason.DIGEST_COUNT  # too far behind
    assert gate.look(register(proof(asked=Asked(qop="")), cseq=9)).finding is None


def test_two_phones_with_one_nonce(gate: Gate) -> None:
    """DIG-23: they asked in the same second, and begin both with 1."""
    gate.ask(ASKED, target=OTHER)
    for host, cnonce in ((PHONE, "a"), (OTHER, "b")):
        raw = register(proof(cnonce=cnonce), sender=host, call_id=host)
        assert gate.send(raw, host).finding is None
        gate.reply(raw, 200, target=host)


# --- digest-uri


def test_the_uri_is_the_requests(gate: Gate) -> None:
    """DIG-22: same user and host on the first hop; behind a proxy it may be retargeted."""
    same = [
        ("sip:bob@example.org", "sip:bob@example.org:5060;transport=udp"),
        ("sip:bob@example.org", "sip:bob@EXAMPLE.org"),
        ("sip:bob@example.org", "sip:b%6Fb@example.org"),
        ("tel:+49301234", "tel:+49-30-1234"),
    ]
    for uri, stated in same:
        headers = answer(ASKED, "INVITE", stated)
        assert gate.look(invite(headers, uri=uri)).finding is None, stated
    for stated in ("sip:carol@example.org", "sip:bob@example.com", "sip:example.org", "/index"):
        headers = answer(ASKED, "INVITE", stated)
        assert why(gate.look(invite(headers))) is Reason.DIGEST_URI, stated
        behind = gate.look(invite(headers, lower_vias=["192.0.2.9:5060;branch=z9hG4bKb"]))
        assert (behind.finding, Reason.DIGEST_URI in noted(behind)) == (None, True)


def test_a_request_uri_that_cannot_be_read(gate: Gate) -> None:
    """A rule may accept even that; the digest is then for nothing that anybody can name."""
    assert why(gate.look(register(proof(), uri="sip:@@"))) is Reason.DIGEST_URI


@given(
    st.lists(
        st.sampled_from(
            ["Digest ", "Basic ", "username=alice,", 'realm="example.org",', 'nonce="x",', "nc=1,",
             'uri="sip:x",', "qop=auth,", 'cnonce="c",', f'response="{"0" * 32}",', "algorithm=x,",
             '"', "\\", "sip:", "username*=UTF-8''%ff,", "userhash=true,"]
        ),
        max_size=14,
    ).map("".join),
    st.sampled_from(["INVITE", "REGISTER", "ACK", "CANCEL"]),
    st.sampled_from(["sip:bob@example.org", "tel:1", "urn:x", "sip:@@", "x"]),
)  # fmt: skip
def test_whatever_comes_there_is_an_answer(value: str, method: str, uri: str) -> None:
    """Total: no credentials and no address raise anything, before or after they passed."""
    gate = Gate(DigestSettings(ha1=KNOWN_ACCOUNT, require_auth_int=True, strict_nonce=True))
    raw = register(f"Authorization: {value}x", uri=uri).replace(b"REGISTER", method.encode())
    for _ in range(2):
        assert gate.send(raw).state is not State.VALID
    challenge = f"WWW-Authenticate: {value}x"
    gate.reply(raw, 401, challenge, "Authentication-Info: " + value + "x")
    gate.reply(raw, 200, "Authentication-Info: " + value + "x")


# --- users


def test_the_user_is_the_caller() -> None:
    """DIG-25: an account calls under its own name, or under those that the policy gives it."""
    headers = proof("INVITE")
    other = "sip:boss@example.org"
    gate = Gate()
    gate.ask(ASKED, method="INVITE")
    foreign = gate.look(invite(headers, from_=other))
    assert (foreign.state, noted(foreign)) == (State.UNKNOWN, [Reason.DIGEST_USER])
    assert foreign.notes[0].detail == "From says boss, the digest speaks for alice"
    knowing = Gate(DigestSettings(ha1=KNOWN_ACCOUNT))
    knowing.ask(ASKED, method="INVITE")
    assert why(knowing.look(invite(headers, from_=other))) is Reason.DIGEST_USER
    assert knowing.look(invite(headers)).state is State.VALID
    mapped = DigestSettings(ha1=KNOWN_ACCOUNT, callers={ACCOUNT: frozenset((b"boss",))})
    knowing.digests.configure(mapped)
    assert knowing.look(invite(headers, from_=other)).state is State.VALID
    assert why(knowing.look(invite(headers))) is Reason.DIGEST_USER


def test_who_registers_is_in_to() -> None:
    """DIG-25: a REGISTER by somebody else changes To's binding."""
    gate = Gate(DigestSettings(ha1=KNOWN_ACCOUNT))
    assert why(gate.look(register(proof(), to="sip:bob@example.org"))) is Reason.DIGEST_USER
    assert gate.look(register(proof(), from_="sip:admin@example.org")).state is State.VALID


def test_a_register_is_not_covered(gate: Gate) -> None:
    """DIG-26: Contact and Expires stand outside; TLS or auth-int help, and a policy may want it."""
    assert Reason.DIGEST_UNCOVERED in noted(gate.look(register(proof())))
    sealed = gate.look(register(proof()).replace(b"/UDP", b"/TLS"), transport="tls")
    assert Reason.DIGEST_UNCOVERED not in noted(sealed)
    wanting = Gate(DigestSettings(require_auth_int=True))
    assert why(wanting.look(register(proof()))) is Reason.DIGEST_DOWNGRADE
    sealed = wanting.look(register(proof()).replace(b"/UDP", b"/TLS"), transport="tls")
    assert sealed.state is State.UNKNOWN
    full = Asked(qop="auth-int")
    assert wanting.look(register(proof(asked=full))).state is State.UNKNOWN


# --- downgrades


def test_md5_where_better_was_offered() -> None:
    """DIG-28: noted; refused where the policy wants SHA-256, be it offered or not."""
    for settings in (DigestSettings(), DigestSettings(min_algorithm=b"sha-256")):
        gate = Gate(settings)
        gate.ask(Asked(algorithm="SHA-256"), ASKED)
        weak = gate.look(register(proof()))
        if settings.min_algorithm:
            assert why(weak) is Reason.DIGEST_DOWNGRADE
        else:
            assert (weak.finding, Reason.DIGEST_DOWNGRADE in noted(weak)) == (None, True)
        strong = gate.look(register(proof(asked=Asked(algorithm="SHA-256"))))
        assert (strong.finding, Reason.DIGEST_DOWNGRADE in noted(strong)) == (None, False)


def test_a_server_that_offers_md5_alone() -> None:
    """DIG-28: noted where the policy wants more, so that the admin hears of it."""
    gate = Gate(DigestSettings(min_algorithm=b"sha-256"))
    assert gate.reply(register(), 401, ASKED.header()) == [Reason.DIGEST_DOWNGRADE]
    both = (Asked(algorithm="SHA-256").header(), ASKED.header())
    assert gate.reply(register(), 401, *both) == []


def test_auth_where_auth_int_was_offered() -> None:
    """DIG-29: noted where there is a body; refused where the policy wants it."""
    offered = Asked(qop="auth,auth-int")
    gate = Gate()
    gate.ask(offered, method="INVITE")
    headers = proof("INVITE", offered, qop="auth")
    assert Reason.DIGEST_UNCOVERED in noted(gate.look(invite(headers, body=b"v=0\r\n")))
    assert noted(gate.look(invite(headers))) == []
    full = proof("INVITE", offered, qop="auth-int", body=b"v=0\r\n")
    assert noted(gate.look(invite(full, body=b"v=0\r\n"))) == []
    plain = Asked(nonce="auth-alone")
    gate.ask(plain, method="INVITE")
    assert noted(gate.look(invite(proof("INVITE", plain), body=b"v=0\r\n"))) == []
    gate.digests.configure(DigestSettings(require_auth_int=True))
    assert why(gate.look(invite(headers, body=b"v=0\r\n"))) is Reason.DIGEST_DOWNGRADE


def test_no_qop_though_it_was_offered(gate: Gate) -> None:
    """DIG-6: such a client repeats its response, so nobody can tell a replay; a rule may refuse."""
    bare = gate.look(register(proof(asked=Asked(qop=""))))
    assert (bare.finding, Reason.DIGEST_QOP in noted(bare)) == (None, True)
    old = Asked(nonce="old", qop="")
    gate.ask(old)
    assert Reason.DIGEST_QOP not in noted(gate.look(register(proof(asked=old))))


# --- secrecy and bounds


def test_no_response_and_no_password_is_kept(gate: Gate) -> None:
    """DIG-31: neither in a finding nor in the memory, in clear."""
    raw = register(proof(), cseq=2)
    gate.send(raw)
    digits = proof().partition('response="')[2][:32]
    gate.look(register(proof(), cseq=3, call_id="stolen"))
    kept = list(texts_in(attributes_of(gate.digests)["_seen"]))
    assert len(kept) > 10
    for octet_text in (digits, PASSWORD, secret(), NONCE):
        assert not [text for text in kept if octet_text in text]
    evidence = gate.look(register(proof(), cseq=3, call_id="stolen"))
    assert digits not in repr(evidence)


def test_a_full_memory_lets_the_oldest_go() -> None:
    """GEN-3: counted, and the server still judges."""
    gate = Gate(capacity=10)
    for number in range(30):
        gate.send(register(proof(asked=Asked(nonce=f"n{number}")), cseq=number))
    assert len(gate.digests) == 10
    assert gate.digests.forgotten >= 20


def test_what_the_server_refused_takes_no_room(gate: Gate) -> None:
    """A flood of made-up passwords does not push out what a thief could use."""
    other = Asked(realm="proxy.example.org", nonce="other")
    both = proof("INVITE", ha1="0" * 32) + "\n" + proof("INVITE", other, proxy=True)
    wrong = invite(both, cseq=2)
    gate.send(wrong)
    assert len(gate.digests) == 2
    gate.reply(wrong, 401, ASKED.header())
    assert len(gate.digests) == 1
    assert why(gate.look(invite(proof("INVITE", other), call_id="x"))) is Reason.DIGEST_REPLAY


def test_memory_ends(gate: Gate) -> None:
    """After an hour no server takes the nonce any more."""
    gate.send(register(proof(), cseq=2))
    assert len(gate.digests) == 1
    gate.now_s += 3601
    gate.digests.expire(gate.now)
    assert len(gate.digests) == 0
