"""Where the pages for reviewers ask for temporary exceptions: a socket that the admin opens.

The pages run without rights and must not write where the records are. So they
ask the service, over a socket in the state directory, in one line of JSON, and
are answered in one. All they can ask is to make or to end an exception; the
kernel says which user asks (``SO_PEERCRED``), and the service writes the audit.
"""

import contextlib
import json
import os
import pwd
import socket
import stat
import struct
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure

from sipguard.edge.exemptions import ExemptionFile
from sipguard.errors import EdgeError
from sipguard.journal.record import Json
from sipguard.policy.exemptions import MAX_TEXT, Exemption

SOCKET_NAME: Final = "exceptions.socket"
MAX_LINE: Final = 4096
MAX_CONNECTIONS: Final = 8
MAX_CHANGES: Final = 30  # a minute: each is written to the disk twice
PAGE: Final = "on the page"  # behind the name that a reviewer gives
_MINUTE_S: Final = 60.0
_WAIT_S: Final = 8.0  # the file's own patience is 5 s
_MAY_WAIT_S: Final = 2.0  # a page that only wants to know whether
_CREDENTIALS: Final = struct.Struct("3i")  # pid, uid, gid
_TEXTS: Final = ("kind", "source", "caller", "rule", "reason", "by", "place")
Told = dict[str, Json]
InThread = Callable[[Callable[[], Told]], "Deferred[Told]"]


class _Line(Protocol):
    def getHandle(self) -> socket.socket: ...
    def write(self, octets: bytes) -> None: ...
    def loseConnection(self) -> None: ...


class _Later(Protocol):
    def active(self) -> bool: ...
    def cancel(self) -> None: ...


class _Port(Protocol):
    def stopListening(self) -> "Deferred[None] | None": ...


class DeskReactor(Protocol):
    """What the desk asks of Twisted's reactor."""

    def callLater(self, delay: float, call: Callable[[], None]) -> _Later:
        """Call in so many seconds."""

    def listenUNIX(self, address: str, factory: Factory, *, mode: int) -> _Port:
        """Listen at a path."""


class NotOpenError(EdgeError):
    """The pages cannot make exceptions on this site; the text says why."""


