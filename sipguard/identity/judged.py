"""What is found out about one PASSporT, and about all of a message together."""

from typing import NamedTuple

from sipguard.evidence import State
from sipguard.identity.passport_claims import Claims
from sipguard.reason import Finding


class Judged(NamedTuple):
    """One PASSporT after its checks.

    ``state`` is VALID, FAILED, UNKNOWN, or ABSENT for a kind that is ignored.
    Of a VALID one all the rest is set; ``fits_callee`` says whether ``dest``
    names the callee, which a chain of diversions may make good. ``wanted`` is
    the URL of a certificate that is not here. ``is_nested`` marks what stood
    inside another token and proves nothing alone.
    """

    state: State
    finding: Finding | None
    ppt: str = ""
    wanted: str = ""
    notes: tuple[Finding, ...] = ()
    claims: Claims | None = None
    signer: bytes = b""
    covers: tuple[bytes, ...] = ()
    attest: bytes = b""
    key: int = 0
    fits_callee: bool = True
    is_nested: bool = False


class Undecided(Exception):  # noqa: N818 - nobody's fault: what would decide is not here
    """A PASSporT that is neither valid nor wrong: of a kind to ignore, or without a certificate."""

    def __init__(self, state: State, finding: Finding, wanted: str = "") -> None:
        super().__init__(finding.detail)
        self.state = state
        self.finding = finding
        self.wanted = wanted
