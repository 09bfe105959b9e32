"""What the admin can do about a block, in the policy's own words."""

import re
from collections.abc import Iterator
from typing import Final

from sipguard.journal import told
from sipguard.journal.media_advice import BY_MEDIA
from sipguard.journal.tls_advice import BY_TLS
from sipguard.journal.web_advice import BY_WEB
from sipguard.reason import Reason
from sipguard.weight import Weight

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
    Reason.SIPS_IN_CLEAR: (
        "Have {src} send its SIPS requests over TLS, or call sip: addresses. If something of yours "
        "before sipguard ends TLS, forgive it just that, in chain parse: "
        "NAME tolerate sips-in-clear if src in {{ {src} }}"
    ),
    Reason.SIPS_DOWNGRADE: (
        "A proxy took the S out of sips: on the way to the telephone. Have the telephone register "
        "a sips: Contact over TLS, or have the caller dial sip:."
    ),
    Reason.SIPS_REGISTER: (
        "Have the telephone register under sips: alone (Request-URI, every Contact, Path), or "
        "under sip: alone; a sips: Contact answers calls to sip: as well."
    ),
    Reason.SIPS_CONTACT: (
        "Have {src} write a sips: Contact into its SIPS requests; the other end sends all that "
        "follows to this address."
    ),
    Reason.PEER_DOMAIN: (
        "A carrier's certificate names the carrier, not the caller: name it under src, or ask "
        "tls.peer, where that is how it should be."
    ),
    Reason.SECURITY_BID_DOWN: (
        "Somebody between {src} and this gateway changes the server's list of security mechanisms; "
        "if the server changes its own often, have it keep the list for each client."
    ),
    Reason.TOO_LARGE: "Raise message.size in chain parse if this sender is yours.",
    Reason.OVERLOAD: "The queue was full; see `sipguard status` and the setting on-overload.",
    Reason.STREAM_LIMIT: (
        "If this source is a proxy of yours or stands for many telephones, raise "
        "max-connections-per-source; see `sipguard status`, too."
    ),
    Reason.SLOW_STREAM: (
        "A telephone sends a message at once. If this one is yours, look for a broken network "
        "between it and this gateway."
    ),
    Reason.UNREACHABLE: "Look whether the server that was asked listens on this port over TCP.",
    Reason.NOT_SIP: "Something else uses the SIP port, or a tunnel tries to.",
    Reason.STREAM_NOT_SIP: (
        "Something else uses the SIP port, or a web page was made to (NAT slipstreaming)."
    ),
    Reason.STREAM_NO_LENGTH: (
        "Over TCP and TLS every message needs a Content-Length, even without a body. The sender "
        "at {src} must be repaired, or use UDP."
    ),
    Reason.STREAM_BAD_LENGTH: (
        "No honest sender writes this: look at {src} and at what stands between it and here."
    ),
    Reason.STREAM_LINE_END: (
        "SIP ends its lines with CR and LF. If the sender at {src} is yours, it must be repaired."
    ),
    Reason.STREAM_TOO_LARGE: "No call needs a message as large; see what {src} sends.",
    Reason.INTERNAL_ERROR: "This is a fault of sipguard: please report it with this record.",
}
_CLOCKS: Final = (
    "The signer's clock and this gateway's differ, or the message is old: compare both with a time "
    "server. The window is max-age of the trust line."
)
_AUTHORITY: Final = (
    "If this signer is to be trusted, name the certificate of the authority that issued theirs "
    "under ca of the trust line."
)
_NAMES: Final = (
    "If the certificate's name is right, From is not: have the telephone send the address that "
    "its certificate is made out to, or have the certificate made out to this one."
)
_UNSIGNED: Final = (
    "The caller signs nothing. If it is one of yours, except {src} in the rule, or have it sign "
    "(`sipguard identity` makes keys for trials)."
)
_BY_PROOF: Final = {
    Reason.AIB_ABSENT: _UNSIGNED,
    Reason.STIR_ABSENT: _UNSIGNED,
    Reason.AIB_STALE: _CLOCKS,
    Reason.PASSPORT_STALE: _CLOCKS,
    Reason.CERTIFICATE_EXPIRED: _CLOCKS,
    Reason.CERTIFICATE_NOT_YET: _CLOCKS,
    Reason.UNKNOWN_ISSUER: _AUTHORITY,
    Reason.CREDENTIAL_UNTRUSTED: _AUTHORITY,
    Reason.AIB_WRONG_SIGNER: _NAMES,
    Reason.NO_SIGNER_CERTIFICATE: (
        "The signer attaches no certificate: name it under certs of trust aib."
    ),
    Reason.NO_CREDENTIAL: (
        "Put the certificate into the folder under certs of trust stir, or see whether it may be "
        "fetched (fetch) and comes in time (within)."
    ),
    Reason.AIB_REPLAY: (
        "Each new request needs an AIB of its own, with its own Call-ID and Date. If a proxy of "
        "yours sends copies, they must be equal but for Via."
    ),
    Reason.SDP_DIFFERS: (
        "Something on the way changed a signed session description. If it is a media relay of "
        "yours, name it under relays of trust aib."
    ),
    Reason.SIGNATURE_BUDGET: (
        "This source sent many wrong signatures. If it is a proxy for many callers, raise "
        "signature-budget."
    ),
}
_PLAIN: Final = re.compile(r"\w[\w.@:-]{0,127}", re.ASCII)
_BY_MIKEY: Final = {
    Reason.MIKEY_TIME: _CLOCKS,
    Reason.MIKEY_SIGNER: _NAMES,
    Reason.MIKEY_UNCHECKED: (
        "Give sipguard what this message can be checked with: the caller's key in the file under "
        "psk of trust mikey, or the authority of the caller's certificate under ca."
    ),
    Reason.MIKEY_MAC: (
        "If the caller's key or certificate was changed, change it under psk or certs of trust "
        "mikey as well; otherwise somebody changed the message, or made it up."
    ),
    Reason.MIKEY_REPLAY: (
        "Each call needs a MIKEY message of its own. If a proxy of yours sends it on under another "
        "Call-ID, have both ways lead through this gateway."
    ),
}
_REPLAYS = frozenset(
    {Reason.REPLAY, Reason.REPLAY_AFTER_END, Reason.OLD_CSEQ, Reason.BRANCH_COLLISION}
)


