"""The file system as an installed gateway has it, for one program and while it runs.

Units start programs of /opt/sipguard with files of /etc/sipguard and
/var/lib/sipguard. In a mount namespace of its own a program sees these folders
there, made of others, and the Python that runs the tests also where only root
may go.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def script(
    folder: Path, places: dict[str, Path], then: str, users: dict[str, int] | None = None
) -> str:
    """Return a shell script that puts folders into *places* and runs *then*.

    Run it as root with ``unshare --mount``. *folder* is an empty one for its use, and
    *users* are added to those of the machine.
    """
    python = {path: Path(path) for path in (sys.base_prefix, sys.prefix, str(ROOT))}
    wanted = {**python, **places}
    lines = ["set -e", "mount --make-rprivate /", f"mount -t tmpfs -o mode=755 none {folder}"]
    for number, path in enumerate(wanted.values()):
        lines += [f"mkdir {folder}/{number}", f"mount --bind {path} {folder}/{number}"]
    lines += [f"cp -a /etc {folder}/etc", f"mount --bind {folder}/etc /etc"]
    for name, uid in (users or {}).items():
        lines += [f"echo {name}:x:{uid}:{uid}::/nonexistent:/usr/sbin/nologin >> /etc/passwd"]
    covered = {top for place in wanted if (top := _covered(place))} - {"/etc"}
    lines += [f"mount -t tmpfs -o mode=755 none {top}" for top in sorted(covered)]
    for number, place in enumerate(wanted):
        if place in places or any(place.startswith(f"{top}/") for top in covered):
            lines += [f"mkdir -p {place}", f"mount --bind {folder}/{number} {place}"]
    return "\n".join([*lines, "cd /", f"exec {then}"])


def _covered(place: str) -> str:
    """Return the folder to be made anew so that *place* can be there, for everybody to reach."""
    for top in [*Path(place).parents][-2::-1]:
        if str(top) in ("/opt", "/etc", "/var/lib"):
            return str(top)
        if top.exists() and not top.stat().st_mode & 0o001:
            return str(top)
    return ""


def as_user(uid: int, gid: int, groups: list[int], capabilities: str = "") -> str:
    """Return the words that make what follows an unprivileged user's, as a unit would.

    *capabilities*: those that it keeps, such as ``net_admin,net_raw``.
    """
    kept = "".join(f",+{name}" for name in capabilities.split(",") if name)
    return (
        f"setpriv --reuid={uid} --regid={gid} --groups={','.join(map(str, groups))}"
        f" --no-new-privs --inh-caps=-all{kept} --ambient-caps=-all{kept}"
        f" --bounding-set=-all{kept}"
        f" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin PYTHONPATH={ROOT} LANG=C.UTF-8"
    )
