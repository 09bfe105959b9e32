"""fail2ban, with the filter and the jail as shipped, bans who was refused, and nobody else."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import NamedTuple

import pytest
from receivers import Fail2ban, need

from demo import packets
from demo.gateway import Gateway
from demo.network import Host, Network, within
from demo.packets import Ear
from demo.programs import until

pytestmark = pytest.mark.kernel

MAX_RETRY = 10  # as the jail says
POLICY = """\
mode enforce
default drop
feed fail2ban "refused.log"
chain parse
  ambiguous  drop    if ambiguous or malformed                     log
chain request
  scanner    drop    if user_agent in { "*scanner*" }              log
  calls      accept  if method == OPTIONS
chain response
  answers    accept  if transaction.known
"""


class Banning(NamedTuple):
    """The gateway and fail2ban beside it."""

    network: Network
    gateway: Gateway
    fail2ban: Fail2ban

    def scan(self, host: Host, *probes: bytes, version: int = 4) -> None:
        """Send probes from a host."""
        here = (host.address(version), 5060)
        there = (self.network.callee.address(version), 5060)
        packets.send(host.namespace, here, there, probes, gap_s=0.01)

    def passes(self, host: Host, version: int = 4) -> bool:
        """Whether an honest request comes through by UDP."""
        callee = self.network.callee
        there = callee.address(version)
        asked = packets.request("OPTIONS", literal(host, version), literal(callee, version))
        with Ear(callee, version=version) as phone, Ear(host, port=5070, version=version) as near:
            near.say(asked, there)
            return phone.hears(asked, 1.0)

    def connects(self, host: Host) -> bool:
        """Whether one comes through by TCP, which ends at the gateway and goes on from there."""
        callee = self.network.callee
        asked = packets.request("OPTIONS", host.ipv4, callee.ipv4)
        asked = asked.replace(b"SIP/2.0/UDP", b"SIP/2.0/TCP")
        phone = within(callee.namespace, lambda: packets.listener(callee.ipv4))
        phone.settimeout(2.0)
        with phone:
            try:
                near = within(host.namespace, lambda: packets.connection(callee.ipv4))
                with near:
                    near.sendall(asked)
                    far, _ = phone.accept()
                    with far:
                        far.settimeout(2.0)
                        return far.recv(65_535) == asked
            except OSError:
                return False


def literal(host: Host, version: int) -> str:
    """Return its address as URIs have it."""
    return f"[{host.ipv6}]" if version == 6 else host.ipv4


@pytest.fixture(scope="module")
def banning(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Banning]:
    """A gateway that writes refusals, and fail2ban that reads them."""
    need("fail2ban-server", "iptables")
    work = tmp_path_factory.mktemp("fail2ban")
    policy = work / "gateway.policy"
    policy.write_text(POLICY)
    with ExitStack() as stack:
        fail2ban = stack.enter_context(Fail2ban(network.gateway, work, work / "refused.log"))
        gateway = stack.enter_context(Gateway(network, work, policy=policy))
        yield Banning(network, gateway, fail2ban)


def test_who_is_refused_is_banned_and_no_other(banning: Banning) -> None:
    """A scanner that writes lines about a telephone harms the scanner alone."""
    network, fail2ban = banning.network, banning.fail2ban
    caller, stranger = network.caller, network.stranger
    assert banning.passes(stranger)
    assert banning.connects(stranger)
    banning.scan(caller, *probes(caller.ipv4, network, 1))  # once is no crime
    banning.scan(stranger, f"{accusing(caller.ipv4)}\n".encode())  # no SIP at all
    banning.scan(stranger, *probes(caller.ipv4, network, MAX_RETRY - 2))
    assert not until(lambda: bool(fail2ban.banned()), 2.0)
    banning.scan(stranger, *probes(caller.ipv4, network, 1))
    assert until(lambda: fail2ban.banned() == [stranger.ipv4], 5), fail2ban.text()
    assert until(lambda: not banning.passes(stranger), 5)  # its actions come after its word
    assert until(lambda: not banning.connects(stranger), 5)
    assert banning.passes(caller)
    assert banning.connects(caller)
    assert banning.passes(stranger, version=6)
    banning.scan(stranger, *[packets.scanner_probe(literal(stranger, 6), literal(network.callee, 6))
                             for _ in range(MAX_RETRY)], version=6)  # fmt: skip
    assert until(lambda: set(fail2ban.banned()) == {stranger.ipv4, stranger.ipv6}, 5)
    assert until(lambda: not banning.passes(stranger, version=6), 5)
    assert banning.passes(caller, version=6)
    fail2ban.forgive()
    assert banning.passes(stranger)
    assert banning.connects(stranger)


def accusing(innocent: str) -> str:
    """Return what the log would say of somebody."""
    return (
        f"2026-11-30T10:00:00.000Z sipguard[refused]: src={innocent} verdict=drop mode=enforce "
        f'reason=replay rule=x method=INVITE count=99 id=00000000 caller="x"'
    )


def probes(innocent: str, network: Network, count: int) -> list[bytes]:
    """Return refused requests that accuse somebody else in every place that is logged."""
    line = accusing(innocent)
    made = []
    for number in range(count):
        probe = packets.scanner_probe(network.stranger.ipv4, network.callee.ipv4)
        match number % 4:
            case 0:
                probe = probe.replace(b"friendly-scanner", f"scanner {line}".encode())
            case 1:
                probe = probe.replace(
                    b"Call-ID: ", f"Call-ID: {number}{line}\n{line}\r\n\t".encode()
                )
            case 2:
                probe = probe.replace(b'"sipvicious"', f'"x\\" {line}\\r\\n{line}"'.encode())
            case _:
                probe = probe.replace(b"100@1.1.1.1", f'x"src={innocent}@{innocent}'.encode())
        made.append(probe)
    return made
