"""Who is logged in, and who guessed too often: kept in memory, bounded, forgotten in time."""

import hmac
import secrets
from collections import OrderedDict
from ipaddress import ip_address, ip_network
from typing import Final

MAX_SESSIONS: Final = 64
IDLE_S: Final = 30 * 60.0
LONGEST_S: Final = 12 * 3600.0
FREE_GUESSES: Final = 3
LONGEST_WAIT_S: Final = 300.0
FORGET_S: Final = 3600.0
MAX_SOURCES: Final = 1024
_ALL: Final = ""  # guesses of everybody together, so that many addresses help little
_FREE_FOR_ALL: Final = 60
_LONGEST_FOR_ALL_S: Final = 1.0
_IPV6_PREFIX: Final = 64


class Session:
    """One login. ``csrf`` goes into its forms and must come back with them.

    ``name`` is who a reviewer says to be, for forms to remember: a name for the audit, no proof.
    """

    __slots__ = ("csrf", "name", "opened_s", "seen_s")

    def __init__(self, now_s: float) -> None:
        self.csrf = secrets.token_urlsafe(24)
        self.name = ""
        self.opened_s = now_s
        self.seen_s = now_s

    def is_over(self, now_s: float) -> bool:
        """Report whether it was idle, or open, for too long; a clock set back ends it as well."""
        idle = not 0 <= now_s - self.seen_s <= IDLE_S
        return idle or now_s - self.opened_s > LONGEST_S


class Sessions:
    """The open sessions by their secret. A new one takes the place of the one idle longest."""

    def __init__(self) -> None:
        self._open: OrderedDict[str, Session] = OrderedDict()

    def open(self, now_s: float) -> tuple[str, Session]:
        """Begin a session and return its secret with it."""
        while len(self._open) >= MAX_SESSIONS:
            self._open.popitem(last=False)
        secret, session = secrets.token_urlsafe(32), Session(now_s)
        self._open[secret] = session
        return secret, session

    def find(self, secret: str, now_s: float, *, touch: bool = True) -> Session | None:
        """Return the session of a secret; *touch*: somebody is there, so it stays open."""
        session = self._open.get(secret)
        if session is None:
            return None
        if session.is_over(now_s):
            del self._open[secret]
            return None
        if touch:
            session.seen_s = now_s
            self._open.move_to_end(secret)
        return session

    def close(self, secret: str) -> None:
        """End a session."""
        self._open.pop(secret, None)


class Throttle:
    """How long a source must wait before its next guess: twice as long after each wrong one."""

    def __init__(self) -> None:
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def wait_s(self, source: str, now_s: float) -> float:
        """Return the seconds until this source may guess again; 0 for now."""
        return max(
            self._wait_s(_network_of(source), FREE_GUESSES, now_s),
            # Short, or a stranger who guesses all day would lock everybody out.
            min(self._wait_s(_ALL, _FREE_FOR_ALL, now_s), _LONGEST_FOR_ALL_S),
        )

    def failed(self, source: str, now_s: float) -> None:
        """Count a wrong guess."""
        for key in (_network_of(source), _ALL):
            count, _ = self._failures.pop(key, (0, 0.0))
            self._failures[key] = (count + 1, now_s)
        while len(self._failures) > MAX_SOURCES:
            self._failures.popitem(last=False)

    def passed(self, source: str) -> None:
        """Forget the wrong guesses of a source that knew it after all."""
        self._failures.pop(_network_of(source), None)

    def _wait_s(self, key: str, free: int, now_s: float) -> float:
        count, last_s = self._failures.get(key, (0, 0.0))
        if count < free:
            return 0.0
        if not 0 <= now_s - last_s <= FORGET_S:
            del self._failures[key]
            return 0.0
        wait_s = min(2.0 ** min(count - free, 16), LONGEST_WAIT_S)
        return max(last_s + wait_s - now_s, 0.0)


class FormSeal:
    """Makes the field of the login form, which nobody else's page can know: of a cookie's value."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def field_for(self, cookie: str) -> str:
        """Return what the form sends back beside this cookie."""
        return hmac.digest(self._key, cookie.encode("utf-8", "replace"), "sha256").hex()

    def holds(self, cookie: str, field: str) -> bool:
        """Report whether field and cookie belong together."""
        return bool(cookie) and is_same(self.field_for(cookie), field)


def is_same(one: str, other: str) -> bool:
    """Compare two secrets in a time that tells nothing."""
    return hmac.compare_digest(one.encode("utf-8", "replace"), other.encode("utf-8", "replace"))


def _network_of(source: str) -> str:
    """Return an IPv4 address, or the /64 that one IPv6 host can write all of."""
    try:
        address = ip_address(source.partition("%")[0])
    except ValueError:
        return source[:64] or "?"
    if address.version == 4:
        return str(address)
    return str(ip_network((address, _IPV6_PREFIX), strict=False))
