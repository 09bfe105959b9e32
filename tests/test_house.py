"""House rules that no tool checks: floors, cycles, docstrings, sizes, reasons, plugin, policies."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from twisted.application.service import IServiceMaker
from twisted.plugin import getPlugins

from sipguard.edge.policy_file import load
from sipguard.reason import Reason

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "sipguard"
MODULES = sorted(PACKAGE.rglob("*.py"))
FLOORS = [
    {"weight"},
    {"reason", "moment", "native", "eviction"},
    {"errors", "verdict", "evidence"},
    {"wire", "journal"},
    {"policy", "identity", "calls", "media", "replay", "rates", "refusal", "streams"},
    {"guard"},
    {"edge"},
    {"cli", "web"},
    {"tap"},
]
FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
OUTER = {"edge", "cli", "web", "tap"}
FORBIDDEN = {"twisted", "socket", "os", "time", "random", "subprocess"}


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Every module that a file imports; ``from sipguard import wire`` is ``sipguard.wire``."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if module == "sipguard":
                yield from ((node.lineno, f"sipguard.{alias.name}") for alias in node.names)
            else:
                yield node.lineno, module


def wrong_imports(path: Path) -> list[str]:
    here = room_of(path)
    wrong = []
    for line, module in imports(path):
        parts = module.split(".")
        if parts[0] != "sipguard" or len(parts) < 2 or here == "__init__":
            continue
        there = parts[1]
        if there != here and FLOOR_OF[there] >= FLOOR_OF[here]:
            wrong.append(f"{path.name}:{line} {here} -> {there}")
    return wrong


def test_every_room_has_a_floor() -> None:
    """A new room is placed first: add it to FLOORS."""
    assert {room_of(path) for path in MODULES} - {"__init__"} <= set(FLOOR_OF)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_only_run_downward(path: Path) -> None:
    """No room imports its own floor or a higher one; rooms on one floor are strangers."""
    assert wrong_imports(path) == []


@pytest.mark.parametrize(
    "line",
    ["import sipguard.guard.inspect", "from sipguard.edge import x", "from sipguard import cli"],
)
def test_the_floors_test_sees_every_kind_of_import(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rule that cannot fail is none."""
    monkeypatch.setitem(globals(), "PACKAGE", tmp_path)
    (tmp_path / "wire").mkdir()
    upward = tmp_path / "wire" / "bad.py"
    upward.write_text(line + "\n")
    assert len(wrong_imports(upward)) == 1


def test_no_module_imports_itself_in_a_circle() -> None:
    """Also inside a room; what only the type checker sees does not count."""
    names = {".".join(p.relative_to(ROOT).with_suffix("").parts): p for p in MODULES}
    names = {name.removesuffix(".__init__"): path for name, path in names.items()}
    edges = {name: [m for m in _at_run_time(path) if m in names] for name, path in names.items()}
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " -> ".join((*above, name))
        if name not in done:
            for there in edges[name]:
                visit(there, (*above, name))
            done.add(name)

    for name in names:
        visit(name, ())


def _at_run_time(path: Path) -> Iterator[str]:
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom):
            module = node.module or ""
            for alias in node.names:
                inner = PACKAGE.parent / Path(*module.split("."), alias.name)
                is_module = inner.with_suffix(".py").exists() or inner.is_dir()
                yield f"{module}.{alias.name}" if is_module else module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_says_what_it_knows_and_is_not_a_book(path: Path) -> None:
    """A docstring, and at most 400 lines."""
    text = path.read_text()
    assert ast.get_docstring(ast.parse(text)), "no docstring"
    assert text.count("\n") <= 400


def test_the_core_does_no_io() -> None:
    """Time, randomness and the network come in as arguments, so that a capture replays."""
    wrong = [
        f"{path.name}:{line} {module}"
        for path in MODULES
        if room_of(path) not in OUTER
        for line, module in imports(path)
        if module.split(".")[0] in FORBIDDEN
    ]
    assert wrong == []


@cache
def _sayings() -> list[str]:
    """Return the modules that may give a reason; advice names all that could come."""
    namers = {"reason.py", *(path.name for path in PACKAGE.glob("journal/*advice.py"))}
    return [path.read_text() for path in MODULES if path.name not in namers]


@pytest.mark.parametrize("reason", Reason, ids=lambda reason: reason.value)
def test_a_reason_reads_well_and_is_used(reason: Reason) -> None:
    """A sentence, a rule of the book or none, somewhere that says it."""
    assert re.fullmatch(r"[A-Z][^\n]+\.", reason.sentence)
    assert re.fullmatch(r"([A-Z]{3,4}-\d+)?", reason.rule)
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", reason.value)
    word = re.compile(rf"\b{reason.name}\b")
    assert any(word.search(text) for text in _sayings())


@pytest.mark.parametrize("reason", Reason, ids=lambda reason: reason.value)
def test_a_reason_is_tested(reason: Reason) -> None:
    """By name in a test, or by its code in a vector."""
    word = re.compile(rf"\bR(?:eason)?\.{reason.name}\b|\"{reason.value}\"|\b{reason.value}\b")
    named = any(word.search(text) for text in _tests())
    assert named


@cache
def _tests() -> list[str]:
    return [
        path.read_text("latin-1")
        for folder, pattern in (("tests", "*.py"), ("tests/vectors", "*.sip"))
        for path in (ROOT / folder).rglob(pattern)
        if path != Path(__file__)
    ]


@pytest.mark.parametrize("path", sorted((ROOT / "policies").glob("*.policy")), ids=lambda p: p.name)
def test_every_shipped_policy_loads(path: Path) -> None:
    """They are the first thing an operator tries."""
    assert load(str(path), "", 0.0).policy.rules


def test_twistd_finds_the_plugin() -> None:
    """It is installed with the package."""
    assert "sipguard" in {plugin.tapname for plugin in getPlugins(IServiceMaker)}


def test_no_possessive_groups() -> None:
    """`(...)?+` gives up what it tried before Python 3.11.5, and Debian 12 has 3.11.2."""
    wrong = [
        f"{path.relative_to(ROOT)}: {node.value!r}"
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str | bytes)
        and re.search(r"\)[?*+]\+", _text(node.value))
    ]
    assert wrong == []


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")
