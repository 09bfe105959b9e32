"""Who may come in: password or token, a session behind a cookie, and a word for the log."""

import hmac
from collections.abc import Callable
from typing import Final, NamedTuple

from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.logger import Logger

from sipguard.edge.password_file import Hashed, digest_of
from sipguard.journal.escape import safe_text
from sipguard.web.sessions import FormSeal, Session, Sessions, Throttle

MAX_GUESSES_WAITING: Final = 8
InThread = Callable[[Callable[[], bool]], "Deferred[bool]"]
_log = Logger()


class Outcome(NamedTuple):
    """What came of a login: the secret of a new session, or how long to wait, or neither."""

    secret: str = ""
    wait_s: float = 0.0
    is_busy: bool = False


class Door:
    """Knows the password's hash and the token's digest, and who is in."""

    def __init__(
        self,
        password: Hashed | None,
        token: bytes | None,
        now: Callable[[], float],
        in_thread: InThread,
    ) -> None:
        self.seal = FormSeal()
        self.sessions = Sessions()
        self._throttle = Throttle()
        self._password = password
        self._token = token
        self._now = now
        self._in_thread = in_thread
        self._one_guess = DeferredSemaphore(1)  # each takes 16 MiB and a processor

    def session(self, secret: str, *, touch: bool = True) -> Session | None:
        """Return who is behind a cookie."""
        return self.sessions.find(secret, self._now(), touch=touch) if secret else None

    def knows_token(self, token: str, source: str) -> bool | None:
        """Report whether this is the token; ``None``: too many guesses, ask again later."""
        if self._throttle.wait_s(source, self._now()) > 0:
            return None
        if self._token is not None and hmac.compare_digest(digest_of(token), self._token):
            return True
        self._fail(source, "a token")
        return False

    async def log_in(self, word: str, source: str) -> Outcome:
        """Try a password, or the token typed in its place."""
        if len(self._one_guess.waiting) >= MAX_GUESSES_WAITING:
            return Outcome(is_busy=True)
        await self._one_guess.acquire()
        try:
            # After the waiting: many guesses at a time must not be free ones.
            wait_s = self._throttle.wait_s(source, self._now())
            if wait_s > 0:
                return Outcome(wait_s=wait_s)
            is_right = await self._in_thread(lambda: self._is_right(word))
            if not is_right:
                self._fail(source, "a password")
                return Outcome()
            self._throttle.passed(source)
            secret, _ = self.sessions.open(self._now())
        finally:
            self._one_guess.release()
        _log.info("audit: login from {source}", source=safe_text(source))
        return Outcome(secret)

    def log_out(self, secret: str, source: str) -> None:
        """End a session."""
        self.sessions.close(secret)
        _log.info("audit: logout from {source}", source=safe_text(source))

    def _is_right(self, word: str) -> bool:
        is_token = self._token is not None and hmac.compare_digest(digest_of(word), self._token)
        if is_token or self._password is None:
            return is_token
        return self._password.is_of(word)

    def _fail(self, source: str, what: str) -> None:
        self._throttle.failed(source, self._now())
        _log.warn("audit: login failed from {source}: {what}", source=safe_text(source), what=what)
