"""The demo's telephones: SIPp by scenario files, baresip by its JSON control port."""

import json
import re
import shutil
import socket
import time
import wave
from pathlib import Path

from demo.network import Host, within
from demo.programs import Program, until

SCENARIOS = Path(__file__).with_name("scenarios")
SIP_PORT = 5060
CONTROL_PORT = 4444
MODULES = Path("/usr/lib/baresip/modules")
SAMPLE_RATE_HZ = 8000
TONE_S = 60

CONFIG = """\
poll_method epoll
sip_listen {listen}
call_max_calls 4
audio_path /usr/share/baresip
audio_source aufile,{tone}
audio_player aubridge,player
audio_alert aubridge,alert
ausrc_srate 8000
auplay_srate 8000
ausrc_channels 1
auplay_channels 1
rtp_ports 20000-20100
rtp_stats yes
module_path {modules}
module g711.so
module aufile.so
module aubridge.so
module srtp.so
module dtls_srtp.so
module_tmp uuid.so
module_tmp account.so
module_app menu.so
module_app ctrl_tcp.so
ctrl_tcp_listen 127.0.0.1:{control}
statmode_default off
"""
CERTIFICATE = "sip_certificate {certificate}\n"


class Sipp(Program):
    """One run of SIPp over one scenario file; exit status 0 means all its calls went as written.

    *scenario* is one of the demo's by name, or a file of one's own. Its Call-ID is SIPp's own
    making unless *call_id* says which: signed requests come with theirs.
    """

    def __init__(
        self,
        scenario: str | Path,
        host: Host,
        work: Path,
        *,
        towards: str = "",
        version: int = 4,
        calls: int = 1,
        per_second: int = 10,
        talk_ms: int = 1000,
        media_port: int = 30000,
        timeout_s: int = 20,
        call_id: str = "%u-%p@%s",
        tcp: bool = False,
        sockets: str = "t1",
    ) -> None:
        address = host.address(version)
        file = scenario if isinstance(scenario, Path) else SCENARIOS / f"{scenario}.xml"
        argv = ["sipp", "-sf", str(file), "-nostdin"]
        argv += ["-i", address, "-p", str(SIP_PORT), "-mi", address, "-mp", str(media_port)]
        argv += ["-m", str(calls), "-r", str(per_second), "-d", str(talk_ms), "-s", "bob"]
        argv += ["-cid_str", call_id, "-timeout", f"{timeout_s}s", "-timeout_error"]
        argv += ["-t", sockets, "-max_socket", "1000"] if tcp else []
        self.errors = work / f"sipp-{file.stem}-{time.monotonic_ns()}.err"
        argv += ["-trace_err", "-error_file", str(self.errors)]
        if towards:
            argv.append(f"[{towards}]:{SIP_PORT}" if ":" in towards else f"{towards}:{SIP_PORT}")
        super().__init__(
            argv,
            log=self.errors.with_suffix(".log"),
            namespace=host.namespace,
            cwd=work,
            env={"TERM": "dumb"},
        )
        # Over TCP a caller connects and does not listen.
        listens = (tcp and towards) or self.listens(SIP_PORT, tcp=tcp)
        if not listens and self.status is None:
            self.stop()
            raise RuntimeError(f"SIPp does not listen: {self.text()[-400:]}")

    def complaint(self) -> str:
        """The first line of its error file, or nothing."""
        lines = self.errors.read_text(errors="replace").splitlines() if self.errors.exists() else []
        return next((line for line in lines if line.strip()), "")


