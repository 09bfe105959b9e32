"""What every test may ask for; and kernel tests that cannot run say so loudly."""

import os
from collections.abc import Iterator

import pytest
from guarded import Gateway
from netns import Lab, why_not

_LEFT_OUT = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    """Keep a list of what was left out, for the last line of the run."""
    config.stash[_LEFT_OUT] = []


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave kernel tests out where they cannot run, or fail where that is not allowed."""
    if item.get_closest_marker("kernel") is None:
        return
    obstacle = why_not()
    if not obstacle:
        return
    if os.environ.get("SIPGUARD_NO_SKIP") == "1":
        pytest.fail(f"kernel test cannot run: {obstacle} (SIPGUARD_NO_SKIP=1)", pytrace=False)
    item.config.stash[_LEFT_OUT].append(obstacle)
    pytest.skip(f"KERNEL NOT TESTED: {obstacle}")


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """End with one red line when the kernel side was left out."""
    left_out = config.stash[_LEFT_OUT]
    if left_out:
        terminalreporter.write_line(
            f"KERNEL SIDE NOT TESTED: {len(left_out)} tests skipped ({left_out[0]}); "
            "run as root, and with SIPGUARD_NO_SKIP=1 to make this a failure",
            red=True,
            bold=True,
        )


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A fresh router between two hosts (tests/netns.py); mark such a test ``kernel``."""
    made = Lab(f"ke-{os.getpid()}-")
    try:
        made.build()
        yield made
    finally:
        made.close()


@pytest.fixture
def gateway(lab: Lab) -> Iterator[Gateway]:
    """A lab whose router can be guarded (tests/guarded.py)."""
    made = Gateway(lab)
    yield made
    for netfilter in made.made:
        netfilter.remove(keep=True)
