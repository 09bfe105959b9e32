"""The MIKEY messages of an offer on their way: judged once, remembered when it is accepted."""

from sipguard.media.key_mgmt import SIGN, read_offered
from sipguard.media.mikey import MikeyChecks
from sipguard.media.terms import Report, Step
from sipguard.wire.sdp import Sdp


def judge_keys(step: Step, sdp: Sdp, checks: MikeyChecks) -> None:
    """Judge what an offer carries and keep that in ``step.offered``; changes nothing else."""
    if step.offered is None and SIGN in sdp.raw:
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
