"""check and rules: what the author of a policy sees before the service takes it."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sipguard.cli.main import main
from sipguard.journal.advice import advise
from sipguard.policy import load_policy
from sipguard.reason import Reason

ROOT = Path(__file__).parents[2]
POLICIES = sorted((ROOT / "policies").glob("*.policy"))
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: object) -> tuple[int, str, str]:
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return call


def test_good_policies(run: Run) -> None:
    """Every shipped policy is good, and says what it is."""
    code, out, _ = run("check", *POLICIES)
    assert code == 0
    lines = out.splitlines()
    assert len(lines) == len(POLICIES) >= 1
    for line, policy in zip(lines, POLICIES, strict=True):
        assert re.fullmatch(
            rf"{re.escape(str(policy))}: ok, [0-9]+ rules, [0-9]+ sets, mode .*", line
        )


def test_each_error_is_one_line_with_its_place(run: Run, tmp_path: Path) -> None:
    """An editor can jump to it; every error is told, not only the first."""
    policy = tmp_path / "x.policy"
    policy.write_text(
        "mode enforce\ndefault drop\nchain request\n  a drop if sorce == 1\n  b dorp\n"
    )
    code, out, err = run("check", policy)
    assert (code, out) == (1, "")
    places = re.findall(rf"(?m)^{re.escape(str(policy))}:([0-9]+):[0-9]+: error: .+$", err)
    assert {"4", "5"} <= set(places)
    assert len(err.splitlines()) == len(places)


def test_zones_are_counted_and_their_rules_shown(run: Run, tmp_path: Path) -> None:
    """IPS-1: both commands know them; a typo has its place as any other."""
    policy = tmp_path / "x.policy"
    text = "zone hq { ipsec reqid 42 }\nchain request\n  a drop if zone == hq\n"
    policy.write_text(text)
    code, out, _ = run("check", policy)
    assert (code, "ok, 1 rule, 0 sets, 1 zone, mode" in out) == (0, True)
    assert "ipsec in reqid 42" in run("rules", policy)[1]
    policy.write_text(text.replace("== hq", "== qh"))
    code, _, err = run("check", policy)
    assert (code, ":3:21: error: zone is never qh" in err) == (1, True)


def test_warnings_do_not_fail(run: Run, tmp_path: Path) -> None:
    """A rule that can never match is worth a word, not a refusal."""
    policy = tmp_path / "x.policy"
    policy.write_text("mode enforce\ndefault drop\nchain request\n  a drop\n  b accept\n")
    code, out, err = run("check", policy)
    assert code == 0
    assert ": ok, 2 rules" in out
    assert re.search(r":5:[0-9]+: warning: ", err)


@pytest.mark.parametrize("octets", [b"\xff\xfe\x00", b"\x1b[2J nonsense", b"(" * 10_000])
def test_a_file_that_is_no_policy(run: Run, tmp_path: Path, octets: bytes) -> None:
    """Whatever the file holds, the answer is lines of text, and never a traceback."""
    policy = tmp_path / "x\x1b.policy"
    policy.write_bytes(octets)
    code, _, err = run("check", policy)
    assert code == 1
    assert "error" in err
    assert err.replace("\n", "").isprintable()


def test_a_missing_file_among_good_ones(run: Run, tmp_path: Path) -> None:
    """One bad file fails the whole, and the good ones are still told."""
    code, out, err = run("check", POLICIES[0], tmp_path / "none")
    assert code == 1
    assert "ok" in out
    assert "No such file" in err


def test_rules_prints_what_would_be_installed(run: Run) -> None:
    """The admin reads the whole rule set beforehand, with the queues named on the command line."""
    code, out, err = run("rules", POLICIES[0], "--queues", "4-7", "--interface", "wan0")
    assert (code, err) == (0, "")
    assert "4-7" in out or "4:7" in out
    assert "wan0" in out
    assert "sipguard" in out


def test_rules_of_a_bad_policy_or_command_line(run: Run, tmp_path: Path) -> None:
    """No rules are printed for what could not be loaded."""
    assert run("rules", tmp_path / "none")[:2] == (1, "")
    code, out, err = run("rules", POLICIES[0], "--interface", "a b;c")
    assert (code, out) == (1, "")
    assert "interface" in err
    with pytest.raises(SystemExit) as stopped:
        run("rules", POLICIES[0], "--queues", "x")
    assert stopped.value.code == 2


def test_help_of_every_command_has_examples_and_exit_statuses(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """--help is the manual."""
    for command in ("check", "rules", "replay", "blocked", "explain", "tail", "status"):
        with pytest.raises(SystemExit) as stopped:
            main([command, "--help"])
        assert stopped.value.code == 0
        text = capsys.readouterr().out
        assert "examples:" in text
        assert "exit status:" in text


def test_the_program_starts_fast_and_alone() -> None:
    """`sipguard --help` as a program, without a service, in the time a shell user accepts."""
    ran = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "sipguard.cli.main", "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        cwd=ROOT,
    )
    assert "the morning after" in ran.stdout
    assert "lark" not in ran.stderr
    assert "twisted" not in ran.stderr


def test_a_command_brings_no_other(tmp_path: Path) -> None:
    """Who reviews calls does not wait for what writes certificates and archives."""
    told = "import sys; from sipguard.cli.main import main; main(sys.argv[1:]); print(*sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-c", told, "status", "--state-dir", tmp_path],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        cwd=ROOT,
    )
    modules = ran.stdout.split()
    assert "sipguard.cli.status" in modules
    assert not {"sipguard.cli.backup", "sipguard.edge.archive", "lark"}.intersection(modules)


def test_the_advice_is_good_policy() -> None:
    """A rule that explain recommends is one that check accepts."""
    for reason in Reason:
        record = {"reason": reason.value, "src": "192.0.2.1"}
        for line in advise(dict(record)):
            found = re.search(r"in chain (\w+): NAME (.*)", line)
            if found:
                text = f"chain {found[1]}\n  name {found[2]}\n"
                assert load_policy("x", {"x": text}.__getitem__).rules
