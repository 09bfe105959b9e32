"""The table of settings: name, how it is written, default, meaning."""

# ruff: noqa: E501 - a table reads better than wrapped sentences

from collections.abc import Callable
from dataclasses import replace
from typing import Final, NamedTuple

from sipguard.errors import HostileInput
from sipguard.policy.problems import Wrong, suggest
from sipguard.policy.rules import Policy, UnknownDialog
from sipguard.policy.syntax import Place, Setting, Word
from sipguard.policy.tls import MAX_CERTIFICATES, MAX_SERVERS, Named
from sipguard.policy.values import Values, checked
from sipguard.policy.web import read_origins
from sipguard.verdict import Action
from sipguard.wire.packet import parse_address
from sipguard.wire.uri import parse_host

STATUSES: Final = range(300, 700)
PORTS: Final = range(1, 65536)
ESP_PORT: Final = 4500
MAX_CALL: Final = 1024  # pinholes of one call
MAX_TABLE: Final = 10_000_000  # entries; a dialog costs some kilobytes
MAX_CONNECTIONS: Final = 500_000
MAX_STREAM_GRACE_S: Final = 60  # what docs/systemd gives the end of the service
DAY_S: Final = 86400
HOUR_S: Final = 3600


REPEATED: Final = frozenset(("tls-certificate", "tls-server"))  # each line adds one


class Known(NamedTuple):
    """One setting: how its values are written, its default, its meaning, what it changes."""

    usage: str
    default: str
    doc: str
    apply: Callable[[Policy, Values], Policy]


def _default(policy: Policy, values: Values) -> Policy:
    word = values.choice("accept", "drop", "reject")
    status = values.number(STATUSES) if word == "reject" else 0
    return replace(policy, default=Action(word), default_status=status)


def _on_unknown_dialog(policy: Policy, values: Values) -> Policy:
    action = values.choice("accept", "drop", "learn")
    duration_s = 0
    if action == "learn":
        values.choice("for")
        duration_s = values.duration(7 * DAY_S)
    return replace(policy, on_unknown_dialog=UnknownDialog(action, duration_s))


def _media_proof(policy: Policy, values: Values) -> Policy:
    within_s = 0
    if values.choice("within", "off") == "within":
        within_s = values.duration(HOUR_S)
    return replace(policy, proof_within_s=within_s)


def _recheck(policy: Policy, values: Values) -> Policy:
    every_s = 0
    if values.choice("every", "never") == "every":
        every_s = values.duration(HOUR_S)
    return replace(policy, recheck_s=every_s)


def _pinholes_per_peer(policy: Policy, values: Values) -> Policy:
    word = values.take("a number or unlimited")
    most = 0 if word.text == "unlimited" else checked(word, range(1, MAX_TABLE + 1), "")
    return replace(policy, max_pinholes_per_peer=most)


def _signature_budget(policy: Policy, values: Values) -> Policy:
    rate = values.rate()
    action = values.choice("drop", "unknown")
    return replace(policy, signature_budget=rate, signature_budget_action=action)


def _sip_ports(policy: Policy, values: Values) -> Policy:
    what = f"port {ESP_PORT} carries IKE and ESP (RFC 3948), never SIP"
    values.refuse(ESP_PORT, what, "name what comes out of the tunnel: zone NAME { ipsec reqid 42 }")
    return replace(policy, sip_ports=_ports(values))


def _tls_ports(policy: Policy, values: Values) -> Policy:
    return replace(policy, tls_ports=_ports(values))


def _tls_certificate(policy: Policy, values: Values) -> Policy:
    certificate = values.quoted("a file")
    key = certificate  # one file may hold both
    if values.more:
        values.choice("key")
        key = values.quoted("a file")
    named = (*policy.tls.named, Named(certificate, key))
    if len(named) > MAX_CERTIFICATES:
        raise Wrong(certificate.at, f"more than {MAX_CERTIFICATES} certificates")
    return replace(policy, tls=policy.tls._replace(named=named))


def _tls_server(policy: Policy, values: Values) -> Policy:
    word = values.take("an address")
    address = parse_address(word.text.encode())
    if address is None:
        raise Wrong(word.at, f"{word.text} is no address", 'write 192.0.2.1 name "pbx.example.com"')
    values.choice("name")
    name = values.quoted("a name")
    if address in policy.tls.names:
        raise Wrong(word.at, f"tls-server {word.text} stands twice")
    if len(policy.tls.names) >= MAX_SERVERS:
        raise Wrong(word.at, f"more than {MAX_SERVERS} servers")
    names = {**policy.tls.names, address: _host_name(name)}
    return replace(policy, tls=policy.tls._replace(names=names))


def _host_name(word: Word) -> str:
    """Return the name in lower case; a wildcard is none (RFC 5922 section 7.2)."""
    try:
        host = parse_host(word.text.encode())
    except HostileInput:
        host = b""
    if not host or parse_address(host) is not None:
        raise Wrong(word.at, f'"{word.text}" is no host name', 'write it as in "pbx.example.com"')
    return host.decode("ascii")