def advise(record: told.Told) -> Iterator[str]:
    """Yield what may help, the most particular first."""
    reason = told.reason(record)
    src = told.text(record, "src")
    if told.text(record, "mode") == "shadow":
        yield "Nothing to do now: the policy is in shadow mode and the packet passed."
    if reason is not None:
        yield from _by_reason(reason, src)
    if told.text(record, "verdict") != "accept":
        yield from _by_proofs(record, reason, src)
    yield from _by_media(record, reason, src)
    if reason in _BY_MIKEY or reason is Reason.KEY_MGMT_FAILED:
        yield from _by_mikey(record)
    place = told.text(record, "place")
    if told.is_media(record):
        yield from _of_the_call(told.text(record, "call_id"))
    elif place:
        yield (
            f"The rule stands at {place}; the first match wins, so an exception goes above it. "
            "Try it first: sipguard replay CAPTURE --policy FILE"
        )
        yield f"The narrowest such rule: sipguard policy suggest {told.text(record, 'id')}"
    if src:
        yield f"More of this source: sipguard blocked --src {src} --since 1d"


def _of_the_call(call_id: str) -> Iterator[str]:
    """Yield a command, unless a Call-ID, which a stranger wrote, were more than a word in it."""
    if _PLAIN.fullmatch(call_id):
        yield f"What else was recorded of this call: sipguard blocked --all --call-id {call_id}"


def _by_reason(reason: Reason, src: str) -> Iterator[str]:
    advice = _BY_REASON.get(reason) or _BY_PROOF.get(reason) or BY_MEDIA.get(reason)
    advice = advice or BY_TLS.get(reason) or BY_WEB.get(reason)
    if advice:
        yield advice.format(src=src)
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


def _by_media(record: told.Told, said: Reason | None, src: str) -> Iterator[str]:
    """Yield what helps the other faults of streams that a record names, each advice once."""
    advices = {"", BY_MEDIA.get(said, "")} if said else {""}
    for part in (*told.parts(record, "findings"), *told.parts(record, "media")):
        reason = told.reason(part)
        advice = BY_MEDIA.get(reason, "") if reason else ""
        if advice not in advices:
            advices.add(advice)
            yield advice.format(src=src)


def _by_proofs(record: told.Told, said: Reason | None, src: str) -> Iterator[str]:
    """Yield what helps a proof that was not valid, each advice once."""
    identity = told.part(record, "identity")
    advices = {"", _BY_PROOF.get(said, "")} if said else {""}
    proofs = [told.part(identity, kind) for kind in identity]
    signed = (told.text(told.part(identity, kind), "state") for kind in ("aib", "stir"))
    if any(state not in ("", "absent") for state in signed):
        advices.add(_UNSIGNED)  # who brings one kind of proof need not bring the other
    for proof in proofs:
        reason = told.reason(proof)
        advice = _BY_PROOF.get(reason, "") if reason else ""
        if advice not in advices:
            advices.add(advice)
            yield advice.format(src=src)


def _by_mikey(record: told.Told) -> Iterator[str]:
    """Yield what helps a MIKEY message; often only a finding says more than that it failed."""
    for finding in told.parts(record, "findings"):
        reason = _reason_of(finding)
        advice = (_BY_MIKEY.get(reason) or _BY_PROOF.get(reason)) if reason else ""
        if advice:
            yield advice
            return


def _reason_of(record: told.Told) -> Reason | None:
    code = told.text(record, "reason")
    return next((reason for reason in Reason if reason.value == code), None)
