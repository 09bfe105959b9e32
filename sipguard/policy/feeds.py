"""``feed`` lines: where records go besides the store, for what the site already runs.

    feed json     "/var/log/sipguard/records.jsonl"
    feed fail2ban "/var/log/sipguard/refused.log"
    feed hep      192.0.2.9:9060  capture-id 7  password "hep.key"
    feed syslog   udp 192.0.2.9:514  cef
    feed webhook  "https://example.com/alarm"  secret "hook.key"  ca "ca.pem"

Files are named relative to the policy, as everywhere in it. Servers of
datagrams are addresses: a name would have to be asked for while packets wait.
"""

import ipaddress
import re
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from sipguard.policy.literals import parse_number
from sipguard.policy.problems import Problems, Wrong, one_of, suggest
from sipguard.policy.syntax import Braced, Place, Setting, Word

MAX_FEEDS: Final = 16
MAX_CAPTURE_ID: Final = 0xFFFFFFFF
LOCAL_SYSLOG: Final = "/dev/log"
_MAX_URL: Final = 2048
_FILES: Final = frozenset({"json", "fail2ban"})
_PORT: Final = re.compile(r"[0-9]{1,5}")

USAGE: Final = {
    "json": 'feed json "FILE"',
    "fail2ban": 'feed fail2ban "FILE"',
    "hep": 'feed hep ADDRESS:PORT [capture-id NUMBER] [password "FILE"]',
    "syslog": 'feed syslog udp ADDRESS:PORT, tcp ADDRESS:PORT or local ["SOCKET"]; then [cef]',
    "webhook": 'feed webhook "https://..." secret "FILE" [ca "FILE"]',
}


class Feed(NamedTuple):
    """One feed as written; two that are equal are the same one, also after a reload.

    ``to`` is ``udp``, ``tcp`` or ``local`` for syslog; ``target`` a file, a
    socket, a URL or an address. Empty and 0 stand for what does not apply.
    """

    kind: str
    target: str
    port: int = 0
    to: str = ""
    cef: bool = False
    capture_id: int = 0
    secret: str = ""  # a file
    authority: str = ""  # a file
    place: str = ""  # file:line:column, for complaints
    number: int = 1  # among those of the same name: two webhooks on one host

    @property
    def name(self) -> str:
        """What status and metrics call it; no secret is in it."""
        end = self.target
        if self.port:
            end = f"[{end}]:{self.port}" if ":" in end else f"{end}:{self.port}"
        if self.kind == "webhook":  # a path or a query may be a secret of the receiver
            end = urlsplit(self.target).hostname or ""
        number = f"#{self.number}" if self.number > 1 else ""
        return " ".join(word for word in (self.kind, self.to, end, number) if word)

    @property
    def end(self) -> tuple[str, str, str, int]:
        """Who receives it: told twice by two lines, or a file that two writers tear."""
        kind = "file" if self.kind in _FILES else self.kind
        return kind, self.to, self.target, self.port

    @property
    def same(self) -> "Feed":
        """What it is, wherever the line stands."""
        return self._replace(place="", number=1)


class FeedLines:
    """Reads every ``feed`` line of a policy."""

    def __init__(self, problems: Problems) -> None:
        self._problems = problems

    def read(self, lines: list[Setting]) -> tuple[Feed, ...]:
        """Return the feeds; what is wrong with a line is noted, and the line left out."""
        feeds: list[Feed] = []
        for line in lines:
            try:
                feed = _read(line)
                self._check(feed, feeds, line.name.at)
            except Wrong as wrong:
                self._problems.add(wrong)
                continue
            alike = sum(other._replace(number=1).name == feed.name for other in feeds)
            feeds.append(feed._replace(number=1 + alike))
        return tuple(feeds)

    def _check(self, feed: Feed, earlier: list[Feed], at: Place) -> None:
        if len(earlier) >= MAX_FEEDS:
            raise Wrong(at, f"more than {MAX_FEEDS} feeds")
        for other in earlier:
            if other.end == feed.end:
                raise Wrong(at, "this feed stands twice", f"first at {other.place}")


