"""Policy files on the disk: reading them, and seeing that they changed."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

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
    with Path(name).open("rb") as stream:
        octets = stream.read(MAX_OCTETS + 1)
    if len(octets) > MAX_OCTETS:
        raise ValueError(f"it is larger than {MAX_OCTETS >> 20} MiB")
    return octets.decode("utf-8")


def load(name: str, mode: str, now_s: float) -> LoadedPolicy:
    """Read and check a policy with everything it includes; *mode* overrides its own if not empty.

    Raises:
        PolicyError: With every problem found.
    """
    digest = hashlib.sha256()
    mtimes_ns: dict[str, int] = {}
    policy = load_policy(name, _reader(digest.update, mtimes_ns))
    if mode:
        policy = replace(policy, mode=mode)
    return LoadedPolicy(policy, digest.hexdigest()[:16], now_s, mtimes_ns)


def _reader(update: Callable[[bytes], None], mtimes_ns: dict[str, int]) -> Callable[[str], str]:
    def read(name: str) -> str:
        # The time first: a change between the two is seen at the next look.
        mtimes_ns[name] = mtime_ns(name)
        text = read_text(name)
        update(text.encode())
        return text

    return read


def has_changed(loaded: LoadedPolicy) -> bool:
    """Whether any of the files was written since."""
    return any(mtime_ns(name) != seen for name, seen in loaded.mtimes_ns.items())


def mtime_ns(name: str) -> int:
    """Return when the file was last written, 0 if it is not there now."""
    try:
        return Path(name).stat().st_mtime_ns
    except OSError:
        return 0
