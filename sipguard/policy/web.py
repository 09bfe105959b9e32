"""What a policy says about SIP over WebSocket: origins of pages, and ports (RFC 6454, RFC 7118)."""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from sipguard.errors import HostileInput
from sipguard.policy.problems import Problems, Wrong
from sipguard.policy.syntax import Place, Setting, Word
from sipguard.wire.uri import parse_host

MAX_ORIGINS: Final = 256
_EXAMPLE: Final = 'write it as a browser does: "https://phone.example.com"'
_ORIGIN: Final = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<host>\[[0-9a-f:.]+\]|[^][/:?#@]+)"
    r"(?::(?P<port>[0-9]{1,5}))?(?P<rest>(?:[/?#].*)?)"
)
_DEFAULTS: Final = {"http": "80", "https": "443"}


def read_origins(words: Sequence[Word]) -> tuple[str, ...]:
    """Return origins in the form in which browsers send them; none for ``any``.

    Raises:
        Wrong: one is none.
    """
    if len(words) == 1 and words[0].text == "any" and not words[0].quoted:
        return ()
    if len(words) > MAX_ORIGINS:
        raise Wrong(words[MAX_ORIGINS].at, f"more than {MAX_ORIGINS} origins")
    return tuple(dict.fromkeys(_origin(word) for word in words))


def _origin(word: Word) -> str:
    text = word.text.lower()
    if text == "null":  # a page without any: of a file, or in a sandbox
        return text
    found = _ORIGIN.fullmatch(text)
    if found is None or not _is_host(found["host"]):
        raise Wrong(word.at, f"{word.text} is no origin", _EXAMPLE)
    port = found["port"]
    if port and not 1 <= int(port) <= 65535:
        raise Wrong(word.at, f"port {port} of {word.text} is not between 1 and 65535")
    shown = f":{port}" if port and port != _DEFAULTS.get(found["scheme"]) else ""
    origin = f"{found['scheme']}://{found['host']}{shown}"
    if found["rest"]:
        raise Wrong(word.at, f"{word.text} is more than an origin", f'write "{origin}"')
    return origin


def _is_host(text: str) -> bool:
    try:
        parse_host(text.encode())
    except HostileInput:
        return False
    return True


def check_web(
    ports: Mapping[str, Sequence[int]],
    has_certificate: bool,
    settings: Sequence[Setting],
    problems: Problems,
) -> None:
    """Report what does not fit together; *ports* are those of streams, by their setting."""
    at: dict[str, Place] = {}
    for setting in settings:
        at.setdefault(setting.name.text, setting.name.at)
    if "wss-ports" in at and not has_certificate:
        what = "wss-ports without tls-certificate: there is no TLS to find a WebSocket in"
        problems.error(at["wss-ports"], what, 'add tls-certificate "FILE" key "FILE"')
    if "ws-origins" in at and not {"ws-ports", "wss-ports"} & at.keys():
        what = "ws-origins does nothing without ws-ports or wss-ports"
        problems.warn(at["ws-origins"], what, "add wss-ports 443, or where the server listens")
    for name, other in _PAIRS:
        for port in sorted(set(ports[name]) & set(ports[other])):
            if name in at:
                what = f"port {port} is both of {name} and of {other}"
                problems.error(at[name], what, "a port carries either of them")


_PAIRS: Final = (
    *(("ws-ports", "sip-ports"), ("ws-ports", "tls-ports")),
    *(("wss-ports", "sip-ports"), ("wss-ports", "tls-ports"), ("wss-ports", "ws-ports")),
)
