"""What the identity room can say about one message: four states, a reason, and what was covered."""

from enum import Enum
from typing import Final, final

from sipguard.reason import Finding


class State(Enum):
    """Unknown is a third value beside valid and failed, and never counts as valid."""

    VALID = "valid"
    ABSENT = "absent"
    FAILED = "failed"
    UNKNOWN = "unknown"


@final
class Evidence:
    """What one kind of proof says about one message.

    ``finding`` says why it is not valid; it is None where it is. ``notes`` are
    facts that change nothing, such as a certificate near its end. ``covers``
    names what the signature speaks for: lower-case header names, ``sdp`` and
    ``body``. ``attest`` and ``orig`` are the PASSporT's, empty elsewhere.
    ``failures`` tell which of several Identity headers failed and why, each by
    its token in compact form, or ``b""`` where it could not be read.
    Texts are the peer's octets: only a face may show them, escaped.
    """

    __slots__ = ("attest", "covers", "failures", "finding", "notes", "orig", "signer", "state")

    def __init__(
        self,
        state: State,
        finding: Finding | None = None,
        *,
        notes: tuple[Finding, ...] = (),
        signer: bytes = b"",
        covers: tuple[bytes, ...] = (),
        attest: bytes = b"",
        orig: bytes = b"",
        failures: tuple[tuple[bytes, Finding], ...] = (),
    ) -> None:
        self.state = state
        self.finding = finding
        self.notes = notes
        self.signer = signer
        self.covers = covers
        self.attest = attest
        self.orig = orig
        self.failures = failures

    def __repr__(self) -> str:
        return f"Evidence({self.state.value}, {self.finding!r}, signer={self.signer!r})"


NOT_ASKED: Final = Evidence(State.UNKNOWN)


class Awaited(Exception):  # noqa: N818 - nobody's fault: a rule asked for what is on its way
    """A rule asked for a certificate that must be fetched first; the packet can wait for it."""

    def __init__(self, urls: tuple[str, ...]) -> None:
        super().__init__(*urls)
        self.urls = urls
