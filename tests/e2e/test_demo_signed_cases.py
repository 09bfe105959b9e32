"""The demo's cases about callers, each through the real gateway with the shipped policy."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.gateway import Gateway
from demo.network import Network
from demo.signed_cases import (
    AUTHORITY,
    FIRST,
    SIGNED,
    Bench,
    Signed,
    replayed_aib,
    signed_case,
    signed_policy,
)
from demo.signing import Authority
from demo.stage import Stage

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def authority(work: Path) -> Authority:
    """Who makes out certificates here."""
    return Authority(work / AUTHORITY)


@pytest.fixture(scope="module")
def gateway(network: Network, work: Path, authority: Authority) -> Iterator[Gateway]:
    """A gateway that wants callers from outside proven."""
    assert authority.folder == work / AUTHORITY
    with Gateway(network, work, policy=signed_policy(work, network)) as running:
        yield running


@pytest.mark.parametrize("signed", SIGNED, ids=lambda signed: signed.title)
def test_case_holds_through_the_gateway(signed: Signed, stage: Stage, authority: Authority) -> None:
    """What the demo shows a newcomer about signed calls is true."""
    outcome = signed_case(stage, Bench(authority, stage.network), FIRST, signed)
    assert outcome.ok, outcome.line()


def test_a_recorded_aib_buys_a_third_host_nothing(stage: Stage, authority: Authority) -> None:
    """AIB-8: the same octets again, from elsewhere."""
    outcome = replayed_aib(stage, Bench(authority, stage.network), FIRST)
    assert outcome.ok, outcome.line()


@pytest.mark.parametrize("signed", SIGNED, ids=lambda signed: signed.title)
def test_without_a_guard_every_forgery_arrives(
    signed: Signed, plain_stage: Stage, gateway: Gateway, authority: Authority
) -> None:
    """The negative control: the network alone stops none of them."""
    gateway.stop()
    gateway.clear_rules()
    try:
        outcome = signed_case(plain_stage, Bench(authority, plain_stage.network), FIRST, signed)
        assert outcome.seen == "passed", outcome.line()
    finally:
        gateway.start()
