"""What the command line says, where the policy does not."""

from dataclasses import dataclass
from pathlib import Path

from sipguard.edge.busy_poll import LIMIT_US
from sipguard.edge.from_policy import plan_of
from sipguard.edge.plan import SAMPLE_GROUP, Plan
from sipguard.policy.rules import Policy


@dataclass(frozen=True)
class Settings:
    """What the command line says, where the policy does not."""

    policy_file: str
    state_dir: Path
    queues: tuple[int, int] = (0, 0)
    interfaces: tuple[str, ...] = ()
    mode: str = ""
    fail_open: bool = False
    media_queue: int | None = None  # None: the number after the last of queues
    sample_group: int = SAMPLE_GROUP
    busy_poll_us: int = LIMIT_US

    def plan(self, policy: Policy) -> Plan:
        """Return the plan of the rules for *policy* with these settings.

        Raises:
            EdgeError: Rules that cannot be.
        """
        return plan_of(
            policy,
            queues=self.queues,
            interfaces=self.interfaces,
            fail_open=self.fail_open,
            mode=self.mode,
            media_queue=self.media_queue,
            sample_group=self.sample_group,
        )
