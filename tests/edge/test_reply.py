"""Responses of our own, from an address that is not ours (RSP-5)."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from netns import A4, A6, B4, B6, Lab, heard, raw

from sipguard.edge.netfilter import Netfilter, Plan
from sipguard.edge.reply import ReplySender
from sipguard.verdict import Endpoint, Reply

pytestmark = pytest.mark.kernel

PLAN = Plan()


@pytest.fixture
def sender(lab: Lab) -> Iterator[ReplySender]:
    made = lab.router.run(ReplySender)
    yield made
    made.close()


@pytest.mark.parametrize(("a", "b"), [(A4, B4), (A6, B6)])
@pytest.mark.parametrize("local", [False, True])
def test_the_response_comes_from_the_guarded_server(
    lab: Lab, sender: ReplySender, a: str, b: str, local: bool
) -> None:
    """The client sees the answer of the server it asked, and our own rules let it out."""
    netfilter = Netfilter(replace(PLAN, local=local))
    lab.router.run(netfilter.install)
    with lab.a.udp(a, 5070) as client:
        reply = Reply(b"SIP/2.0 488 x", Endpoint(raw(b), 5060), Endpoint(raw(a), 5070))
        assert sender.send(reply)
        octets, source = client.recvfrom(2048)
    assert octets == reply.octets
    assert source[:2] == (b, 5060)
    assert sender.sent == 1
    netfilter.remove(keep=True)


def test_what_cannot_be_sent_is_counted(lab: Lab, sender: ReplySender) -> None:
    """Mixed families, no route, too large: silent drops with a count, never an exception."""
    server, client = Endpoint(raw(B4), 5060), Endpoint(raw(A4), 5070)
    assert not sender.send(Reply(b"x", Endpoint(raw(B6), 5060), client))
    assert not sender.send(Reply(b"x", server, Endpoint(raw("203.0.113.9"), 5060)))
    assert not sender.send(Reply(bytes(4000), server, client))
    assert not sender.send(Reply(b"x", server, Endpoint(raw(A4), 70000)))
    assert not sender.send(Reply(b"x", server, Endpoint(b"", 5060)))
    assert dict(sender.failures) == {
        "family": 2,
        "ENETUNREACH": 1,
        "EMSGSIZE": 1,
        "unsendable": 1,
    }
    assert sender.sent == 0


def test_a_packet_of_the_largest_size_arrives(lab: Lab, sender: ReplySender) -> None:
    """What fits one frame is sent; nothing of ours is ever fragmented."""
    with lab.a.udp(A4, 5070) as client:
        reply = Reply(bytes(1472), Endpoint(raw(B4), 5060), Endpoint(raw(A4), 5070))
        assert sender.send(reply)
        assert heard(client) == reply.octets


def test_without_permission_it_says_so(lab: Lab) -> None:
    """One sentence for who forgot a capability."""
    assert "CAP_NET_RAW" in lab.router.unprivileged(
        "from sipguard.edge.reply import ReplySender; ReplySender()"
    )
