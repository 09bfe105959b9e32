"""The password's hash and the token's file."""

from io import StringIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipguard.cli.main import main
from sipguard.edge.password_file import (
    hash_password,
    hashed_of,
    read_password,
    read_token,
    write_password,
)
from sipguard.errors import EdgeError

WORD = "correct horse"


def test_a_password_is_known_again_and_no_other(tmp_path: Path) -> None:
    """After it went through its file, which only its owner and group may read."""
    path = tmp_path / "password"
    write_password(path, hash_password(WORD))
    assert path.stat().st_mode & 0o777 == 0o640
    hashed = read_password(path)
    assert hashed.is_of(WORD)
    assert not hashed.is_of(f"{WORD}x")
    assert WORD not in path.read_text()


def test_each_hash_has_a_salt_of_its_own() -> None:
    """Two people with one password have two hashes."""
    assert hash_password(WORD).salt != hash_password(WORD).salt


@given(st.text(max_size=200))
def test_a_file_that_is_none_is_refused(text: str) -> None:
    """Any text gives ValueError, and nothing that costs a machine."""
    try:
        hashed_of(text)
    except ValueError:
        return
    pytest.fail("taken for a hash")


@pytest.mark.parametrize(
    "numbers", ["1073741824:8:1", "16384:9999:1", "16384:8:9999", "16383:8:1", "0:8:1", "1:1:1"]
)
def test_a_cost_that_nobody_sets_is_refused(numbers: str) -> None:
    """A file of somebody else's making must not take all memory."""
    salt, digest = hash_password(WORD).to_line().split("$")[2:]
    with pytest.raises(ValueError, match="not a password file"):
        hashed_of(f"scrypt${numbers}${salt}${digest}")


def test_short_ones_are_refused(tmp_path: Path) -> None:
    """A password of a few characters, and a token that could be guessed."""
    with pytest.raises(EdgeError, match="fewer than 8"):
        hash_password("1234567")
    token = tmp_path / "token"
    token.touch(mode=0o600)
    token.write_text("short\n")
    with pytest.raises(EdgeError, match="shorter than 24"):
        read_token(token)


def test_the_command_writes_what_it_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From standard input where that is no terminal; the password is shown nowhere."""
    monkeypatch.setattr("sys.stdin", StringIO(f"{WORD}\n"))
    path = tmp_path / "password"
    assert main(["web-password", str(path)]) == 0
    assert read_password(path).is_of(WORD)
    assert WORD not in "".join(capsys.readouterr())
    monkeypatch.setattr("sys.stdin", StringIO("short\n"))
    assert main(["web-password", str(path)]) == 1
    assert read_password(path).is_of(WORD)
