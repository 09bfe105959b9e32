"""The direct path beside the rules: it follows the very transactions that change their sets.

What a transaction takes out of *proven* leaves the program's table first, so that no packet
goes directly that the rules would no longer let pass. What it puts in follows when it is
in force. Where this machine cannot do it, media goes the routed way, and the log and the
status say so.
"""

import dataclasses
from collections.abc import Sequence
from typing import Final

from twisted.logger import Logger

from sipguard.edge.direct.interfaces import has_ipsec_policies, interfaces
from sipguard.edge.direct.table import Table
from sipguard.edge.listing import IdleClasses, alive
from sipguard.edge.netlink import NftSocket
from sipguard.edge.nft_messages import Change, Gone, Operation
from sipguard.edge.plan import Plan
from sipguard.edge.proofs import Proofs, hole_key_of
from sipguard.errors import EdgeError

_PROVEN: Final = ("proven4", "proven6")
_ALIVE: Final = "alive"
_ADD: Final = Operation.ADD
# A proof follows a packet that had just passed its pinhole, at the latest after a quarter.
_OF_A_PROOF: Final = 0.5


class DirectPath:
    """At most one table, and why there is none.

    Args:
        proofs: What is proven; counts of what is taken out too early are kept there.
    """

    log = Logger()

    def __init__(self, proofs: Proofs) -> None:
        self._proofs = proofs
        self._table: Table | None = None
        self._next: Table | None = None
        self._names: tuple[str, ...] = ()
        self._why_not = ""

    # --- with the rules

    def prepare(self, plan: Plan) -> Plan:
        """Load what *plan* asks for, not yet in force; return the plan that this machine can do."""
        self.abandon()
        if not plan.direct:
            self._why_not = ""
            return plan
        idle_s = min(idle for _, idle in plan.idle_classes)
        if self._table is not None and self._table.idle_s == idle_s:
            return plan
        try:
            self._next = Table(idle_s)
        except EdgeError as refusal:
            self._refuse(str(refusal))
            return dataclasses.replace(plan, direct=False)
        return plan

    def abandon(self) -> None:
        """Let go of what was prepared: the rules did not come into force."""
        if self._next is not None:
            self._next.close()
            self._next = None

    def enter(self, plan: Plan, link: NftSocket) -> None:
        """Be what *plan* says, whose rules are in force."""
        self._names = plan.interfaces
        if not plan.direct:
            self.close()
            return
        if self._next is not None:
            self.close()
            self._table, self._next = self._next, None
            self._why_not = ""
            self.fill(plan.idle_classes, link)
        self.look()

    def fill(self, idle_classes: IdleClasses, link: NftSocket) -> None:
        """Take in what is proven already; it lists the pinholes that live, 10 us each."""
        table = self._table
        if table is None or not len(self._proofs):
            return
        for family in ("4", "6"):
            left_s = alive(link, family, idle_classes)
            for hole_key, seconds in left_s.items():
                # The listing took its time, and shortening it is no loss.
                table.arm(self._proofs.of(hole_key), seconds / 2 - 1)

    def forget(self) -> None:
        """Forward nothing directly that was proven by now: the sets are new, or gone."""
        if self._table is not None:
            self._keep(self._table.take_all())

    def look(self) -> None:
        """See to interfaces that came and went; stand aside where IPsec wants its packets."""
        table = self._table
        if table is None:
            return
        before = table.linked()
        try:
            has_ipsec = has_ipsec_policies()
            table.link_to([] if has_ipsec else interfaces(), self._names)
            self._keep(table.take_aged())
        except EdgeError as refusal:
            self.close()
            self._refuse(str(refusal))
            return
        after = table.linked()
        nowhere = "" if after else "there is no Ethernet interface"
        self._why_not = "the kernel has IPsec policies" if has_ipsec else nowhere
        if after != before:
            self.log.info("proven media: {path}", path=self.told())

    def close(self) -> None:
        """Have all media go the routed way, and keep what was counted."""
        self.forget()
        if self._table is not None:
            self._table.close()
            self._table = None

    # --- with each change

    def commit(self, link: NftSocket, changes: Sequence[Change]) -> list[Gone]:
        """Carry out a transaction, with what it means for the direct path.

        Returns:
            The elements that went, and what they counted on either way.

        Raises:
            NetlinkRefused: Nothing of it is in force; what it would have taken goes routed.
        """
        table = self._table
        if table is None:
            return link.commit(changes)
        doomed = {key for change in changes if _takes(change) for key in change.keys}
        taken = table.take(doomed) if doomed else []
        try:
            gone = link.commit(changes)
        except EdgeError:
            self._keep(taken)
            raise
        self._follow(table, changes, doomed)
        return gone + taken

    def _follow(self, table: Table, changes: Sequence[Change], doomed: set[bytes]) -> None:
        for change in changes:
            if change.operation is not _ADD:
                continue
            if change.set_name in _PROVEN:
                table.arm(change.keys, table.idle_s * _OF_A_PROOF)
            elif change.set_name.startswith(_ALIVE) and len(self._proofs):
                for hole_key in change.keys:
                    known = [key for key in self._proofs.of(hole_key) if key not in doomed]
                    table.arm(known, change.timeout_s * 0.75)

    def _keep(self, gone: Sequence[Gone]) -> None:
        for element in gone:
            self._proofs.count(hole_key_of(element.key), element.packets, element.octets)

    # --- for status

    def told(self) -> str:
        """Return which way proven media goes, in words."""
        if self._table is None or not self._table.linked():
            return f"routed, not direct: {self._why_not}" if self._why_not else "routed"
        return f"direct from {', '.join(self._table.linked())}"

    def counts(self) -> dict[str, int]:
        """Return what there is to count; nothing where there is no table."""
        if self._table is None:
            return {}
        return {"direct_sources": len(self._table), "direct_left_out": self._table.left_out}

    def _refuse(self, why: str) -> None:
        self._why_not = why
        self.log.error("media-path direct is not in force, media is routed: {why}", why=why)


def _takes(change: Change) -> bool:
    return change.operation is not _ADD and change.set_name in _PROVEN