def _tls_servers(policy: Policy, values: Values) -> Policy:
    verify = values.choice("verify", "unverified") == "verify"
    return replace(policy, tls=policy.tls._replace(verify_servers=verify))


def _ports(values: Values) -> tuple[int, ...]:
    ports = values.numbers(PORTS)
    if not ports:
        values.take("a port")
    return ports


def _ws_origins(policy: Policy, values: Values) -> Policy:
    return replace(policy, ws_origins=read_origins(values.words("any, or origins in braces")))


# A table reads better than wrapped calls.
# fmt: off
SETTINGS: Final[dict[str, Known]] = {
    "mode": Known("shadow|enforce", "enforce",
        "shadow decides and records everything and drops nothing; enforce does what the rules say.",
        lambda p, v: replace(p, mode=v.choice("shadow", "enforce"))),
    "default": Known("accept|drop|reject NNN", "drop",
        "What happens to a request that no rule matches.",
        _default),
    "on-overload": Known("keep-dialogs|drop-all|accept-all", "keep-dialogs",
        "When packets come faster than they can be judged: keep-dialogs lets running calls pass and answers new requests with 503.",
        lambda p, v: replace(p, on_overload=v.choice("keep-dialogs", "drop-all", "accept-all"))),
    "on-unknown-dialog": Known("accept|drop|learn for DURATION", "drop",
        "In-dialog requests of calls that began before the start: for so long after a start that finds earlier pinholes, learn passes those that no rule refuses.",
        _on_unknown_dialog),
    "on-exit": Known("keep|remove", "keep",
        "What stays in the kernel when sipguard ends: keep leaves rules and pinholes, so that running calls keep their media and nothing new gets in.",
        lambda p, v: replace(p, on_exit=v.choice("keep", "remove"))),
    "sip-ports": Known("PORT ...", "5060",
        "UDP ports whose packets are judged as SIP.",
        _sip_ports),
    "stream-transports": Known("judge|refuse|pass", "judge",
        "SIP over TCP on the SIP ports: judge ends each connection here and sends on what the rules accept, message by message; refuse rejects the connections; pass lets them through unjudged.",
        lambda p, v: replace(p, stream_transports=v.choice("judge", "refuse", "pass"))),
    "max-connections": Known("NUMBER", "4096",
        "Connections over TCP that are judged at a time; beyond it no more are taken. Each takes two file descriptors.",
        lambda p, v: replace(p, max_connections=v.number(range(1, MAX_CONNECTIONS + 1)))),
    "max-connections-per-source": Known("NUMBER", "256",
        "Those of one address, or of one /64 of IPv6.",
        lambda p, v: replace(p, max_connections_per_source=v.number(range(1, MAX_CONNECTIONS + 1)))),
    "stream-idle": Known("DURATION", "1h",
        "A connection that was silent for so long is closed; one with a registration lives as long as that, or its Flow-Timer.",
        lambda p, v: replace(p, stream_idle_s=v.duration(7 * DAY_S))),
    "stream-grace": Known("off|DURATION", "10s",
        "At the end of the service, how long connections may finish what is under way; idle ones are closed at once. A minute at most.",
        lambda p, v: replace(p, stream_grace_s=v.duration_or("off", MAX_STREAM_GRACE_S))),
    "forward-udp": Known("{ PORT ... }", "{ }",
        "Other UDP destination ports that may pass the gateway; all the rest is closed but for pinholes.",
        lambda p, v: replace(p, forward_udp=v.numbers(PORTS))),
    "keep-alives": Known("accept|drop", "accept",
        "CRLF, NUL and STUN keep-alives on the SIP ports.",
        lambda p, v: replace(p, keep_alives=Action(v.choice("accept", "drop")))),
    "keep-alive-rate": Known("RATE", "10/s",
        "Keep-alives beyond this rate from one source, or on one connection, are dropped.",
        lambda p, v: replace(p, keep_alive_rate=v.rate())),
    "record": Known("blocked|all", "blocked",
        "Which calls the journal keeps.",
        lambda p, v: replace(p, record=v.choice("blocked", "all"))),
    "record-rate": Known("RATE", "120/min",
        "Records of one rule and reason; beyond it attempts are only counted. One source gets a quarter of it, calls that a rule accepts and logs twenty times as many.",
        lambda p, v: replace(p, record_rate=v.rate())),
    "max-dialogs": Known("NUMBER", "100000",
        "Calls that are tracked at a time; beyond it the oldest unanswered one is forgotten.",
        lambda p, v: replace(p, max_dialogs=v.number(range(1, MAX_TABLE + 1)))),
    "max-pinholes": Known("NUMBER", "400000",
        "Pinholes that are open at a time; beyond it no more are opened.",
        lambda p, v: replace(p, max_pinholes=v.number(range(1, MAX_TABLE + 1)))),
    "max-pinholes-per-call": Known("NUMBER", "64",
        "Pinholes of one call; a line takes four, one with ICE up to 24.",
        lambda p, v: replace(p, max_pinholes_per_call=v.number(range(1, MAX_CALL + 1)))),
    "max-pinholes-per-peer": Known("NUMBER|unlimited", "unlimited",
        "Pinholes that lead from or to one media address.",
        _pinholes_per_peer),
    "replay-window": Known("DURATION", "1h",
        "How long a request is remembered to know its replay by.",
        lambda p, v: replace(p, replay_window_s=v.duration(7 * DAY_S))),
    "reply-rate": Known("RATE", "10/s",
        "Refusals beyond this rate to one source are not sent; the requests are dropped all the same.",
        lambda p, v: replace(p, reply_rate=v.rate())),
    "signature-budget": Known("RATE drop|unknown", "20/s unknown",
        "Wrong signatures from one source beyond this rate: no more of them are verified, and the requests are dropped, or their proofs are unknown.",
        _signature_budget),
    "session-limit": Known("DURATION", "12h",
        "The longest a call may last; then its pinholes are closed.",
        lambda p, v: replace(p, session_limit_s=v.duration(30 * DAY_S))),
    "media-idle": Known("DURATION", "60s",
        "How long a pinhole stays open without packets, unless its rule says otherwise.",
        lambda p, v: replace(p, media_idle_s=v.duration(DAY_S))),
    "media-proof": Known("within DURATION|off", "within 10s",
        "The first packets of each stream are held against its keys, and a stream that proves nothing in time is closed; off trusts signalling alone.",
        _media_proof),
    "recheck": Known("every DURATION|never", "every 5s",
        "How often a proven stream shows a packet again.",
        _recheck),
    "media-path": Known("routed|direct", "routed",
        "Which way proven media goes: direct has a small program in the kernel forward it, past all that README.md names, where the kernel can; routed is the way of all other packets.",
        lambda p, v: replace(p, media_path=v.choice("routed", "direct"))),
    "dtls13": Known("accept|refuse", "refuse",
        "DTLS 1.3 hides the certificates, so nobody here can compare them with the fingerprints: whether its streams pass all the same.",
        lambda p, v: replace(p, hidden_dtls_ok=v.choice("accept", "refuse") == "accept")),
    "zrtp-grace": Known("DURATION|none", "none",
        "How long a stream that announces ZRTP may run in clear before its keys are agreed.",
        lambda p, v: replace(p, zrtp_grace_s=v.duration_or("none", HOUR_S))),
    "tls-certificate": Known('"FILE" key "FILE"', "none",
        "A certificate of the gateway, with what its issuer sends along, and its key, in PEM; may stand several times: the name that a client asks for picks one, the first serves all others. Without any, TLS does not end here.",
        _tls_certificate),
    "tls-clients": Known("none|optional|required", "optional",
        "Whether clients are asked for a certificate: optional lets those without one, or with one that is not valid, go on unauthenticated, required refuses them. Without trust tls nobody is asked, and over wss only where it is required: browsers give up where a WebSocket asks.",
        lambda p, v: replace(p, tls=p.tls._replace(clients=v.choice("none", "optional", "required")))),
    "tls-minimum": Known("1.2|1.3", "1.2",
        "The oldest version of TLS that is spoken; 1.0 and 1.1 are out of date and never are.",
        lambda p, v: replace(p, tls=p.tls._replace(minimum=v.choice("1.2", "1.3")))),
    "tls-ports": Known("PORT ...", "5061",
        "TCP ports of SIP over TLS.",
        _tls_ports),
    "tls-server": Known('ADDRESS name "NAME"', "none",
        "The name that the certificate of the server at this address must carry; may stand several times. Otherwise it is the name that the client asked for, or else the address itself.",
        _tls_server),
    "tls-servers": Known("verify|unverified", "verify",
        "Whether servers' certificates are verified; unverified lets anybody in between pose as the server.",
        _tls_servers),
    "ws-origins": Known('any | { "https://phone.example.com" ... }', "any",
        "Pages that may open a WebSocket: their origins as browsers name them. Who sends no origin is no browser, and passes: any program can send any.",
        _ws_origins),
    "ws-ports": Known("PORT ...", "none",
        "TCP ports of SIP over WebSocket (RFC 7118) in clear; what else comes there is refused.",
        lambda p, v: replace(p, ws_ports=_ports(v))),
    "wss-ports": Known("PORT ...", "none",
        "The same over TLS, for which the gateway needs a certificate.",
        lambda p, v: replace(p, wss_ports=_ports(v))),
}
# fmt: on


def apply_setting(policy: Policy, setting: Setting) -> Policy:
    """Return the policy with one setting changed.

    Raises:
        Wrong: no such setting, or its value is not one.
    """
    name = setting.name
    known = SETTINGS.get(name.text)
    if known is None:
        hint = suggest(name.text, (*SETTINGS, "set", "zone", "trust", "chain", "feed", "include"))
        raise Wrong(name.at, f"unknown setting {name.text}", hint)
    values = Values(setting, known.usage)
    changed = known.apply(policy, values)
    values.done()
    return changed


def first_stands(at: Place) -> str:
    """Return where something stood first."""
    return f"first at {at.file}:{at.line}"
