"""Syslog of RFC 5424 with structured data, or with a message in ArcSight's CEF.

The machine's own socket speaks the older format of RFC 3164, as the C library
does: what listens there takes the version number of RFC 5424 for a program's name.

What a record holds is printable already; here it is escaped once more by the
rules of each format, so that no value can end early and begin another.
"""

import time
from typing import Final, NamedTuple

from sipguard.journal.record import Record, iso_time, show_address
from sipguard.verdict import Action

MAX_VALUE: Final = 200  # characters of one value
MAX_OCTETS: Final = 8_000  # of one message; more than any receiver must take (RFC 5426: 2048)
_FACILITY: Final = 10  # security/authorization
_ALERT, _WARNING, _NOTICE, _INFO = 1, 4, 5, 6
_ELEMENT: Final = "sipguard@32473"  # the number of RFC 5612, for whoever has none
_BOM: Final = b"\xef\xbb\xbf"
_MONTHS: Final = "JanFebMarAprMayJunJulAugSepOctNovDec"  # in every locale


class Sender(NamedTuple):
    """Who says it."""

    host: str
    pid: int
    version: str


def sender_of(host: str, pid: int, version: str) -> Sender:
    """Return a sender whose host is fit for a header (RFC 5424 section 6.2.4)."""
    fit = "".join(char for char in host if "!" <= char <= "~")[:255]
    return Sender(fit or "-", pid, version)


def structured(record: Record, sender: Sender) -> bytes:
    """Return one message with everything as structured data, and a sentence."""
    return _message(record, sender, _element(record), sentence(record))


def local_structured(record: Record, sender: Sender) -> bytes:
    """Return the same for the machine's own socket."""
    return _local(record, sender, f"{_element(record)} {sentence(record)}")


def common_event(record: Record, sender: Sender) -> bytes:
    """Return one message whose text is a CEF event."""
    return _message(record, sender, "-", _event(record, sender))


def local_common_event(record: Record, sender: Sender) -> bytes:
    """Return the same for the machine's own socket."""
    return _local(record, sender, _event(record, sender))


def _element(record: Record) -> str:
    values = (
        ("id", record.id),
        ("verdict", record.verdict.value),
        ("applied", record.applied.value),
        ("mode", record.mode),
        ("rule", record.rule),
        ("place", record.place),
        ("reason", record.reason.value),
        ("src", show_address(record.src)),
        ("srcPort", str(record.src_port)),
        ("dst", show_address(record.dst)),
        ("dstPort", str(record.dst_port)),
        ("transport", record.transport),
        ("method", record.method),
        ("caller", record.caller),
        ("to", record.to),
        ("callId", record.call_id),
        ("code", str(record.code or "")),
        ("alarm", "true" if record.alarm else "false"),
    )
    told = " ".join(f'{name}="{_parameter(value)}"' for name, value in values if value)
    return f"[{_ELEMENT} {told}]"


def _event(record: Record, sender: Sender) -> str:
    head = "|".join(
        _header(value)
        for value in (
            "sipguard", "sipguard", sender.version, record.reason.value, record.reason.sentence,
            str(_cef_severity(record)),
        )
    )  # fmt: skip
    values = (
        ("rt", str(int(record.first_s * 1000))),
        ("externalId", record.id),
        ("act", record.applied.value),
        *_ends(record),
        ("proto", "UDP" if record.transport == "udp" else "TCP"),
        ("app", "SIP"),
        ("requestMethod", record.method),
        ("suser", record.caller),
        ("duser", record.to),
        ("cs1Label", "rule"),
        ("cs1", record.rule),
        ("cs2Label", "place"),
        ("cs2", record.place),
        ("cs3Label", "callId"),
        ("cs3", record.call_id),
        ("cs4Label", "mode"),
        ("cs4", record.mode),
        ("outcome", record.verdict.value),
        ("msg", record.why),
    )
    told = " ".join(f"{name}={_extension(value)}" for name, value in values if value)
    return f"CEF:0|{head}|{told}"


def framed(message: bytes) -> bytes:
    """Return a message as a stream carries it: its length before it (RFC 6587 section 3.4.1)."""
    return b"%d %b" % (len(message), message)


def sentence(record: Record) -> str:
    """Return what happened in words."""
    what = record.method[:MAX_VALUE] or "packet"
    ends = f"{show_address(record.src)}:{record.src_port} to {show_address(record.dst)}"
    done = record.applied.value
    if record.applied is not record.verdict:
        done = f"{done} (shadow: {record.verdict.value})"
    return f"{what} from {ends}: {done} by {record.rule or 'sipguard'}: {record.why[:1000]}"


def _message(record: Record, sender: Sender, data: str, text: str) -> bytes:
    priority = _FACILITY * 8 + _severity(record)
    kind = "accepted" if record.verdict is Action.ACCEPT else "refused"
    head = (
        f"<{priority}>1 {iso_time(record.last_s)} {sender.host} sipguard {sender.pid} {kind} {data}"
    )
    return _within(head.encode("utf-8", "replace") + b" " + _BOM + text.encode("utf-8", "replace"))


def _local(record: Record, sender: Sender, text: str) -> bytes:
    at = _local_time(record.last_s)
    clock = f"{_MONTHS[3 * at.tm_mon - 3 :][:3]} {at.tm_mday:2} {time.strftime('%H:%M:%S', at)}"
    told = f"<{_FACILITY * 8 + _severity(record)}>{clock} sipguard[{sender.pid}]: {text}"
    return _within(told.encode("utf-8", "replace"))


def _local_time(utc_s: float) -> time.struct_time:
    try:
        return time.localtime(utc_s)
    except (ValueError, OverflowError, OSError):
        return time.localtime(0)


def _within(octets: bytes) -> bytes:
    if len(octets) <= MAX_OCTETS:
        return octets
    return octets[:MAX_OCTETS].decode("utf-8", "ignore").encode()


def _severity(record: Record) -> int:
    if record.alarm:
        return _ALERT
    if record.verdict is Action.ACCEPT:
        return _INFO
    return _WARNING if record.applied is record.verdict else _NOTICE


def _cef_severity(record: Record) -> int:
    return {_ALERT: 9, _WARNING: 6, _NOTICE: 4}.get(_severity(record), 2)


def _ends(record: Record) -> tuple[tuple[str, str], ...]:
    """IPv6 has keys of its own: those of IPv4 are typed."""
    src, dst = show_address(record.src), show_address(record.dst)
    ports = (("spt", str(record.src_port)), ("dpt", str(record.dst_port)))
    if len(record.src) == 16:
        return (
            ("c6a2Label", "Source IPv6 Address"), ("c6a2", src),
            ("c6a3Label", "Destination IPv6 Address"), ("c6a3", dst), *ports,
        )  # fmt: skip
    return (("src", src), ("dst", dst), *ports)


def _cut(value: str) -> str:
    return value if len(value) <= MAX_VALUE else value[:MAX_VALUE] + "…"


def _parameter(value: str) -> str:
    """RFC 5424 section 6.3.3."""
    return _cut(value).replace("\\", "\\\\").replace('"', '\\"').replace("]", "\\]")


def _header(value: str) -> str:
    return _cut(value).replace("\\", "\\\\").replace("|", "\\|")


def _extension(value: str) -> str:
    return _cut(value).replace("\\", "\\\\").replace("=", "\\=")
