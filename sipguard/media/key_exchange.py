"""The MIKEY messages of an offer on their way: judged once, remembered when it is accepted."""

from typing import Final

from sipguard.evidence import State
from sipguard.media.key_mgmt import SIGN, read_offered
from sipguard.media.mikey import SKEW_S, Context, MikeyChecks, MikeyTrust, MikeyView
from sipguard.media.mikey_memory import Crossing
from sipguard.media.terms import Report, Step
from sipguard.reason import Finding, Reason
from sipguard.wire.sdp import Sdp

MAX_SKEW_S: Final = 3600.0
_NOBODY: Final = MikeyTrust()
_SPENT: Final = Finding(Reason.SIGNATURE_BUDGET)


class TrustingChecks(MikeyChecks):
    """The judgement of MIKEY by the trust of the day.

    Another policy brings another trust, and what was used stays used. So messages are
    remembered for the longest skew that any policy may allow: with a memory of its own
    skew, a policy that allows more would take for new what was forgotten meanwhile.

    While ``sparing`` is set nothing is verified: whoever sends it sent too much that failed.
    """

    def __init__(self) -> None:
        super().__init__(skew_s=MAX_SKEW_S)
        self._skew_s = SKEW_S
        self.sparing = False

    def trust_in(self, trust: MikeyTrust, skew_s: float = SKEW_S) -> None:
        """Judge with these keys and authorities from now on; *skew_s* up to ``MAX_SKEW_S``."""
        self._trust = trust
        self._skew_s = min(skew_s, MAX_SKEW_S)

    def examine(self, octets: bytes, context: Context) -> MikeyView:
        """Say what an offer's message is worth; also where it was used, and not proven then.

        The trust that proves it now may have come with a reload between the two.
        """
        if self.sparing:
            return self._spare(octets, context)
        view = super().examine(octets, context)
        if view.state is State.VALID:
            crossing = Crossing(context.call_id, context.source, context.destination)
            used = self._memory.look(octets, view.stamp_s, crossing, context.now, proven=False)
            if used is not None:
                view.fail(used)
        return view

    def _spare(self, octets: bytes, context: Context) -> MikeyView:
        trust, self._trust = self._trust, _NOBODY
        view = super().examine(octets, context)  # never raises
        self._trust = trust
        if view.state is State.UNKNOWN:
            view.finding = _SPENT
        return view


def judge_keys(step: Step, sdp: Sdp, checks: MikeyChecks) -> None:
    """Judge what an offer carries and keep that in ``step.offered``; changes nothing else."""
    if step.offered is None and sdp.raw.find(SIGN) >= 0:
        step.offered = read_offered(sdp, step.context(), checks)


def remember_keys(step: Step, sdp: Sdp, checks: MikeyChecks, report: Report) -> None:
    """Write down what an accepted offer carries, and report what was noticed (MIK-3)."""
    judge_keys(step, sdp, checks)
    offered = step.offered
    if offered is None:
        return
    for finding in offered.findings:
        report.find(finding)
    for view in offered.views:
        checks.remember(view, offered.context)
