"""What a record says of media, as sentences: what came instead, and how each stream ended."""

from collections.abc import Iterator
from typing import Final

from sipguard.journal import told
from sipguard.journal.words import many
from sipguard.reason import Reason

# What came, where the medium's name would not do.
_NAMES: Final = {
    Reason.PLAIN_RTP: "Clear RTP",
    Reason.BAD_RTP: "RTP",
    Reason.BAD_RTCP: "RTCP",
    Reason.SSRC_CHANGES: "RTP",
    Reason.SRTP_REPLAY: "SRTP",
    Reason.SRTP_TAG: "SRTP",
    Reason.UNKNOWN_MEDIA: "A packet of no known kind",
    Reason.BAD_STUN: "STUN",
    Reason.ICE_INTEGRITY: "STUN",
}
_BY_RULE: Final = {"DTL": "DTLS", "ZRT": "ZRTP"}
_DONE: Final = {
    "accept": "passed",
    "drop": "was dropped",
    "would drop": "would have been dropped (shadow mode: it passed)",
}
_CLOSED: Final = {
    "accept": "was noted",
    "drop": "was closed",
    "would drop": "would have been closed (shadow mode: it goes on)",
}
_BY: Final = {
    "caller": "closed by the caller",
    "callee": "closed by the callee",
    "call": "closed with its call",
    "timer": "closed by a timer",
    "room": "closed for want of room",
    "gate": "closed by the media gate",
    "policy": "closed by the policy",
    "silence": "closed by silence",
}
_KEYS: Final = {"sdes": "SDES", "dtls": "DTLS-SRTP", "zrtp": "ZRTP", "mikey": "MIKEY"}


def tell_packets(record: told.Told) -> str:
    """Return the story of a record about packets: what, from where to where, what became of it."""
    reason, verdict = told.reason(record), told.verdict(record)
    ends = f"from {told.end(record, 'src')} to {told.end(record, 'dst')}"
    kind = told.subject(record).removeprefix("media ")
    if reason is Reason.UNPROVEN:
        what, done = f"The {kind} stream", _CLOSED
    else:
        what, done = _name_of(reason, kind), _DONE
    return f"{what} {ends} {done.get(verdict, verdict)}. {told.text(record, 'why')}"


def _name_of(reason: Reason | None, kind: str) -> str:
    if reason is None:
        return f"Media ({kind})"
    return _NAMES.get(reason) or _BY_RULE.get(reason.rule[:3]) or f"Media ({kind})"


def tell_media(record: told.Told) -> Iterator[str]:
    """Yield each stream as it was negotiated or refused, and then how each direction ended."""
    for stream in told.parts(record, "media"):
        yield _negotiated(stream)
    before = ""
    for end in told.parts(record, "streams"):
        title = f"{told.text(end, 'kind') or 'stream'}, {_key_of(end)}"
        if title != before:
            yield title
        before = title
        yield from _ended(end)
    more = told.number(record, "more_streams")
    if more:
        yield f"and {many(more, 'more direction')} without a line here"


def _negotiated(stream: told.Told) -> str:
    key = "no key"
    if stream.get("keyed"):
        key = f"key by {told.text(stream, 'key_method')} {told.text(stream, 'suite')}".rstrip()
    caller, callee = (
        told.join(told.text(end, "address"), told.number(end, "port")) or "not yet known"
        for end in (told.part(stream, "caller"), told.part(stream, "callee"))
    )
    named = " ".join(told.text(stream, name) for name in ("kind", "transport")).rstrip()
    detail = told.text(stream, "detail")
    return (
        f"{named}, {key}: {told.text(stream, 'reason')}{f' ({detail})' if detail else ''}; "
        f"caller {caller}, callee {callee}"
    )


def _key_of(end: told.Told) -> str:
    method = told.text(end, "key_method")
    return f"key by {_KEYS.get(method, method or 'nothing')} {told.text(end, 'suite')}".rstrip()


def _ended(end: told.Told) -> Iterator[str]:
    """Yield ``A to B: proven: how``, then what went through and who closed it."""
    source, destination = told.end(end, "src"), told.end(end, "dst")
    packets, octets = told.number(end, "packets"), told.number(end, "octets")
    yield f"  {source} to {destination}: {_proof_of(end, packets)}"
    closer = told.text(end, "closed_by")
    at = told.text(end, "time").partition("T")[2].partition(".")[0]
    yield (
        f"    {many(packets, 'packet')}, {many(octets, 'octet')}; "
        f"{_BY.get(closer, closer)} at {at}: {told.text(end, 'why')}"
    )


def _proof_of(end: told.Told, packets: int) -> str:
    proof = told.text(end, "proof")
    if end.get("proven"):
        return f"proven: {proof}" if proof else "proven"
    if proof:
        return f"not proven: {proof}"
    return "not proven: nobody asked" if packets else "not proven: no packet came"
