"""Policy files on the disk: what identifies them, and when they have changed."""

import os
from pathlib import Path

import pytest
from authority import make_authority

from sipguard.edge.policy_file import MAX_OCTETS, Files, has_changed, load, mtime_ns, read_text
from sipguard.errors import PolicyError


def write(path: Path, text: str, at_s: int = 1_000_000) -> str:
    path.write_text(text)
    os.utime(path, (at_s, at_s))
    return str(path)


def test_a_policy_is_known_by_the_text_it_was_read_from(tmp_path: Path) -> None:
    """The digest covers everything included; the same text has the same digest."""
    inner = tmp_path / "inner.policy"
    write(inner, "set phones { 192.0.2.0/24 }\n")
    text = 'include "inner.policy"\nchain request\n  all accept if src in phones\n'
    outer = write(tmp_path / "outer.policy", text)
    first, second = load(outer, "", 1.0), load(outer, "", 2.0)
    assert first.digest == second.digest
    assert (first.loaded_s, second.loaded_s) == (1.0, 2.0)
    write(inner, "set phones { 198.51.100.0/24 }\n")
    assert load(outer, "", 3.0).digest != first.digest


def test_the_command_line_overrides_the_mode(tmp_path: Path) -> None:
    """And only where it says something."""
    name = write(tmp_path / "p", "mode enforce\n")
    assert load(name, "", 0.0).policy.mode == "enforce"
    assert load(name, "shadow", 0.0).policy.mode == "shadow"


def test_a_change_of_any_file_is_seen(tmp_path: Path) -> None:
    """Also of an included one, and of one that vanished."""
    inner = tmp_path / "inner.policy"
    write(inner, "default drop\n")
    loaded = load(write(tmp_path / "outer.policy", 'include "inner.policy"\n'), "", 0.0)
    assert not has_changed(loaded)
    write(inner, "default drop\n", at_s=1_000_001)
    assert has_changed(loaded)
    inner.unlink()
    assert has_changed(loaded)
    assert mtime_ns(str(inner)) == 0


@pytest.mark.parametrize("octets", [b"\xff\xfe", b"x" * (MAX_OCTETS + 1)])
def test_what_is_no_text_is_a_problem_with_a_place(tmp_path: Path, octets: bytes) -> None:
    """A binary or endless file ends in a sentence, not in a traceback."""
    path = tmp_path / "p"
    path.write_bytes(octets)
    with pytest.raises(PolicyError) as error:
        load(str(path), "", 0.0)
    assert str(path) in str(error.value)
    with pytest.raises(ValueError, match=r"."):
        read_text(str(path))


def test_a_missing_file_is_a_problem(tmp_path: Path) -> None:
    """Named in the message."""
    with pytest.raises(PolicyError, match="nowhere"):
        load(str(tmp_path / "nowhere"), "", 0.0)


PEM = make_authority("Example").pem.decode()
ASKING = 'trust aib ca "trust"\nchain request\n  a drop if not aib.valid\n'


def test_a_change_of_an_authority_is_seen(tmp_path: Path) -> None:
    """A certificate that is written anew, that comes or goes: each reloads the policy."""
    folder = tmp_path / "trust"
    folder.mkdir()
    write(folder / "a.pem", PEM)
    name = write(tmp_path / "p", ASKING)
    loaded = load(name, "", 0.0)
    assert not has_changed(loaded)
    write(folder / "a.pem", PEM + "# renewed\n", at_s=1_000_001)
    assert has_changed(loaded)
    renewed = load(name, "", 0.0)
    assert renewed.digest != loaded.digest
    write(folder / "b.pem", PEM)
    os.utime(folder, (1_000_002, 1_000_002))
    assert has_changed(renewed)
    both = load(name, "", 0.0)
    assert both.policy.aib is not None
    assert [Path(file.name).name for file in both.policy.aib.ca] == ["a.pem", "b.pem"]
    (folder / "a.pem").unlink()
    assert has_changed(both)


def test_hidden_files_and_folders_are_no_certificates(tmp_path: Path) -> None:
    """An editor's swap file and a folder inside are left alone; a plain file is no folder."""
    (tmp_path / ".a.pem.swp").write_text(PEM)
    (tmp_path / "inner").mkdir()
    (tmp_path / "b.pem").write_text(PEM)
    assert Files().names(str(tmp_path)) == ("b.pem",)
    assert Files().names(str(tmp_path / "b.pem")) is None
    assert Files().names(str(tmp_path / "nowhere")) is None


def test_what_was_looked_at_is_known_where_nothing_was_loaded(tmp_path: Path) -> None:
    """A missing file stands there as never written, so that it is seen to come."""
    files = Files()
    with pytest.raises(PolicyError, match="trust"):
        load(write(tmp_path / "p", ASKING), "", 0.0, files)
    assert files.mtimes_ns[str(tmp_path / "trust")] == 0
    assert files.mtimes_ns[str(tmp_path / "p")] > 0
