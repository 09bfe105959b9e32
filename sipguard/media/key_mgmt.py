"""MIKEY in offers and answers: which message keys which line (RFC 4567; MIK-16).

A message at session level is for all lines, one at a line for that alone. One that fails
ends the whole negotiation.
"""

from typing import Final, final

from sipguard.errors import HostileInput
from sipguard.evidence import State
from sipguard.media.keying import Keying, without
from sipguard.media.methods import MIKEY
from sipguard.media.mikey import Agreement, Context, MikeyChecks, MikeyView
from sipguard.media.mikey_view import StreamKeys
from sipguard.reason import Finding, Reason
from sipguard.wire.mikey import KeyManagement, parse_key_mgmt
from sipguard.wire.sdp import Sdp

SIGN: Final = b"a=key-mgmt:"  # what a description with key management has in it

_NONE: Final = KeyManagement((), b"")
_STATES: Final = {
    State.VALID: b"valid",
    State.FAILED: b"failed",
    State.UNKNOWN: b"unknown",
    State.ABSENT: b"absent",
}


@final
class OfferedKeys:
    """The MIKEY messages of one offer: by line, what they are worth.

    ``findings`` are what was noticed about them; ``failed`` is what ends the session.
    """

    __slots__ = ("by_line", "context", "failed", "findings", "session", "views")

    def __init__(self, context: Context) -> None:
        self.context = context
        self.views: tuple[MikeyView, ...] = ()  # all of them
        self.by_line: dict[int, MikeyView] = {}
        self.session: MikeyView | None = None
        self.failed: Finding | None = None
        self.findings: tuple[Finding, ...] = ()

    def view(self, line: int) -> MikeyView | None:
        """Return the message for a line, ``None`` where it has none."""
        return self.by_line.get(line) or self.session

    def noticed(self, line: int) -> tuple[Finding, ...]:
        """Return what was noticed about a line's message; what ends the session is for all."""
        view = self.view(line)
        return self.findings if self.failed is not None or view is None else view.findings

    def keying(self, line: int) -> Keying | None:
        """Return what a line's message could lead to, ``None`` where it has none."""
        view = self.view(line)
        if self.failed is not None and (view is not None or not self.by_line):
            detail = self.failed.detail or self.failed.reason.sentence
            mode = "" if view is None else view.mode
            return _unkeyed(Reason.KEY_MGMT_FAILED, detail, mode, State.FAILED)
        if view is None:
            return None
        return _keyed(view.mode, view.state, view.suite, view.key_bits, view.cleartext)


def read_offered(sdp: Sdp, context: Context, checks: MikeyChecks) -> OfferedKeys | None:
    """Judge the MIKEY messages of an offer; ``None`` where it has none. Changes nothing."""
    if SIGN not in sdp.raw:
        return None
    offered = OfferedKeys(context)
    offered.session = _view(_values(sdp.attributes), offered, checks)
    for line, media in enumerate(sdp.media):
        view = _view(_values(media.attributes), offered, checks)
        if view is not None:
            offered.by_line[line] = view
    if offered.session is None and not offered.by_line and offered.failed is None:
        return None
    return offered


def agree(
    offered: OfferedKeys, line: int, answer: Sdp, context: Context, checks: MikeyChecks
) -> tuple[Keying, StreamKeys | None, tuple[Finding, ...]]:
    """Return what one line's message and its answer have negotiated together."""
    refused = offered.keying(line)
    own, view = offered.by_line.get(line), offered.view(line)
    if view is None or refused is None or not refused.keyed:
        return refused or without(Reason.NOT_KEYED, "no key is offered"), None, ()
    attributes = answer.attributes if own is None else answer.media[line].attributes
    try:
        found = _read(_values(attributes))
    except HostileInput as wrong:
        keying = _unkeyed(Reason.KEY_MGMT_FAILED, wrong.detail, view.mode, State.FAILED)
        return keying, None, (wrong.finding(),)
    agreement = checks.agree(view, found.octets, context._replace(listed=found.listed))
    if agreement.view is not None and agreement.keyed:
        checks.remember(agreement.view, context)
    return _agreed(agreement, line, is_own=own is not None)


def _agreed(
    agreement: Agreement, line: int, *, is_own: bool
) -> tuple[Keying, StreamKeys | None, tuple[Finding, ...]]:
    finding = agreement.finding
    findings = agreement.notes if finding is None else (finding, *agreement.notes)
    if not agreement.keyed:
        reason = Reason.NOT_KEYED if finding is None else finding.reason
        detail = "" if finding is None else finding.detail
        return _unkeyed(reason, detail, agreement.mode, agreement.state), None, findings
    keying = _keyed(
        agreement.mode, agreement.state, agreement.suite, agreement.key_bits, agreement.cleartext
    )
    return keying, agreement.whole() if is_own else agreement.of_line(line), findings


def _unkeyed(reason: Reason, detail: str, mode: str, state: State) -> Keying:
    return Keying(False, b"", b"", reason, detail, mode=mode.encode(), state=_STATES[state])


def _keyed(mode: str, state: State, suite: bytes, bits: int, clear: bool) -> Keying:
    return Keying(
        True,
        MIKEY,
        suite,
        Reason.KEYED,
        "",
        clear=clear,
        mode=mode.encode(),
        state=_STATES[state],
        bits=bits,
    )


def _values(attributes: tuple[tuple[bytes, bytes], ...]) -> list[bytes]:
    return [value for name, value in attributes if name == b"key-mgmt"]


def _read(values: list[bytes]) -> KeyManagement:
    return parse_key_mgmt(values) if values else _NONE


def _view(values: list[bytes], offered: OfferedKeys, checks: MikeyChecks) -> MikeyView | None:
    """Judge the message of one place, ``None`` where it has none."""
    try:
        found = _read(values)
    except HostileInput as wrong:
        offered.failed = wrong.finding()
        offered.findings += (offered.failed,)
        return None
    if not found.octets:
        return None
    view = checks.examine(found.octets, offered.context._replace(listed=found.listed))
    offered.views += (view,)
    offered.findings += view.findings
    if view.state is State.FAILED:
        offered.failed = view.finding or Finding(Reason.BAD_MIKEY)
    return view
