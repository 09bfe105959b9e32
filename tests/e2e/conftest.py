"""A network, a gateway and witnesses for the end-to-end tests, shared by the tests of a module."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.clients import missing_programs
from demo.gateway import Gateway, kernel_lacks, machine_lacks
from demo.network import Network, NetworkUnavailable
from demo.stage import Stage, silent, staged


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    """The namespaces, or a loud skip that SIPGUARD_NO_SKIP=1 turns into a failure."""
    reason = machine_lacks()
    if missing := missing_programs():
        reason = reason or f"not installed: {' and '.join(missing)}"
    if reason:
        _give_up(reason)
    try:
        with Network(f"sgd{os.getpid()}") as built:
            if reason := kernel_lacks(built):
                _give_up(reason)
            yield built
    except NetworkUnavailable as error:
        _give_up(str(error))


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where logs and state of a module's gateways go."""
    return tmp_path_factory.mktemp("gateway")


@pytest.fixture(scope="module")
def gateway(network: Network, work: Path) -> Iterator[Gateway]:
    """A gateway with the strict policy as shipped."""
    with Gateway(network, work) as running:
        yield running


@pytest.fixture
def stage(network: Network, gateway: Gateway, tmp_path: Path) -> Iterator[Stage]:
    """Fresh witnesses around the module's gateway."""
    with staged(network, tmp_path, silent, gateway) as built:
        yield built


@pytest.fixture
def plain_stage(network: Network, tmp_path: Path) -> Iterator[Stage]:
    """The same network with plain routing and no guard: the negative control."""
    with staged(network, tmp_path, silent) as built:
        yield built


def _give_up(reason: str) -> None:
    words = f"END-TO-END TESTS LEFT OUT: {reason}"
    if os.environ.get("SIPGUARD_NO_SKIP") == "1":
        pytest.fail(words)
    pytest.skip(words)
