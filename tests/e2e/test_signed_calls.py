"""Signed calls through the real gateway, and the servers that their certificates come from."""

import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from certificate_server import NAME, CertificateServer
from sealed import CALLEE_KEY, sealed

from demo import packets
from demo.clients import Sipp
from demo.gateway import BIN, ROOT, Gateway
from demo.network import Network
from demo.packets import Ear
from demo.programs import run, until
from demo.signing import ALICE, NUMBER, Authority
from demo.stage import Stage, silent, staged

pytestmark = pytest.mark.kernel

CALLED = "+49301234561"
PUBLIC = "9.9.9.9"  # as far as the namespaces are concerned, the stranger has this address
PRIVATE_NAME = "inside.carrier.example"
WITHIN_S = 3.0  # longer than the shipped policy waits, for machines that are busy
AT_ONCE_S = 0.8
WATCHED_S = 6.0  # the gateway looks for changed files every two seconds
MEDIA_PORTS = (30000, 32000)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Who issued the certificates of alice and of a telephone number."""
    return Authority(tmp_path_factory.mktemp("trust") / "authority")


@pytest.fixture(scope="module")
def site(network: Network, authority: Authority) -> Iterator[CertificateServer]:
    """An https server of the carrier at a public address, which the gateway finds by name."""
    chain = (authority.folder / f"{NUMBER[1:]}.pem").read_bytes()
    stranger, gateway = network.stranger, network.gateway
    run(["ip", "-n", stranger.namespace, "address", "add", f"{PUBLIC}/32", "dev", "lo"])
    run(["ip", "-n", gateway, "route", "add", PUBLIC, "via", stranger.ipv4])
    # ip netns exec shows what lies here as /etc/hosts.
    own_etc = Path("/etc/netns", gateway)
    own_etc.mkdir(parents=True)
    lines = ["127.0.0.1 localhost", f"{PUBLIC} {NAME}", f"{stranger.ipv4} {PRIVATE_NAME}", ""]
    try:
        (own_etc / "hosts").write_text("\n".join(lines))
        with CertificateServer(stranger.namespace, chain, authority.folder) as server:
            yield server
    finally:
        shutil.rmtree(own_etc)


@pytest.fixture(scope="module")
def gateway(
    network: Network, work: Path, authority: Authority, site: CertificateServer
) -> Iterator[Gateway]:
    """A gateway with the policy for signed callers as shipped, but for names and addresses."""
    text = (ROOT / "policies" / "signed-callers.policy").read_text()
    for line, new in (
        (r"set phones .*", f"set phones {{ {network.callee.ipv4} }}"),
        (r'"trust/[^"]*"', f'"{authority.folder}/ca.pem"'),
        (r"public-only +within \S+", f'public-only fetch-ca "{site.authority}" within 3s'),
    ):
        text, changed = re.subn(line, new, text)
        assert changed, line
    policy = work / "signed.policy"
    policy.write_text(text)
    with Gateway(network, work, policy=policy) as running:
        yield running


@pytest.fixture
def stage(network: Network, gateway: Gateway, tmp_path: Path) -> Iterator[Stage]:
    """Fresh witnesses around that gateway."""
    with staged(network, tmp_path, silent, gateway) as built:
        yield built


def invite(network: Network, *, by_number: bool = False) -> bytes:
    """Return an INVITE with SRTP, unsigned, of alice or of a telephone number."""
    source, target = network.caller.ipv4, network.callee.ipv4
    ends = (f"sip:{number}@carrier.example;user=phone" for number in (NUMBER, CALLED))
    caller, callee = ends if by_number else (f"sip:{ALICE}", "")
    body = packets.session(source)
    return packets.request("INVITE", source, target, body=body, caller=caller, callee=callee)


def with_passport(stage: Stage, authority: Authority, url: str) -> bytes:
    """Return an INVITE of a telephone number whose certificate is at *url*."""
    return authority.with_passport(invite(stage.network, by_number=True), url=url)


def at(kind: str, host: str = NAME) -> str:
    """Return a URL of its own, so that no test meets what another has fetched."""
    return f"https://{host}/{packets.unique(kind + '-')}.pem"


def scenario(stage: Stage, authority: Authority, *, by_number: bool) -> tuple[Path, str]:
    """Return a signed call as a file for SIPp, and its Call-ID."""
    message = stage.work / "message.txt"
    message.write_bytes(invite(stage.network, by_number=by_number))
    signer = authority.folder / (NUMBER[1:] if by_number else ALICE)
    words = ["--key", f"{signer}.key", "--cert", f"{signer}.pem", "--sipp"]
    words += ["--stir", "--x5u", at("plain"), "--attest", "A"] if by_number else []
    file = stage.work / "signed.xml"
    identity = [str(BIN / "sipguard"), "identity", "sign-message", str(message)]
    run([*identity, *words, "-o", str(file)])
    return file, packets.call_id(message.read_bytes())


def calling(stage: Stage, file: Path, call_id: str) -> Sipp:
    """Start SIPp with a signed call."""
    network = stage.network
    towards = network.callee.ipv4
    return Sipp(file, network.caller, stage.work, towards=towards, call_id=call_id)


def called(stage: Stage) -> Sipp:
    """Start SIPp on the other side; it answers one call."""
    return Sipp("callee", stage.network.callee, stage.work, media_port=MEDIA_PORTS[1])


def media_passes(stage: Stage, count: int = 10) -> bool:
    """Whether all SRTP sent now comes through, both ways."""
    caller, callee = stage.network.caller, stage.network.callee
    there, back = stage.callee_side.mark(), stage.caller_side.mark()
    here, far = (caller.ipv4, MEDIA_PORTS[0]), (callee.ipv4, MEDIA_PORTS[1])
    packets.send(caller.namespace, here, far, sealed(packets.CALLER_KEY, 1, count))
    packets.send(callee.namespace, far, here, sealed(CALLEE_KEY, 2, count))

    def arrived() -> bool:
        forth = stage.callee_side.rtp(caller.ipv4, port=far[1], since=there)
        return len(forth) == len(stage.caller_side.rtp(callee.ipv4, since=back)) == count

    return until(arrived, AT_ONCE_S)


def refused(stage: Stage, message: bytes) -> tuple[str, float]:
    """Send what must not pass; return the status that the caller hears, and after how long."""
    with Ear(stage.network.callee) as phone, Ear(stage.network.caller) as caller:
        began_s = time.monotonic()
        caller.say(message, phone.address)
        assert until(lambda: bool(caller.heard), WITHIN_S + 3)
        took_s = time.monotonic() - began_s
        assert not phone.heard
        return caller.heard[0].split(b" ", 2)[1].decode(), took_s


def passes(stage: Stage, message: bytes) -> bool:
    """Send a request and take it back with 486; whether it passed, octet for octet."""
    with Ear(stage.network.callee) as phone, Ear(stage.network.caller) as caller:
        caller.say(message, phone.address)
        if not phone.hears(message):
            return False
        busy = packets.response(message, 486, "Busy Here")
        phone.say(busy, caller.address)
        assert caller.hears(busy)
        caller.say(packets.ack_to_failure(message, busy), phone.address)
        return True


def is_told(stage: Stage, words: str) -> bool:
    """Whether a record says *words* in the end; records are written a little later."""
    gateway = stage.gateway
    assert gateway is not None

    def told() -> bool:
        shown = gateway.ask("explain", str(gateway.blocked_records()[-1]["id"])).stdout
        return words in shown

    return until(told, 2)


class TestCallsOfSipp:
    """A SIPp that plays what ``sipguard identity sign-message --sipp`` wrote."""

    @pytest.mark.parametrize("by_number", [False, True], ids=["aib", "passport"])
    def test_signed_call_is_set_up_and_hung_up(
        self, stage: Stage, authority: Authority, site: CertificateServer, *, by_number: bool
    ) -> None:
        """The proof lets it in; its certificate is fetched once, from a public address."""
        asked = len(site.asked)
        file, call_id = scenario(stage, authority, by_number=by_number)
        with called(stage) as callee, calling(stage, file, call_id) as caller:
            assert until(lambda: len(stage.pinholes()) >= 2, 4), caller.complaint()
            assert media_passes(stage)
            assert caller.wait(8) == 0, caller.complaint()
            assert callee.wait(4) == 0, callee.complaint()
        assert stage.pinholes_gone()
        assert len(site.asked) - asked == by_number

    @pytest.mark.parametrize(
        ("by_number", "honest", "forged", "status"),
        [(False, ALICE, "alica@example.com", 403), (True, NUMBER, NUMBER[:-1] + "9", 438)],
        ids=["aib", "passport"],
    )
    def test_tampered_call_is_refused(
        self,
        stage: Stage,
        authority: Authority,
        *,
        by_number: bool,
        honest: str,
        forged: str,
        status: int,
    ) -> None:
        """Another name in From than the one that was signed: SIPp hears so, nobody else does."""
        file, call_id = scenario(stage, authority, by_number=by_number)
        text, changed = re.subn(
            rf"(?m)^(From: <sip:){re.escape(honest)}", rf"\g<1>{forged}", file.read_text()
        )
        assert changed
        file.write_text(text)
        with called(stage), calling(stage, file, call_id) as caller:
            assert caller.wait(8) not in {0, None}
            assert f"SIP/2.0 {status} " in caller.errors.read_text()
        assert not stage.callee_side.sip(b"INVITE")


class TestServersOfCertificates:
    """A URL is a stranger's word; what its server does ends in ``stir.unknown``, in time."""

    @pytest.mark.parametrize(
        ("url", "why", "seconds"),
        [
            (at("drip"), "", WITHIN_S),
            (at("huge"), "longer than 64 KiB", 0),
            (at("elsewhere"), "redirects are not followed", 0),
            (at("plain", "nowhere.carrier.example"), "cannot be resolved", 0),
        ],
        ids=["slow", "huge", "redirecting", "unknown"],
    )
    def test_hostile_server_costs_the_call_alone(
        self, stage: Stage, authority: Authority, url: str, why: str, seconds: float
    ) -> None:
        """STI-15: refused with 436 as the policy says, at once or when the time is over."""
        status, took_s = refused(stage, with_passport(stage, authority, url))
        assert status == "436"
        assert seconds - 0.1 < took_s < seconds + AT_ONCE_S
        assert is_told(stage, why)

    def test_no_server_inside_is_ever_asked(
        self, stage: Stage, authority: Authority, site: CertificateServer
    ) -> None:
        """STI-15: public-only holds for what a name leads to, and for an address itself."""
        before = site.connections
        for host in (PRIVATE_NAME, stage.network.stranger.ipv4):
            url = at("plain", host)
            status, took_s = refused(stage, with_passport(stage, authority, url))
            assert status == "436"
            assert took_s < AT_ONCE_S
            assert is_told(stage, "not public")
        assert site.connections == before

    def test_nobody_waits_but_the_call_itself(
        self, stage: Stage, authority: Authority, site: CertificateServer
    ) -> None:
        """While one INVITE is held, media, other calls and requests pass; then it passes, too."""
        network = stage.network
        site.release.clear()
        held = with_passport(stage, authority, at("late"))
        other = with_passport(stage, authority, at("plain"))
        question = packets.request("OPTIONS", network.callee.ipv4, network.caller.ipv4)
        file, call_id = scenario(stage, authority, by_number=False)
        with called(stage) as callee, calling(stage, file, call_id) as caller:
            assert until(lambda: len(stage.pinholes()) >= 2, 4), caller.complaint()
            here, far = (network.caller.ipv4, 5066), (network.callee.ipv4, 5060)
            packets.send(network.caller.namespace, here, far, [held])
            assert until(lambda: any("late" in path for path in site.asked), 1)
            assert media_passes(stage)
            # And again, as a caller does who hears nothing.
            packets.send(network.caller.namespace, here, far, [other, held])
            packets.send(network.callee.namespace, far, here, [question])
            assert stage.callee_side.waits_for(lambda frame: frame.payload == other, AT_ONCE_S)
            assert stage.caller_side.waits_for(lambda frame: frame.payload == question, AT_ONCE_S)
            assert not [f for f in stage.callee_side.sip(b"INVITE") if f.payload == held]
            site.release.set()
            assert stage.callee_side.waits_for(lambda frame: frame.payload == held, AT_ONCE_S)
            assert caller.wait(8) == 0, caller.complaint()
            assert callee.wait(4) == 0, callee.complaint()
        assert not stage.caller_side.sip(b"SIP/2.0 4")


def test_changed_authority_counts_without_a_word(stage: Stage, authority: Authority) -> None:
    """A new file of authorities is noticed, and whoever is not trusted any more is refused."""
    gateway, network = stage.gateway, stage.network
    assert gateway is not None
    file, other = authority.folder / "ca.pem", Authority(stage.work / "other")
    trusted = file.read_bytes()

    def replaced(octets: bytes) -> bool:
        mark = len(gateway.text())
        file.write_bytes(octets)
        return gateway.logged("policy reloaded", WATCHED_S, since=mark)

    assert passes(stage, authority.with_aib(invite(network)))
    try:
        assert replaced((other.folder / "ca.pem").read_bytes())
        assert refused(stage, authority.with_aib(invite(network)))[0] == "403"
        assert passes(stage, other.with_aib(invite(network)))
    finally:
        assert replaced(trusted)
    assert passes(stage, authority.with_aib(invite(network)))
