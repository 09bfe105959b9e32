"""Policy files, certificates and all else a policy names: reading them, seeing them change."""

import hashlib
import time
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

from sipguard.edge.stream.tls_contexts import try_out
from sipguard.edge.stream.tls_credentials import tls_warnings
from sipguard.guard.verifiers import Remembered, Verifiers
from sipguard.policy.load import load_policy
from sipguard.policy.rules import Policy

MAX_OCTETS: Final = 4 << 20


class LoadedPolicy(NamedTuple):
    """A policy with what identifies the very text it was read from."""

    policy: Policy
    digest: str
    loaded_s: float  # POSIX time
    mtimes_ns: dict[str, int]


def read_text(name: str) -> str:
    """Return a file's text; ``OSError`` or ``ValueError`` where it has none."""
    return _read(name).decode("utf-8")


def _read(name: str) -> bytes:
    with Path(name).open("rb") as stream:
        octets = stream.read(MAX_OCTETS + 1)
    if len(octets) > MAX_OCTETS:
        raise ValueError(f"it is larger than {MAX_OCTETS >> 20} MiB")
    return octets


class Files:
    """Reads what a policy is made of, and keeps what tells whether any of it has changed.

    ``mtimes_ns`` has every file and folder that was looked at, those that are
    not there as 0, so that a certificate that was missing is seen to come.
    """

    def __init__(self) -> None:
        self.mtimes_ns: dict[str, int] = {}
        self._digest = hashlib.sha256()

    @property
    def digest(self) -> str:
        """What identifies all that was read."""
        return self._digest.hexdigest()[:16]

    def text(self, name: str) -> str:
        """Return a policy file's text; ``OSError`` or ``ValueError`` where it has none."""
        return self.octets(name).decode("utf-8")

    def octets(self, name: str) -> bytes:
        """Return a file's octets; ``OSError`` or ``ValueError`` where it cannot be read."""
        # The time first: a change between the two is seen at the next look.
        self.mtimes_ns[name] = mtime_ns(name)
        octets = _read(name)
        self._digest.update(octets)
        return octets

    def names(self, folder: str) -> tuple[str, ...] | None:
        """Return the files in a folder but the hidden ones, sorted; ``None`` if it is none."""
        path = Path(folder)
        if not path.is_dir():
            return None
        self.mtimes_ns[folder] = mtime_ns(folder)
        return tuple(
            sorted(
                inner.name
                for inner in path.iterdir()
                if not inner.name.startswith(".") and inner.is_file()
            )
        )


def read_policy(name: str, files: Files) -> Policy:
    """Read and check a policy, and that what it trusts can be used.

    Raises:
        PolicyError: With every problem found.
    """
    policy = load_policy(name, files.text, files)
    Verifiers(policy, Remembered())
    warnings = tls_warnings(policy)
    try_out(policy.tls, time.time())
    return replace(policy, warnings=tuple(sorted((*policy.warnings, *warnings))))


def load(name: str, mode: str, now_s: float, files: Files | None = None) -> LoadedPolicy:
    """Read and check a policy with everything it includes; *mode* overrides its own if not empty.

    *files* tells afterwards what was looked at, also where nothing was loaded.

    Raises:
        PolicyError: With every problem found.
    """
    files = files or Files()
    policy = read_policy(name, files)
    if mode:
        policy = replace(policy, mode=mode)
    return LoadedPolicy(policy, files.digest, now_s, files.mtimes_ns)


def has_changed(loaded: LoadedPolicy) -> bool:
    """Whether any of the files was written since."""
    return any(mtime_ns(name) != seen for name, seen in loaded.mtimes_ns.items())


def mtime_ns(name: str) -> int:
    """Return when the file was last written, 0 if it is not there now."""
    try:
        return Path(name).stat().st_mtime_ns
    except OSError:
        return 0
