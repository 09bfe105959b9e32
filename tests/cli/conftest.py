"""A trial authority, and messages to sign."""

from pathlib import Path

import pytest
from trials import INVITE, Run

from sipguard.cli.main import main


@pytest.fixture
def identity(capsys: pytest.CaptureFixture[str]) -> Run:
    """`sipguard identity` with these arguments: exit status, output and errors."""

    def call(*arguments: object) -> tuple[int, str, str]:
        code = main(["identity", *map(str, arguments)])
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.fixture
def trial(tmp_path: Path, identity: Run) -> Path:
    """A directory with an authority."""
    folder = tmp_path / "trial"
    assert identity("make-ca", folder)[0] == 0
    return folder


@pytest.fixture
def invite(tmp_path: Path) -> Path:
    """A message as an editor saves it."""
    path = tmp_path / "invite.txt"
    path.write_text(INVITE)
    return path