class Baresip(Program):
    """A baresip with one account, its sound a generated tone; real SRTP by libsrtp.

    ``encryption`` is baresip's ``mediaenc``: ``srtp-mand`` (SDES), ``dtls_srtp``, or nothing.
    ``transport`` is what its account and its calls use; with ``tls`` it shows *certificate*
    (chain and key in one file) on the port after the usual one, and verifies nobody's.
    """

    def __init__(
        self,
        user: str,
        host: Host,
        work: Path,
        *,
        encryption: str = "srtp-mand",
        version: int = 4,
        answers: bool = False,
        transport: str = "udp",
        certificate: Path | None = None,
    ) -> None:
        self.host = host
        self.transport = transport
        self.events: list[dict[str, object]] = []
        self._pending = b""
        self._control: socket.socket | None = None
        home = work / f"baresip-{user}-{time.monotonic_ns()}"
        home.mkdir()
        address = host.address(version)
        literal = f"[{address}]" if version == 6 else address
        self._write_home(home, user, literal, encryption, answers=answers)
        if certificate is not None:
            with (home / "config").open("a") as config:
                config.write(CERTIFICATE.format(certificate=certificate))
        argv = ["baresip", "-f", str(home)] + (["-6"] if version == 6 else [])
        super().__init__(argv, log=home / "log", namespace=host.namespace, cwd=home)
        if not self.printed("baresip is ready", 10):
            self.stop()
            raise RuntimeError(f"baresip does not start: {self.text()[-400:]}")
        self._control = self._connect()

    def command(self, name: str, params: str = "") -> None:
        """Send one command; baresip's answer is read with the events."""
        message = {"command": name, "token": "demo", **({"params": params} if params else {})}
        octets = json.dumps(message).encode()
        if self._control is not None:
            self._control.sendall(b"%d:%s," % (len(octets), octets))

    def dial(self, address: str, user: str = "bob") -> None:
        """Call somebody at an IP address."""
        literal = f"[{address}]" if ":" in address else address
        # It adds the transport of its account itself.
        self.command("dial", f"sip:{user}@{literal}")

    @property
    def _parameter(self) -> str:
        """What a URI of this telephone says of its transport; nothing of the usual one."""
        return "" if self.transport == "udp" else f";transport={self.transport}"

    def hang_up(self) -> None:
        """End the call."""
        self.command("hangup")

    def happened(self, kind: str, timeout_s: float = 8.0) -> bool:
        """Wait for an event such as ``CALL_ESTABLISHED`` or ``CALL_CLOSED``."""

        def seen() -> bool:
            self._read_events()
            return any(event.get("type") == kind for event in self.events)

        return until(seen, timeout_s)

    def packets(self) -> tuple[int, int]:
        """RTP packets (sent, received) by its own count, printed when a call ends."""
        counts = re.findall(r"packets:\s+(\d+)\s+(\d+)", self.text())
        return (int(counts[-1][0]), int(counts[-1][1])) if counts else (0, 0)

    def stop(self, grace_s: float = 5.0) -> int:
        """End it; a running call gets its BYE first."""
        if self._control is not None:
            self._control.close()
            self._control = None
        return super().stop(grace_s)

    def _write_home(
        self, home: Path, user: str, literal: str, encryption: str, *, answers: bool
    ) -> None:
        tone = home / "tone.wav"
        write_tone(tone)
        config = CONFIG.format(
            listen=f"{literal}:{SIP_PORT}", tone=tone, modules=MODULES, control=CONTROL_PORT
        )
        (home / "config").write_text(config)
        (home / "contacts").write_text("")
        parameters = ["regint=0", f"answermode={'auto' if answers else 'manual'}"]
        parameters += [f"mediaenc={encryption}"] if encryption else []
        (home / "accounts").write_text(
            f"<sip:{user}@{literal}{self._parameter}>;{';'.join(parameters)}\n"
        )

    def _connect(self) -> socket.socket:
        def connect() -> socket.socket:
            return socket.create_connection(("127.0.0.1", CONTROL_PORT), 2)

        for _ in range(50):
            try:
                return within(self.host.namespace, connect)
            except OSError:
                time.sleep(0.05)
        self.stop()
        raise RuntimeError("baresip's control port cannot be reached")

    def _read_events(self) -> None:
        """Read netstrings of JSON (``LENGTH:{...},``) as far as there are whole ones."""
        if self._control is None:
            return
        self._control.settimeout(0.02)
        try:
            self._pending += self._control.recv(65_536)
        except TimeoutError:
            pass
        except OSError:
            return
        while match := re.match(rb"(\d+):", self._pending):
            end = match.end() + int(match[1])
            if len(self._pending) <= end:
                return
            event = json.loads(self._pending[match.end() : end])
            self._pending = self._pending[end + 1 :]
            if isinstance(event, dict) and event.get("event"):
                self.events.append(event)


def write_tone(path: Path) -> None:
    """Write a minute of a 400 Hz square tone, 16 bit at 8 kHz, which is all that baresip takes."""
    period = SAMPLE_RATE_HZ // 400
    cycle = b"\x00\x10" * (period // 2) + b"\x00\xf0" * (period // 2)
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(SAMPLE_RATE_HZ)
        sound.writeframes(cycle * (SAMPLE_RATE_HZ * TONE_S // period))


def missing_programs() -> list[str]:
    """Which of the third-party programs are not installed."""
    return [name for name in ("sipp", "baresip") if shutil.which(name) is None]
