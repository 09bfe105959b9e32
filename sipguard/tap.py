"""``twistd sipguard``: its options, and the dozen objects wired by hand."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from twisted.application.service import MultiService, Service
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.python import usage

from sipguard.edge.busy_poll import LIMIT_US
from sipguard.edge.exemption_desk import ExemptionDesk
from sipguard.edge.feeds.listener import Listen, MetricsListener, is_loopback, read_listen
from sipguard.edge.plan import SAMPLE_GROUP
from sipguard.edge.policy_file import load
from sipguard.edge.records.child import Place
from sipguard.edge.records.desk import DeskApart
from sipguard.edge.service import GuardService, Settings
from sipguard.errors import EdgeError, PolicyError
from sipguard.journal.record import Json

STATE_DIR = "/var/lib/sipguard"


def _number(option: str, least: int) -> Callable[[str], int]:
    """Return what reads the value of an option that is a number of 16 bits."""

    def read(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= 65535:
            raise ValueError(f"--{option} is a number from {least} to 65535")
        return int(text)

    return read


class Options(usage.Options):
    """Everything else is the policy's to say."""

    synopsis = "--policy FILE [options]"
    longdesc = """
Judges the SIP that this gateway forwards, opens pinholes for negotiated SRTP, and explains every
block. Needs root, or CAP_NET_ADMIN and CAP_NET_RAW. Run it in the foreground with "twistd -n
sipguard ...". SIGHUP, or a change of the policy file, reloads the policy; a policy that cannot be
loaded leaves the last good one in force. SIGTERM ends it in order; exit status 1 means that it
could not start, and the last line says why. See what it does: "sipguard status", "sipguard
blocked", "sipguard explain ID", "sipguard tail". Check a policy first: "sipguard check FILE",
"sipguard rules FILE".
"""
    optFlags: ClassVar = [
        (
            "fail-open",
            None,
            "Let SIP pass unjudged while sipguard is not running, or fails on a packet "
            "(default: fail closed).",
        ),
        ("metrics-public", None, "Let --metrics listen on an address that others can reach."),
    ]
    optParameters: ClassVar = [
        ("policy", "p", None, "The policy file (required)."),
        ("state-dir", "s", STATE_DIR, "Where records and status are kept."),
        ("queue", "q", "0", "NFQUEUE number to read, or a range FIRST-LAST."),
        (
            "media-queue",
            None,
            None,
            "NFQUEUE number where media proves itself (default: the one after --queue).",
            _number("media-queue", 0),
        ),
        (
            "sample-group",
            None,
            SAMPLE_GROUP,
            "NFLOG group where copies of proven media come.",
            _number("sample-group", 1),
        ),
        (
            "busy-poll",
            None,
            LIMIT_US,
            "Where packets come within so many microseconds of each other, look for the next "
            "one instead of sleeping: calls wait less, and one processor is busy for as long "
            "as that lasts. 0: always sleep.",
            _number("busy-poll", 0),
        ),
        ("mode", "m", None, "Override the policy's mode: shadow or enforce."),
        ("json-lines", "j", None, "Also append each record to this file as one JSON line."),
        (
            "metrics",
            None,
            None,
            "Answer Prometheus at http://[ADDRESS:]PORT/metrics (ADDRESS: 127.0.0.1).",
            read_listen,
        ),
        (
            "page-exceptions",
            None,
            None,
            "Take temporary exceptions from the pages of twistd sipguard-web, run by this USER "
            "(default: from the command line alone).",
        ),
        ("keep-days", None, 90, "Keep records for so many days.", int),
        ("keep-octets", None, 1 << 30, "Keep at most so many octets of records.", int),
    ]

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # Twisted does not type it
        self.interfaces: list[str] = []
        self.queues = (0, 0)

    def opt_interface(self, name: str) -> None:
        """Guard only what comes in or goes out here; may stand several times (default: all)."""
        self.interfaces.append(name)

    opt_i = opt_interface

    def postOptions(self) -> None:
        """Refuse what cannot be, before anything starts."""
        if not self["policy"]:
            raise usage.UsageError("--policy FILE is required; start with policies/shadow.policy")
        if self["mode"] not in (None, "shadow", "enforce"):
            raise usage.UsageError("--mode is shadow or enforce")
        listen = self["metrics"]
        if listen is not None and not (is_loopback(listen) or self["metrics-public"]):
            raise usage.UsageError(
                f"--metrics: others can reach {listen.address}; add --metrics-public if they may"
            )
        first, _, last = str(self["queue"]).replace(":", "-").partition("-")
        if not first.isdecimal() or not (last or first).isdecimal():
            raise usage.UsageError("--queue is a number from 0 to 65535, or FIRST-LAST")
        self.queues = (int(first), int(last or first))
        if not self.queues[0] <= self.queues[1] <= 65535 or self.queues[1] - self.queues[0] > 63:
            raise usage.UsageError("--queue is a number from 0 to 65535, or FIRST-LAST")


def makeService(options: Options) -> Service:
    """Load the policy and wire the service; a policy with errors ends the program here."""
    try:
        loaded = load(str(options["policy"]), options["mode"] or "", time.time())
    except PolicyError as error:
        raise SystemExit(str(error)) from None
    for warning in loaded.policy.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    settings = Settings(
        policy_file=str(options["policy"]),
        state_dir=Path(str(options["state-dir"])),
        queues=options.queues,
        interfaces=tuple(options.interfaces),
        mode=options["mode"] or "",
        fail_open=bool(options["fail-open"]),
        media_queue=options["media-queue"],
        sample_group=options["sample-group"],
        busy_poll_us=options["busy-poll"],
    )
    lines = options["json-lines"]
    try:
        settings.state_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
        place = Place(
            settings.state_dir,
            Path(lines) if lines else None,
            options["keep-days"] * 86400.0,
            options["keep-octets"],
        )
        service = GuardService(settings, loaded, DeskApart(place, reactor), reactor)
    except OSError as error:
        raise SystemExit(
            f"sipguard: cannot use {settings.state_dir}: {error.strerror}; give another --state-dir"
        ) from None
    except EdgeError as error:
        raise SystemExit(f"sipguard: {error}") from None
    return _with_listeners(service, options)


def _with_listeners(service: GuardService, options: Options) -> Service:
    """Put beside the service what listens for others, where the options ask for it."""
    listen: Listen | None = options["metrics"]
    user = str(options["page-exceptions"] or "")
    if listen is None and not user:
        return service
    all_ = MultiService()
    # The port first: one that is taken ends the start before the kernel has our rules.
    if listen is not None:
        MetricsListener(listen, service.report).setServiceParent(all_)  # type: ignore[no-untyped-call] # Twisted does not type it
    service.setServiceParent(all_)  # type: ignore[no-untyped-call] # nor this
    if user:
        desk = ExemptionDesk(Path(str(options["state-dir"])), user, reactor, _in_thread)
        desk.setServiceParent(all_)  # type: ignore[no-untyped-call] # nor this
    return all_


def _in_thread(ask: Callable[[], dict[str, Json]]) -> "Deferred[dict[str, Json]]":
    return deferToThread(ask)
