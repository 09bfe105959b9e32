"""``twistd sipguard``: found, its options, and what it says when it cannot start."""

import subprocess
import sys
from pathlib import Path

import pytest
from twisted.application.service import IServiceMaker, MultiService
from twisted.plugin import getPlugins
from twisted.python.usage import UsageError

from sipguard.edge.exemption_desk import ExemptionDesk
from sipguard.edge.service import GuardService
from sipguard.tap import Options, makeService

GOOD = "chain request\n  all accept\n"


def options(*words: str) -> Options:
    parsed = Options()
    parsed.parseOptions(list(words))  # type: ignore[no-untyped-call] # Twisted does not type it
    return parsed


def test_twistd_finds_the_plugin() -> None:
    """The name that the documentation uses."""
    (maker,) = [plugin for plugin in getPlugins(IServiceMaker) if plugin.tapname == "sipguard"]
    assert maker.module == "sipguard.tap"


def test_options_and_their_defaults() -> None:
    """Fail closed, queue 0, every interface, the policy's own mode."""
    parsed = options("--policy", "p")
    assert (parsed.queues, parsed.interfaces, parsed["mode"]) == ((0, 0), [], None)
    assert not parsed["fail-open"]
    parsed = options("-p", "p", "-q", "3:5", "-i", "lan0", "--interface", "lan1", "-m", "shadow")
    assert (parsed.queues, parsed.interfaces) == ((3, 5), ["lan0", "lan1"])


def test_numbers_of_the_media_gate() -> None:
    """By default the queue after those of SIP, which the plan knows."""
    parsed = options("-p", "p", "-q", "3:5")
    assert (parsed["media-queue"], parsed["sample-group"]) == (None, 5060)
    parsed = options("-p", "p", "--media-queue", "9", "--sample-group", "8")
    assert (parsed["media-queue"], parsed["sample-group"]) == (9, 8)


def test_nobody_sleeps_between_packets_that_come_close() -> None:
    """By default 8,000 a second; 0 is never."""
    assert options("-p", "p")["busy-poll"] == 125
    assert options("-p", "p", "--busy-poll", "0")["busy-poll"] == 0


def test_exceptions_from_the_pages_are_for_the_admin_to_turn_on(tmp_path: Path) -> None:
    """Without the option there is no socket to ask at."""
    policy = tmp_path / "p"
    policy.write_text(GOOD)
    words = ("-p", str(policy), "-s", str(tmp_path))
    assert isinstance(makeService(options(*words)), GuardService)
    both = makeService(options(*words, "--page-exceptions", "sipguard-web"))
    assert isinstance(both, MultiService)
    assert [type(part) for part in both.services] == [GuardService, ExemptionDesk]


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--policy", "p", "--mode", "off"),
        ("--policy", "p", "--queue", "x"),
        ("--policy", "p", "--queue", "-1"),
        ("--policy", "p", "--queue", "5:3"),
        ("--policy", "p", "--queue", "0:64"),
        ("--policy", "p", "--queue", "65536"),
        ("--policy", "p", "--queue", "1:"),
        ("--policy", "p", "--queue", "\u00b2"),
        ("--policy", "p", "--keep-days", "many"),
        ("--policy", "p", "--media-queue", "65536"),
        ("--policy", "p", "--media-queue", "-1"),
        ("--policy", "p", "--sample-group", "0"),
        ("--policy", "p", "--busy-poll", "-1"),
        ("--policy", "p", "--busy-poll", "often"),
        ("--nonsense",),
    ],
)
def test_bad_options_are_refused_before_anything_starts(words: tuple[str, ...]) -> None:
    """With a usage error, which twistd shows with the synopsis."""
    if words[-1:] == ("1:",):
        assert options(*words).queues == (1, 1)
        return
    with pytest.raises(UsageError):
        options(*words)


def test_a_good_policy_makes_a_service(tmp_path: Path) -> None:
    """Nothing of the kernel is touched before it starts."""
    policy = tmp_path / "p"
    policy.write_text(GOOD)
    service = makeService(options("-p", str(policy), "-s", str(tmp_path / "state")))
    assert isinstance(service, GuardService)
    assert (tmp_path / "state").is_dir()


def test_a_bad_policy_ends_with_its_place(tmp_path: Path) -> None:
    """file:line:column, and every problem."""
    policy = tmp_path / "p"
    policy.write_text("mode strange\nchain request\n  all accept if nonsense == 1\n")
    with pytest.raises(SystemExit) as end:
        makeService(options("-p", str(policy), "-s", str(tmp_path / "state")))
    first, second = str(end.value).splitlines()
    assert first.startswith(f"{policy}:1:6: ")
    assert second.startswith(f"{policy}:3:")


def test_an_unusable_state_directory_says_what_to_do(tmp_path: Path) -> None:
    """A file stands in the way."""
    (tmp_path / "p").write_text(GOOD)
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit, match="--state-dir"):
        makeService(options("-p", str(tmp_path / "p"), "-s", str(tmp_path / "file" / "state")))


def test_twistd_itself_ends_nonzero_on_a_bad_policy(tmp_path: Path) -> None:
    """What an init system sees."""
    (tmp_path / "p").write_text("nonsense\n")
    words = [sys.executable, "-m", "twisted", "sipguard", "--policy", str(tmp_path / "p")]
    ended = subprocess.run(
        [*words, "--state-dir", str(tmp_path)],
        capture_output=True, text=True, timeout=60, check=False,
        cwd=Path(__file__).parents[1],
    )  # fmt: skip
    assert ended.returncode != 0
    assert f"{tmp_path / 'p'}:1:1: " in ended.stdout + ended.stderr
