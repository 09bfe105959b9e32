"""``media-path direct``: what it cannot stand beside, and what the admin is told of it."""

import pytest
from subjects import load, problems_of

from sipguard.edge.from_policy import plan_of
from sipguard.edge.plan import Plan
from sipguard.errors import EdgeError

ASKED = "chain request\n  a drop if ipsec\n"


def test_media_is_routed_unless_somebody_asks() -> None:
    """Whoever has rules of his own for media loses them otherwise."""
    assert plan_of(load("")).direct is False
    assert plan_of(load("media-path routed\n")).direct is False
    assert load("media-path routed\n").warnings == ()
    assert plan_of(load("media-path direct\n")).direct is True


def test_what_is_gone_past_is_said_at_once() -> None:
    """Not only in a book that nobody opens before the first surprise."""
    (warning,) = load("mode shadow\nmedia-path direct\n").warnings
    assert (warning.line, warning.column) == (2, 1)
    for word in ("NAT", "other tables' rules", "reverse path filters", "marks", "tc filters"):
        assert word in warning.message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("media-path direct\nmedia-proof off\n", "p:1:1: media-path direct with media-proof off"),
        (
            "zone a { ipsec reqid 42 }\nmedia-path direct\n" + ASKED,
            "p:2:1: media-path direct beside zones of IPsec",
        ),
        ("media-path\n", "p:1:1: "),
        ("media-path fast\n", "p:1:12: "),
        ("media-path direct\nmedia-path routed\n", "p:2:1: media-path stands twice"),
    ],
)
def test_what_does_not_go_together_is_refused(text: str, said: str) -> None:
    """Nothing proven, nothing to forward; and media of a tunnel must not leave in clear."""
    assert any(str(one).startswith(said) for one in problems_of(text)), problems_of(text)


def test_a_zone_by_interface_may_stand_beside_it() -> None:
    """Its packets come and go by an interface that the program is not linked to."""
    assert plan_of(load("zone a { interface ipsec0 ipsec }\nmedia-path direct\n" + ASKED)).direct


@pytest.mark.parametrize(
    "plan",
    [{"media_queue": None}, {"media_queue": 1, "ipsec_zones": ((7,),)}],
)
def test_so_it_is_where_rules_are_made_without_a_policy(plan: dict[str, object]) -> None:
    """The plan refuses the same."""
    with pytest.raises(EdgeError, match="direct"):
        Plan(direct=True, **plan)  # type: ignore[arg-type]
