"""Linphone without a sound card, told what to do on its standard input."""

import re
import shutil
import time
from pathlib import Path

from demo.clients import SIP_PORT, write_tone
from demo.network import Host
from demo.programs import Program, until

UP = re.compile(r"etwork (?:reachability )?state is now")
READY_S = 15.0

CONFIG = """\
[sip]
sip_port={port}
sip_tcp_port=-1
sip_tls_port=-1
guess_hostname=1
contact="{user}" <sip:{user}@{address}>
media_encryption={encryption}
media_encryption_mandatory=1
use_ipv6=0
ipv6_migration_done=1
default_proxy=-1
[rtp]
audio_rtp_port=7078
[sound]
echocancellation=0
hold_music={tone}
"""


class Linphone(Program):
    """A linphonec of one user; ``encryption`` is its ``media_encryption``: zrtp, dtls or srtp."""

    def __init__(
        self, user: str, host: Host, work: Path, *, encryption: str = "zrtp", answers: bool = False
    ) -> None:
        home = work / f"linphone-{user}-{time.monotonic_ns()}"
        # Without this folder it cannot keep its ZRTP cache, and agrees no keys.
        (home / ".local/share/linphone").mkdir(parents=True)
        self._tone, self._events = home / "tone.wav", home / "events"
        write_tone(self._tone)
        config = home / "linphonerc"
        config.write_text(
            CONFIG.format(
                port=SIP_PORT,
                user=user,
                address=host.ipv4,
                encryption=encryption,
                tone=self._tone,
            )
        )
        argv = ["linphonec", "-c", str(config), "-d", "6", "-l", str(self._events)]
        super().__init__(
            [*argv, "-a"] if answers else argv,
            log=home / "log",
            namespace=host.namespace,
            cwd=home,
            env={"HOME": str(home), "TERM": "dumb"},
            is_told=True,
        )

    def is_ready(self) -> bool:
        """Wait until it has found its network; its sound then comes from a file."""
        self.printed("linphonec>", 5)
        self.tell(f"soundcard use files {self._tone}")
        return until(lambda: bool(UP.search(self._read())) or self.status is not None, READY_S)

    def dial(self, address: str) -> bool:
        """Call bob there; return whether the call stands."""
        self.tell(f"call sip:bob@{address}")
        return self.talks(10)

    def talks(self, timeout_s: float = 4.0) -> bool:
        """Whether its media runs."""
        return self.printed("Media streams established", timeout_s)

    def secured(self, timeout_s: float = 4.0) -> str:
        """Return the words that both people read to each other, once ZRTP has agreed on keys."""
        pattern = r"fully encrypted and auth token is (\S+?)\.?\s"
        self.printed(pattern, timeout_s)
        found = re.search(pattern, self.text())
        return found[1] if found else ""

    def hang_up(self) -> None:
        """End the call."""
        self.tell("terminate")

    def stop(self, grace_s: float = 5.0) -> int:
        """End it as it likes to be ended."""
        self.tell("quit")
        self.wait(2.0)
        return super().stop(grace_s)

    def _read(self) -> str:
        return self._events.read_text(errors="replace") if self._events.exists() else ""


def linphone_is_missing() -> bool:
    """Whether it is not installed; it is the one telephone that can be left out."""
    return shutil.which("linphonec") is None
