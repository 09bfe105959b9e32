"""HTTP: from a request to a question, and from an answer to a response; who may ask what."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import quote

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from sipguard.edge.archive import Archive
from sipguard.errors import EdgeError, PolicyError
from sipguard.journal.query import QueryError
from sipguard.web.asked import Answer, Question, fields_of
from sipguard.web.beat import Beat
from sipguard.web.blocked import blocked
from sipguard.web.call import call
from sipguard.web.door import Door
from sipguard.web.exceptions import NAME_CHARACTERS, change, exceptions
from sipguard.web.overview import Latest, overview
from sipguard.web.paper import Paper
from sipguard.web.policy_page import Checked, policy
from sipguard.web.rows import query_of
from sipguard.web.sessions import Session, is_same
from sipguard.web.suggested import Suggestions
from sipguard.web.tail import MAX_WATCHERS, Watcher, Watchers, tail
from sipguard.web.tail import InThread as WatchInThread

STATIC: Final = Path(__file__).parent / "static"
_TYPES: Final = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8",
                 ".svg": "image/svg+xml"}  # fmt: skip
_SECURITY: Final = (
    (
        "Content-Security-Policy",
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'",
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Permissions-Policy", "camera=(), microphone=(), geolocation=()"),
    ("Server", "sipguard"),
)
_COOKIE: Final = "sipguard"
_FORM_COOKIE: Final = "sipguard-form"
_log = Logger()
T = TypeVar("T")
InThread = Callable[[Callable[[], Answer]], "Deferred[Answer]"]


class Asset:
    """A file of the page itself, read once."""

    def __init__(self, path: Path) -> None:
        self.octets = path.read_bytes()
        self.type = _TYPES[path.suffix]
        self.tag = f'"{hashlib.sha256(self.octets).hexdigest()[:16]}"'


class Pages(Resource):
    """Answers all requests. What reads the store or the policy does so in a thread."""

    isLeaf = True

    def __init__(
        self,
        archive: Archive,
        door: Door,
        clock: IReactorTime,
        in_thread: InThread,
        watch_in_thread: WatchInThread,
        *,
        is_secure: bool = False,
        now: Callable[[], float],
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # Twisted does not type it
        self._archive = archive
        self._door = door
        self._in_thread = in_thread
        self._is_secure = is_secure
        self._now = now
        self._paper = Paper()
        self._checked = Checked()
        self._suggestions = Suggestions()
        self._latest = Latest()
        self.streams = {
            "/live/events": Watchers(archive, clock, watch_in_thread),
            "/events": Beat(archive, clock, watch_in_thread),
        }
        self._assets = {path.name: Asset(path) for path in STATIC.iterdir()}

    def render(self, request: Request) -> int:
        """Answer in a while."""
        gone: list[object] = []
        request.notifyFinish().addErrback(gone.append)
        told = Deferred.fromCoroutine(self._answer(request))
        told.addErrback(self._own_fault, request)

        def send(answer: Answer | None) -> None:
            if answer is not None and not gone:
                self._send(request, answer)

        told.addCallback(send).addErrback(_tell_failure)
        return NOT_DONE_YET

    async def _answer(self, request: Request) -> Answer | None:
        """Return the answer; ``None`` where the request goes on as a stream of events."""
        path = request.path.decode("ascii", "backslashreplace")
        method = request.method
        if method not in (b"GET", b"HEAD", b"POST"):
            return Answer(405, b"", headers=(("Allow", "GET, HEAD, POST"),))
        if path.startswith("/static/") and method != b"POST":
            return self._asset(path.removeprefix("/static/"), request)
        try:
            question = Question(path, fields_of(request.args or {}), self._now())
        except QueryError as error:
            question = Question(path, {}, self._now())
            return self._paper.problem(question, 400, "Not understood", f"{error}.")
        if path == "/login":
            return await self._login(request, question)
        return await self._inside(request, question)

    async def _inside(self, request: Request, question: Question) -> Answer | None:
        """Answer somebody who is logged in; lead others to the login."""
        secret = _cookie(request, self._name(_COOKIE))
        # What a script asks for by itself is no sign that somebody is there.
        session = self._door.session(secret, touch="live" not in question.fields)
        if session is None:
            refusal = self._by_token(request, question)
            if refusal is not None:
                return refusal
        csrf = session.csrf if session is not None else ""
        by = session.name if session is not None else ""
        question = Question(question.path, question.fields, question.now_s, csrf, by)
        if request.method == b"POST":
            return await self._post(request, question, secret, session)
        if question.path in self.streams:
            return await self._watch(request, question, secret if session is not None else "")
        return await self._in_thread(lambda: self._page(question))

    def _by_token(self, request: Request, question: Question) -> Answer | None:
        """Return ``None`` for who brings the token, or what anybody else is answered."""
        kind, _, token = _header(request, "authorization").partition(" ")
        if kind.lower() == "bearer":
            known = self._door.knows_token(token.strip(), _source(request))
            if known:
                return None
            status = 401 if known is False else 429
            return self._paper.problem(question, status, "Not let in", "This is not the token.")
        there = "" if question.path in ("/", "/logout") else f"?next={quote(_here(request))}"
        if question.path in self.streams:
            return self._paper.problem(question, 401, "Logged out", "Log in again.")
        return Answer(303, b"", headers=(("Location", f"/login{there}"),))

    async def _post(
        self, request: Request, question: Question, secret: str, session: Session | None
    ) -> Answer:
        csrf, source = question.csrf, _source(request)
        if session is None or not is_same(question.text("csrf"), csrf) or not _is_own(request):
            return self._paper.problem(
                question, 403, "Not done", "This form is too old, or of another page."
            )
        if question.path == "/exceptions":
            session.name = question.text("by")[:NAME_CHARACTERS]
            return await self._in_thread(lambda: self._change(question, source))
        if question.path != "/logout":
            return self._paper.problem(question, 404, "No such page", "Nothing is here.")
        self._door.log_out(secret, source)
        return Answer(303, b"", headers=(("Location", "/login"), self._forget(_COOKIE)))

    async def _login(self, request: Request, question: Question) -> Answer:
        cookie = _cookie(request, self._name(_FORM_COOKIE))
        if request.method != b"POST":
            return self._login_page(question, 200, "")
        if not self._door.seal.holds(cookie, question.text("form")) or not _is_own(request):
            return self._login_page(question, 403, "That form was too old. Please try again.")
        outcome = await self._door.log_in(question.fields.get("word", ""), _source(request))
        if outcome.is_busy:
            return self._login_page(question, 503, "Too many are logging in. Try again shortly.")
        if outcome.wait_s > 0:
            seconds = int(outcome.wait_s) + 1
            sentence = f"Too many wrong passwords. Try again in {seconds} s."
            retry = ("Retry-After", str(seconds))
            return self._login_page(question, 429, sentence, (retry,))
        if not outcome.secret:
            return self._login_page(question, 403, "That is not the password.")
        there = question.text("next")
        is_here = there.startswith("/") and not there.startswith(("//", "/\\"))
        location = ("Location", quote(there, safe="/?&=%:+-._~") if is_here else "/")
        return Answer(
            303,
            b"",
            headers=(location, self._set(_COOKIE, outcome.secret), self._forget(_FORM_COOKIE)),
        )

    def _login_page(
        self,
        question: Question,
        status: int,
        mistake: str,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> Answer:
        nonce = self._door.seal.field_for(f"{question.now_s}{id(question)}")
        return self._paper.page(
            "login.html",
            question,
            title="Log in",
            status=status,
            headers=(*headers, self._set(_FORM_COOKIE, nonce)),
            form=self._door.seal.field_for(nonce),
            mistake=mistake,
            there=question.text("next"),
        )

    def _change(self, question: Question, source: str) -> Answer:
        """Make or end an exception, or show the form again with what was wrong; in a thread."""
        archive, paper = Archive(self._archive.path.parent), self._paper
        try:
            return change(archive, question, paper, source)
        except EdgeError as error:
            mistake = str(error)
        if question.text("ask") == "end":
            return exceptions(archive, question, paper, mistake, 400)
        there = replace(question, path=f"/call/{question.text('call')}")
        return call(archive, there, paper, self._suggestions, mistake)

    def _page(self, question: Question) -> Answer:
        """Make a page; runs in a thread."""
        paper, archive = self._paper, Archive(self._archive.path.parent)
        try:
            match question.path:
                case "/":
                    return overview(archive, question, paper, self._latest)
                case "/blocked":
                    return blocked(archive, question, paper)
                case "/live":
                    return tail(archive, question, paper)
                case "/policy":
                    return policy(archive, question, paper, self._checked)
                case "/exceptions":
                    return exceptions(archive, question, paper)
                case path if path.startswith("/call/"):
                    return call(archive, question, paper, self._suggestions)
                case _:
                    return paper.problem(question, 404, "No such page", "Nothing is here.")
        except EdgeError as error:
            return paper.problem(
                question,
                503,
                "Nothing to show now",
                f"{str(error)[:1].upper()}{str(error)[1:]}.",
                "Judging calls does not depend on this page: the service goes on. Try again, or "
                "see `sipguard status` on the gateway.",
            )
        except PolicyError as error:
            return paper.problem(question, 503, "The policy cannot be read", str(error))

    async def _watch(self, request: Request, question: Question, secret: str) -> Answer | None:
        last = _header(request, "last-event-id")
        query = query_of(question.fields, question.now_s)
        if last.isdecimal() and len(last) < 19:
            seen = int(last)
        else:
            seen = await self._revision()
        if request._disconnected:
            return None
        for name, value in _SECURITY:
            request.setHeader(name, value)
        request.setHeader("Content-Type", "text/event-stream; charset=utf-8")
        request.setHeader("Cache-Control", "no-store")
        is_welcome = _always if not secret else lambda: self._is_open(secret)
        watchers = self.streams[question.path]
        if watchers.add(Watcher(request, query, is_welcome), seen):
            return None
        sentence = f"{MAX_WATCHERS} pages are live already."
        return self._paper.problem(question, 503, "No room", sentence)

    def _is_open(self, secret: str) -> bool:
        return self._door.session(secret, touch=False) is not None

    async def _revision(self) -> int:
        try:
            answer = await self._in_thread(lambda: Answer(self._archive.revision(), b""))
        except EdgeError:
            return 0
        return answer.status

    def _asset(self, name: str, request: Request) -> Answer:
        asset = self._assets.get(name)
        if asset is None:
            return Answer(404, b"", "text/plain")
        headers = (("ETag", asset.tag), ("Cache-Control", "no-cache"))
        if _header(request, "if-none-match") == asset.tag:
            return Answer(304, b"", asset.type, headers)
        return Answer(200, asset.octets, asset.type, headers)

    def _own_fault(self, failure: Failure, request: Request) -> Answer:
        if failure.check(QueryError):
            question = Question("", {}, self._now())
            return self._paper.problem(question, 400, "Not understood", f"{failure.value}.")
        _log.failure("a page could not be made", failure)
        question = Question("", {}, self._now())
        return self._paper.problem(
            question,
            500,
            "That went wrong",
            "This page met a fault of sipguard's own; the page's log tells more.",
            "The other pages, and judging calls, are not affected.",
        )

    def _send(self, request: Request, answer: Answer) -> None:
        request.setResponseCode(answer.status)
        names = {name for name, _ in answer.headers}
        for name, value in _SECURITY:
            request.setHeader(name, value)
        if self._is_secure:
            request.setHeader("Strict-Transport-Security", "max-age=31536000")
        request.setHeader("Content-Type", answer.type)
        if "Cache-Control" not in names:
            request.setHeader("Cache-Control", "no-store")
        for name, value in answer.headers:
            request.responseHeaders.addRawHeader(name, value)
        if answer.status != 304:
            request.setHeader("Content-Length", str(len(answer.body)))
            request.write(answer.body)
        request.finish()

    def _name(self, cookie: str) -> str:
        return f"__Host-{cookie}" if self._is_secure else cookie

    def _set(self, cookie: str, value: str, more: str = "") -> tuple[str, str]:
        secure = "; Secure" if self._is_secure else ""
        flags = f"Path=/; HttpOnly; SameSite=Strict{secure}{more}"
        return "Set-Cookie", f"{self._name(cookie)}={value}; {flags}"

    def _forget(self, cookie: str) -> tuple[str, str]:
        return self._set(cookie, "", "; Max-Age=0")


def _tell_failure(failure: Failure) -> None:
    _log.failure("a page was not sent", failure)


def _always() -> bool:
    return True


def _is_own(request: Request) -> bool:
    """Report whether a form was sent by our own page, where the browser says so."""
    if _header(request, "sec-fetch-site") not in ("", "same-origin"):
        return False
    origin = _header(request, "origin")
    return not origin or origin.partition("://")[2] == _header(request, "host")


def _here(request: Request) -> str:
    return request.uri.decode("ascii", "replace")[:512]


def _source(request: Request) -> str:
    return str(getattr(request.getClientAddress(), "host", ""))


def _header(request: Request, name: str) -> str:
    return (request.getHeader(name) or "")[:1024]


def _cookie(request: Request, name: str) -> str:
    octets = request.getCookie(name.encode())
    return octets.decode("ascii", "replace")[:256] if octets else ""