def user_of(uid: int) -> str:
    """Return a user's name, or the number of one that has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


class Desk:
    """Takes one wish after the other; knows nothing of sockets.

    Args:
        file: What is in force.
        user: Name or number of the user whose wishes are taken.
    """

    def __init__(
        self, file: ExemptionFile, user: str, clock: Callable[[], float] = time.time
    ) -> None:
        self._file = file
        self._user = user
        self._clock = clock
        self._changes: deque[float] = deque(maxlen=MAX_CHANGES)

    def answer(self, line: bytes, uid: int) -> Told:
        """Do what a line asks, and say what came of it; runs in a thread."""
        user = user_of(uid)
        if self._user not in (user, str(uid)) and uid not in (0, os.geteuid()):
            return _refused(f"the service takes exceptions from the user {self._user}, not {user}")
        try:
            wish = json.loads(line)
        except (ValueError, RecursionError):
            return _refused("that is no JSON")
        if not isinstance(wish, dict):
            return _refused("that is no wish")
        if wish.get("ask") == "may":
            return {"done": True}
        if self._is_too_much():
            return _refused(f"{MAX_CHANGES} changes a minute are enough")
        try:
            return self._change(wish, user)
        except EdgeError as error:
            return _refused(str(error))

    def _change(self, wish: Told, user: str) -> Told:
        texts = {name: _text(wish, name) for name in _TEXTS}
        place = f"the page of user {user}, asked from {texts['place'] or 'nowhere'}"
        if not texts["by"].strip():
            return _refused("say who you are: it stands in the audit")
        by = f"{texts['by'].strip()} {PAGE}"
        number = wish.get("number")
        if wish.get("ask") == "end" and type(number) is int:
            return {"done": True, "number": self._file.remove(number, by, place).number}
        lasts_s = wish.get("lasts_s")
        if wish.get("ask") != "make" or type(lasts_s) not in (int, float):
            return _refused("nobody here can do that")
        wanted = Exemption(
            0, texts["kind"], 0.0, float(str(lasts_s)), texts["source"], texts["caller"],
            texts["rule"], texts["reason"].strip(), by,
        )  # fmt: skip
        return {"done": True, "number": self._file.add(wanted, place).number}

    def _is_too_much(self) -> bool:
        now_s = self._clock()
        if len(self._changes) == MAX_CHANGES and 0 <= now_s - self._changes[0] < _MINUTE_S:
            return True
        self._changes.append(now_s)
        return False


class DeskLine(LineOnlyReceiver):
    """One connection: a line, an answer, and the end."""

    transport: _Line  # type: ignore[assignment] # an interface
    delimiter = b"\n"
    MAX_LENGTH = MAX_LINE
    log = Logger()

    def __init__(self, desk: "ExemptionDesk") -> None:
        self._desk = desk
        self._call = desk.reactor.callLater(_WAIT_S, self._too_slow)
        self._has_asked = False

    def lineReceived(self, line: bytes) -> None:
        """Answer the first line."""
        if self._has_asked:
            return
        self._has_asked = True
        uid = _uid_of(self.transport.getHandle())
        told = self._desk.lock.run(self._desk.in_thread, lambda: self._desk.desk.answer(line, uid))
        told.addErrback(self._failed).addCallback(self._tell)

    def lineLengthExceeded(self, line: bytes) -> None:
        """Hang up: no wish is as long."""
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure | None = None) -> None:
        """Make room for another."""
        self._desk.connections -= 1
        if self._call.active():
            self._call.cancel()

    def _tell(self, told: Told) -> None:
        self.transport.write(json.dumps(told).encode() + b"\n")
        self.transport.loseConnection()

    def _failed(self, failure: Failure) -> Told:
        self.log.failure("an exception could not be taken", failure)
        return _refused("sipguard itself failed; its log tells more")

    def _too_slow(self) -> None:
        self.transport.loseConnection()


class ExemptionDesk(Service):
    """Listens at the socket in the state directory.

    Args:
        directory: The state directory; the socket gets its owner and group.
        user: Who may ask.
        in_thread: Where the file is changed: it waits for the disk, which packets must not.
    """

    def __init__(
        self, directory: Path, user: str, reactor: DeskReactor, in_thread: InThread
    ) -> None:
        self.reactor = reactor
        self.in_thread = in_thread
        self.desk = Desk(ExemptionFile(directory), user)
        self.lock = DeferredLock()
        self.connections = 0
        self._path = directory / SOCKET_NAME
        self._factory = _DeskFactory(self)
        self._port: _Port | None = None

    def startService(self) -> None:
        """Listen, or end the program with a sentence that says why not."""
        super().startService()  # type: ignore[no-untyped-call] # Twisted does not type it
        try:
            if self._path.exists() and stat.S_ISSOCK(self._path.lstat().st_mode):
                self._path.unlink()  # of a run that was killed
            self._port = self.reactor.listenUNIX(str(self._path), self._factory, mode=0o660)
            owner = self._path.parent.stat()
            with contextlib.suppress(OSError):
                os.chown(self._path, owner.st_uid, owner.st_gid)
        except (OSError, CannotListenError) as error:
            why = getattr(error, "socketError", error)
            raise SystemExit(f"sipguard: cannot listen at {self._path}: {why}") from None

    def stopService(self) -> "Deferred[None] | None":
        """Hang up; the socket goes."""
        super().stopService()  # type: ignore[no-untyped-call] # Twisted does not type it
        port, self._port = self._port, None
        return port.stopListening() if port is not None else None


class _DeskFactory(Factory):
    """Takes a few connections at a time."""

    noisy = False

    def __init__(self, desk: ExemptionDesk) -> None:
        self._desk = desk

    def buildProtocol(self, addr: IAddress | None) -> DeskLine | None:
        """Take one, if there is room."""
        if self._desk.connections >= MAX_CONNECTIONS:
            return None
        self._desk.connections += 1
        return DeskLine(self._desk)


def ask(directory: Path, wish: Told) -> int:
    """Ask the service, as the pages do, and wait; return the exception's number (or 0).

    Raises:
        NotOpenError: Nobody takes exceptions from the pages here.
        EdgeError: The service does not want this one.
    """
    path = directory / SOCKET_NAME
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
            line.settimeout(_MAY_WAIT_S if wish.get("ask") == "may" else _WAIT_S)
            line.connect(str(path))
            line.sendall(json.dumps(wish).encode() + b"\n")
            answer = json.loads(line.makefile("rb").read(MAX_LINE))
    except FileNotFoundError:
        raise NotOpenError("the service was not started with --page-exceptions") from None
    except PermissionError:
        user = user_of(os.geteuid())
        raise NotOpenError(f"the user of this page, {user}, may not use {path}") from None
    except ConnectionRefusedError:
        raise NotOpenError("the service is not running") from None
    except (OSError, ValueError) as error:
        raise NotOpenError(f"the service does not answer: {error}") from None
    if not isinstance(answer, dict) or not answer.get("done"):
        why = answer.get("why") if isinstance(answer, dict) else ""
        kind = NotOpenError if wish.get("ask") == "may" else EdgeError
        raise kind(str(why or "the service did not understand"))
    number = answer.get("number")
    return number if isinstance(number, int) else 0


def _uid_of(handle: socket.socket) -> int:
    size = _CREDENTIALS.size
    _, uid, _ = _CREDENTIALS.unpack(handle.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return int(uid)


def _text(wish: Told, name: str) -> str:
    value = wish.get(name)
    if not isinstance(value, str):
        return ""
    if len(value) > MAX_TEXT or not value.isprintable():
        raise EdgeError(f"texts are printable and have at most {MAX_TEXT} characters")
    return value


def _refused(why: str) -> Told:
    return {"done": False, "why": why}
