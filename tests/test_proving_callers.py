"""The README's "Proving callers": every command in it is run, and says what it says there."""

import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from sipguard.cli.main import main
from sipguard.edge.policy_file import Files
from sipguard.guard import Guard
from sipguard.moment import Moment
from sipguard.policy import load_policy
from sipguard.verdict import Action
from sipguard.wire.packet import Packet, parse_address

ROOT = Path(__file__).parents[1]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
STATUS = re.compile(r"# exit status ([0-9])")
SHELL = ("sed ", "mkdir ", "cp ")


def test_every_command_does_what_the_readme_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A new admin copies line after line, and sees what is printed there."""
    section = (ROOT / "README.md").read_text().split("\n## Proving callers\n")[1]
    section = section.split("\n## ")[0]
    for folder in ("docs", "policies"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    monkeypatch.chdir(tmp_path)
    said, ran = "", 0
    for kind, block in FENCE.findall(section):
        lines = [line for line in block.splitlines() if _is_ours(line)]
        if lines:
            said = ""
        elif not kind:
            _assert_said(block, said)
        for line in lines:
            said += _run(line, capsys)
            ran += 1
    assert ran >= 8
    _assert_judged(tmp_path)


def _assert_judged(folder: Path) -> None:
    """The policy made there lets the signed call pass, and refuses the forged one as it says."""
    files = Files()
    policy = load_policy("gateway.policy", files.text, files)
    now = Moment(1000.0, time.time())
    for name, source, action, rule, words in (
        ("forged.txt", "192.0.2.66", Action.REJECT, "wrong", "From says sip:director@example.com"),
        ("signed.txt", "192.0.2.10", Action.ACCEPT, "proven", ""),
    ):
        octets = (folder / name).read_bytes().replace(b"trial-1;rport", name.encode() + b";rport")
        ends = [parse_address(address.encode()) or b"" for address in (source, "198.51.100.20")]
        packet = Packet(ends[0], ends[1], 5060, 5060, octets)
        judged = Guard(policy, b"secret" * 8).judge(packet, now).judgement
        assert (judged.action, judged.rule) == (action, rule), judged.detail
        assert words in judged.detail


def _is_ours(line: str) -> bool:
    return line.startswith(("sipguard identity ", "sipguard check ", *SHELL))


def _run(line: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Run one line as a shell would, in this process where it is sipguard."""
    command, _, note = line.partition("  #")
    if not line.startswith("sipguard "):
        subprocess.run(["/bin/sh", "-c", command], check=True)
        return ""
    status = STATUS.search("#" + note)
    code = main(command.split()[1:])
    out, err = capsys.readouterr()
    assert code == (int(status[1]) if status else 0), f"{line}\n{out}{err}"
    return out + err


def _assert_said(block: str, said: str) -> None:
    """Lines of three dots stand for any others."""
    for line in block.splitlines():
        if line.strip() != "...":
            assert line in said.splitlines(), f"{line!r} is not in\n{said}"
