"""What does not go together with media that is forwarded directly, and what it goes past."""

from collections.abc import Sequence
from typing import Final

from sipguard.policy.problems import Problems
from sipguard.policy.rules import Policy
from sipguard.policy.syntax import Setting

NAME: Final = "media-path"
SKIPPED: Final = (
    "media-path direct: but for a packet of each stream every two seconds or so, proven media goes "
    "past other tables' rules, NAT, reverse path filters, routing by marks, and tc filters behind "
    "ours"
)


def check_media_path(policy: Policy, settings: Sequence[Setting], problems: Problems) -> None:
    """Report what ``media-path direct`` cannot stand beside, and say what it means."""
    if policy.media_path != "direct":
        return
    at = next(setting.name.at for setting in settings if setting.name.text == NAME)
    if not policy.proof_within_s:
        what = "media-path direct with media-proof off: nothing is proven, so nothing goes directly"
        problems.error(at, what, "leave out one of them")
    if policy.zones and policy.zones.reqids:
        what = "media-path direct beside zones of IPsec: media would go past its policies"
        problems.error(at, what, "write media-path routed")
    problems.warn(at, SKIPPED, "README.md, Kernel rules, has the list")
