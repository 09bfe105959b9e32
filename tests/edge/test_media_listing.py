"""What an admin sees of proven sources with nft itself."""

import pytest
from asking import GATED
from guarded import Gateway, opened
from netns import A4, A6, B4, B6, raw

from sipguard.verdict import Hole, ProvePinhole

pytestmark = pytest.mark.kernel


@pytest.mark.parametrize(("a", "b", "ip"), [(A4, B4, "ip"), (A6, B6, "ip6")])
def test_an_admin_can_list_what_is_proven(gateway: Gateway, a: str, b: str, ip: str) -> None:
    """nft 1.0 aborts over a set of more fields, of which one has no name of its own."""
    hole = Hole(raw(a), raw(b), 4000)
    netfilter = gateway.install(GATED)
    netfilter.apply([opened(a, b, idle_s=30), ProvePinhole(hole, 5000, 0x01020304, b"call")])
    listed = gateway.lab.router.shell("nft", "list", "ruleset")
    assert f"typeof {ip} saddr . {ip} daddr . @th,0,32 . @th,128,32" in listed
    assert f"{a} . {b} . 0x13880fa0 . 0x1020304 " in listed
