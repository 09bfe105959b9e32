"""The README and docs say only what exists: commands, options, targets, files, policies."""

import argparse
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.python.usage import UsageError

from sipguard.cli import main as cli
from sipguard.policy.load import load_policy
from sipguard.policy.rules import Policy
from sipguard.policy.settings import SETTINGS
from sipguard.tap import Options
from sipguard.web.tap import Options as WebOptions

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")), ROOT / "policies/README.md"]
UNIT = ROOT / "docs/systemd/sipguard.service"

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
LINK = re.compile(r"\]\(([^)#:]+)\)")
FOLDERS = ("policies/", "docs/", "demo/", "tests/", "bench/", "sipguard/")
SERVICES = {"sipguard": Options, "sipguard-web": WebOptions}
TARGET = re.compile(r"^([a-z-]+):", re.MULTILINE)


def test_every_sipguard_command_parses() -> None:
    """Whoever copies a command line gets no usage error."""
    seen = [words for page in PAGES for words in _commands(page, "sipguard")]
    assert len(seen) > 10
    for words in seen:
        try:
            # Only the parser is asked; nothing runs.
            cli._parser().parse_args(words[1:])
        except SystemExit:
            # A bare command name in running text lacks its arguments, and no more than those.
            if len(words) != 2 or not _knows(words[1]):
                pytest.fail(f"no such command line: {shlex.join(words)}")


def test_every_twistd_command_parses() -> None:
    """The service's options are its own, in the pages and in the systemd unit."""
    lines = [words for page in PAGES for words in _commands(page, "twistd")]
    lines += [shlex.split(line) for line in _unit("ExecStart")]
    assert any(len(words) > 4 for words in lines)
    for words in lines:
        service = next((word for word in words if word in SERVICES), "")
        if not service or "--help" in words:
            continue
        given = [word for word in words[words.index(service) + 1 :] if word[0] != "$"]
        if not given or "..." in given:
            continue
        try:
            SERVICES[service]().parseOptions(given)
        except UsageError as error:
            pytest.fail(f"{shlex.join(words)}: {error}")


def test_every_option_in_running_text_exists() -> None:
    """An option named alone belongs to a command, to the service, or to both."""
    known = {f"--{name.rstrip('=')}" for one in (Options(), WebOptions()) for name in one.longOpt}
    for command in cli._COMMANDS:
        known |= set(re.findall(r"--[a-z][a-z0-9-]+", _help_of(command)))
    for page in PAGES[:-1]:
        for span in CODE.findall(FENCE.sub("", page.read_text())):
            if span.startswith("--"):
                assert span.split()[0] in known, f"{page.name}: {span}"


def test_every_make_target_exists() -> None:
    """`make X` in a page is a target of the Makefile."""
    targets = set(TARGET.findall((ROOT / "Makefile").read_text()))
    named = {words[1] for page in PAGES for words in _commands(page, "make")}
    assert {"demo", "test"} <= named
    assert named <= targets


def test_every_file_named_exists() -> None:
    """Links and paths lead somewhere."""
    for page in PAGES:
        text = page.read_text()
        for link in LINK.findall(text):
            assert (page.parent / link).exists(), f"{page.name}: {link}"
        words = {word for _, block in FENCE.findall(text) for word in block.split()}
        for word in words | set(CODE.findall(text)):
            if word.startswith(FOLDERS) and "*" not in word and " " not in word:
                assert (ROOT / word).exists(), f"{page.name}: {word}"


def test_policy_snippets_load() -> None:
    """A snippet marked as policy is one that the service takes."""
    snippets = [
        block
        for page in PAGES
        for kind, block in FENCE.findall(page.read_text())
        if kind == "policy"
    ]
    assert snippets
    for snippet in snippets:
        policy = _loaded(snippet)
        assert not policy.warnings, policy.warnings


def test_settings_and_rules_in_running_text_load() -> None:
    """`forward-udp { 53 123 }` and the like can be copied into a policy as they stand."""
    seen = 0
    for page in PAGES[:-1]:
        for span in CODE.findall(FENCE.sub("", page.read_text())):
            first, *rest = span.split()
            if rest and (first in SETTINGS or first == "mode") and "=" not in span:
                _loaded(f"{span}\n")
                seen += 1
            elif " if " in span and rest[0] in ("accept", "drop", "reject", "open"):
                _loaded(f"chain request\n{span}\n")
                seen += 1
    assert seen > 3


def test_the_unit_has_two_capabilities_and_the_readme_paths() -> None:
    """What runs under systemd has what it needs and no more."""
    for key in ("AmbientCapabilities", "CapabilityBoundingSet"):
        assert _unit(key) == ["CAP_NET_ADMIN CAP_NET_RAW"]
    assert _unit("NoNewPrivileges") == ["yes"]
    assert _unit("StateDirectory") == [Path(str(Options()["state-dir"])).name]
    readme = PAGES[0].read_text()
    for command in _unit("ExecStart") + _unit("ExecStartPre"):
        for word in command.split():
            if word.startswith(("/opt/", "/etc/")):
                assert str(Path(word).parent) in readme, word


def test_the_first_line_says_that_it_is_no_alg() -> None:
    """The first thing an admin looks for."""
    first = PAGES[0].read_text().split("\n\n")[1]
    assert "not an ALG" in first.splitlines()[0]
    assert "never rewrites" in first.splitlines()[0]


def _loaded(text: str) -> Policy:
    return load_policy("page.policy", lambda _name: text)


def _commands(page: Path, program: str) -> Iterator[list[str]]:
    """Yield the command lines of *program* in fenced blocks and code spans."""
    text = page.read_text()
    lines = [line for _, block in FENCE.findall(text) for line in block.splitlines()]
    for line in [*lines, *CODE.findall(FENCE.sub("", text))]:
        command = re.split(r" [|#>] | && | {3,}", line.strip().removeprefix("$ "))[0]
        name, _, rest = command.partition(" ")
        if Path(name).name != program or not rest or rest.startswith(("is ", "does ")):
            continue
        yield [program, *shlex.split(rest)]


def _knows(command: str) -> bool:
    return command in cli._COMMANDS


def _help_of(command: str) -> str:
    below = _below(cli._parser())[command]
    return "".join(parser.format_help() for parser in (below, *_below(below).values()))


def _below(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return the parsers of the commands below one."""
    found: dict[str, argparse.ArgumentParser] = {}
    for action in parser._subparsers._group_actions if parser._subparsers else ():
        if isinstance(action.choices, dict):
            found |= action.choices
    return found


def _unit(key: str) -> list[str]:
    found = re.findall(rf"^{key}=(.*)$", UNIT.read_text(), re.MULTILINE)
    return [str(value) for value in found]