class _Line:
    """The words of one line, taken one by one."""

    def __init__(self, line: Setting) -> None:
        self._left: list[Word | Braced] = list(line.values)
        self.at = line.name.at
        self.usage = f"write feed {one_of(USAGE)}"

    def word(self, what: str) -> Word:
        if not self._left:
            raise Wrong(self.at, f"expected {what}", self.usage)
        value = self._left.pop(0)
        if isinstance(value, Braced):
            raise Wrong(value.at, f"expected {what}, found braces", self.usage)
        self.at = value.at
        return value

    def choice(self, what: str, words: tuple[str, ...]) -> str:
        word = self.word(what)
        if word.quoted or word.text not in words:
            hint = suggest(word.text, words) or self.usage
            raise Wrong(word.at, f"expected {one_of(words)}, found {word.text}", hint)
        return word.text

    def file(self) -> str:
        word = self.word('a file as "FILE"')
        if not word.quoted or not word.text or "\0" in word.text:
            raise Wrong(word.at, f"{word.text} is no file", f"quote it; {self.usage}")
        return str(PurePosixPath(word.at.file).parent / word.text)

    def address(self) -> tuple[str, int]:
        word = self.word("ADDRESS:PORT")
        host, _, port = word.text.rpartition(":")
        bare = host.removeprefix("[").removesuffix("]")
        if not _PORT.fullmatch(port) or not 1 <= int(port) <= 65535:
            raise Wrong(word.at, f"{word.text} has no port", 'write 192.0.2.9:9060 or "[::1]:9060"')
        try:
            return str(ipaddress.ip_address(bare)), int(port)
        except ValueError:
            hint = 'write 192.0.2.9:9060 or "[::1]:9060": names are not looked up'
            raise Wrong(word.at, f"{bare} is no IP address", hint) from None

    def number(self, most: int) -> int:
        word = self.word("a number")
        number = parse_number(word.text)
        if number is None or not 0 <= number <= most:
            raise Wrong(word.at, f"{word.text} is no number from 0 to {most}")
        return number

    def has(self, quoted: bool) -> bool:
        """Whether a word is next, in quotes or not."""
        return (
            bool(self._left)
            and isinstance(self._left[0], Word)
            and (self._left[0].quoted is quoted)
        )

    @property
    def more(self) -> bool:
        return bool(self._left)


def _read(line: Setting) -> Feed:
    words = _Line(line)
    kind = words.choice("a kind of feed", tuple(USAGE))
    words.usage = f"write {USAGE[kind]}"
    at = line.name.at
    feed = _READERS[kind](words)
    if words.more:
        raise Wrong(words.at, "too much after this", words.usage)
    return feed._replace(kind=kind, place=f"{at.file}:{at.line}:{at.column}")


def _file(words: _Line) -> Feed:
    return Feed("", words.file())


def _hep(words: _Line) -> Feed:
    feed = Feed("", *words.address())
    while words.more:
        match words.choice("an option", ("capture-id", "password")):
            case "capture-id":
                feed = feed._replace(capture_id=words.number(MAX_CAPTURE_ID))
            case _:
                feed = feed._replace(secret=words.file())
    return feed


def _syslog(words: _Line) -> Feed:
    to = words.choice("udp, tcp or local", ("udp", "tcp", "local"))
    if to == "local":
        feed = Feed("", words.file() if words.has(quoted=True) else LOCAL_SYSLOG)
    else:
        feed = Feed("", *words.address())
    feed = feed._replace(to=to)
    if words.more:
        words.choice("an option", ("cef",))
        feed = feed._replace(cef=True)
    return feed


def _webhook(words: _Line) -> Feed:
    word = words.word('a URL as "https://..."')
    if not _is_good_url(word.text):
        hint = "write https://HOST/PATH; plain http goes to 127.0.0.1 or [::1] alone"
        raise Wrong(word.at, f"{word.text[:80]} is no URL for alarms", hint)
    feed = Feed("", word.text)
    while words.more:
        match words.choice("an option", ("secret", "ca")):
            case "secret":
                feed = feed._replace(secret=words.file())
            case _:
                feed = feed._replace(authority=words.file())
    if not feed.secret:
        what = "without a secret the receiver cannot tell our alarms from anybody's"
        raise Wrong(word.at, what, words.usage)
    return feed


def _is_good_url(text: str) -> bool:
    if len(text) > _MAX_URL or not text.isascii() or not text.isprintable() or " " in text:
        return False
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    if not host or parts.username is not None or parts.fragment:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and host in ("127.0.0.1", "::1"))


_READERS: Final[dict[str, Callable[[_Line], Feed]]] = {
    "json": _file,
    "fail2ban": _file,
    "hep": _hep,
    "syslog": _syslog,
    "webhook": _webhook,
}
