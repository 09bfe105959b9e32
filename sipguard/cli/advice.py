"""What the admin can do about a block, in the policy's own words."""

from collections.abc import Iterator

from sipguard.cli import told
from sipguard.reason import Reason, Weight

_BY_REASON = {
    Reason.NOT_KEYED: (
        "The offer has no key for SRTP. Turn on SRTP (SDES or DTLS) at the caller, {src}. "
        "Clear RTP never gets a pinhole, whatever the policy says: no key, no hole."
    ),
    Reason.HOLE_REFUSED: (
        "No rule of chain media opens this stream. If it should be open, see which of keyed, "
        "key.method and peer does not hold (Media above)."
    ),
    Reason.RATE_EXCEEDED: (
        "If this source is a trunk or a proxy for many telephones, accept it above the rate rule, "
        "or raise the rate."
    ),
    Reason.UNKNOWN_DIALOG: (
        "If the call began before sipguard did (a restart), the setting `on-unknown-dialog learn "
        "for 30m` takes such calls for known; otherwise somebody invents calls."
    ),
    Reason.STRAY_RESPONSE: (
        "If the request went another way, route both directions through this gateway; "
        "otherwise the response is forged or late."
    ),
    Reason.FORGED_IN_DIALOG: (
        "The sender is on neither end of the call. If it is a proxy of yours that joined later, "
        "it should be on the path from the first INVITE on (Record-Route)."
    ),
    Reason.TOO_LARGE: "Raise message.size in chain parse if this sender is yours.",
    Reason.OVERLOAD: "The queue was full; see `sipguard status` and the setting on-overload.",
    Reason.NOT_SIP: "Something else uses the SIP port, or a tunnel tries to.",
    Reason.INTERNAL_ERROR: "This is a fault of sipguard: please report it with this record.",
}
_REPLAYS = frozenset(
    {Reason.REPLAY, Reason.REPLAY_AFTER_END, Reason.OLD_CSEQ, Reason.BRANCH_COLLISION}
)


def advise(record: told.Told) -> Iterator[str]:
    """Yield what may help, the most particular first."""
    reason = _reason_of(record)
    src = told.text(record, "src")
    if told.text(record, "mode") == "shadow":
        yield "Nothing to do now: the policy is in shadow mode and the packet passed."
    if reason is not None:
        yield from _by_reason(reason, src)
    place = told.text(record, "place")
    if place:
        yield (
            f"The rule stands at {place}; the first match wins, so an exception goes above it. "
            "Try it first: sipguard replay CAPTURE --policy FILE"
        )
    if src:
        yield f"More of this source: sipguard blocked --src {src} --since 1d"


def _by_reason(reason: Reason, src: str) -> Iterator[str]:
    if reason in _BY_REASON:
        yield _BY_REASON[reason].format(src=src)
    elif reason in _REPLAYS:
        yield (
            "A true retransmission has the same octets, branch and source and passes. "
            "This one differs, or came too late: look at the ladder for the first one."
        )
    elif reason.weight in (Weight.AMBIGUOUS, Weight.MALFORMED):
        yield (
            "If this sender is yours and cannot be repaired, forgive it just that, in chain parse: "
            f"NAME tolerate {reason.value} if src in {{ {src} }}"
        )


def _reason_of(record: told.Told) -> Reason | None:
    code = told.text(record, "reason")
    return next((reason for reason in Reason if reason.value == code), None)
