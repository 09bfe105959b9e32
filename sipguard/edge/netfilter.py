"""Our rules in the kernel: installed as a whole or not at all, and the sets behind them.

Programs (``nft``, ``iptables-nft``, ``ip``) are started at install and removal alone.
While packets wait, pinholes and bans travel by netlink in this process, and
are in force when :meth:`Netfilter.apply` returns, so that media cannot outrun
its hole.
"""

import errno
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from twisted.logger import Logger

from sipguard.edge import programs
from sipguard.edge.direct.path import DirectPath
from sipguard.edge.diverting import divert
from sipguard.edge.elements import PinholeEffect, Sets, Tally, Wanted, settle
from sipguard.edge.iptables import iptables_removal, iptables_script
from sipguard.edge.listing import OpenHole, alive, open_holes
from sipguard.edge.netlink import NetlinkRefused, NftSocket, abilities
from sipguard.edge.nft_messages import Change, Counter, Gone, Operation
from sipguard.edge.plan import Plan, StreamTransports
from sipguard.edge.proofs import Proofs, hole_key_of
from sipguard.edge.routing import routings
from sipguard.edge.rules import nft_script, purge_chains, render_rules
from sipguard.errors import EdgeError
from sipguard.verdict import Effect, OpenPinhole

__all__ = ["Applied", "Netfilter", "OpenHole", "Plan", "StreamTransports", "Tally", "render_rules"]

_ADD: Final = Operation.ADD


class Applied(NamedTuple):
    """What became of some effects."""

    refused: tuple[PinholeEffect, ...]  # by the kernel: a full set, above all
    tallies: tuple[Tally, ...]  # of the pinholes that were closed and had been open


_NOTHING: Final = Applied((), ())


class Totals(NamedTuple):
    """What this process asked of the kernel."""

    opened: int
    closed: int
    refused: int
    bans: int
    proven: int = 0
    doubted: int = 0


class Netfilter:
    """The kernel's half of the guard, for one :class:`Plan` in this network namespace.

    Needs CAP_NET_ADMIN. Not safe for threads: one reactor owns it.
    """

    log = Logger()

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._link: NftSocket | None = None
        self._idle_classes = plan.idle_classes
        self.destroys, self.renews = abilities()
        self._proofs = Proofs(plan.max_pinholes)
        self.direct = DirectPath(self._proofs)
        self._opened = self._closed = self._refused = self._banned = 0
        self._proven = self._doubted = 0

    # --- installing

    def install(self) -> None:
        """Put the rules in force; pinholes and bans of an earlier run stay as they are.

        Raises:
            EdgeError: what the machine lacks; everything is as it was before.
        """
        undo: list[Callable[[], None]] = []
        try:
            zones_by_nft = not self.plan.ipsec_zones or programs.has_nft_ipsec(self.plan.table)
            # One way for both: iptables' marks must be set before the queue, and in no other order.
            queue_by_nft = programs.has_nft_queue(self.plan.table) and zones_by_nft
            before = programs.nft_listing(self.plan.table)
            present = programs.nft_sets(self.plan.table) if before else {}
            plan = self._adopt(self.plan, present) if before else self.plan
            plan = divert(plan, undo, zones_by_nft=zones_by_nft)
            has_gate, had_gate = plan.has_gate, "proven4" in present
            if not had_gate:
                self.direct.forget()  # nothing is proven any more, whoever emptied the ruleset
            plan = self.direct.prepare(plan)
            undo.append(self._nft_undo(plan, before))
            programs.nft(
                nft_script(
                    plan,
                    queue_by_nft=queue_by_nft,
                    defrag_by_tproxy=has_gate and programs.has_nft_tproxy(plan.table),
                    had_gate=had_gate,
                    zones_by_nft=zones_by_nft,
                )
            )
            for family in programs.iptables_families(needed=not queue_by_nft):
                jumps = family.rules_naming(plan.chain)
                undo.append(self._iptables_undo(plan, family, jumps))
                # With nft's own queue, a chain left by another kernel must go.
                family.restore(
                    iptables_removal(plan, jumps)
                    if queue_by_nft
                    else iptables_script(plan, jumps, zones_by_nft=zones_by_nft)
                )
            self._connect(plan)
            if not (had_gate and has_gate):
                self._proofs.clear()  # the sets are new, or gone
            self.direct.enter(plan, self._connected())
        except EdgeError:
            self.direct.abandon()
            for step in reversed(undo):
                self._undo(step)
            raise

    def reinstall(self, plan: Plan) -> None:
        """Replace the rules by those of another policy, media untouched; all or nothing, too."""
        before, self.plan = self.plan, plan
        try:
            if plan.table != before.table:
                raise EdgeError("the table's name cannot change while it is in use")
            self.install()
        except EdgeError:
            self.plan = before
            raise

    def attach(self) -> None:
        """Use the sets that another process installed (a second worker), installing nothing."""
        if not programs.nft_listing(self.plan.table):
            raise EdgeError(f"table inet {self.plan.table} is not installed")
        self._connect(self.plan)

    def remove(self, *, keep: bool = False) -> None:
        """Take everything out, or with *keep* leave it for running media (``on-exit keep``).

        What is kept still refuses SIP that nobody judges, unless the plan
        says fail-open.
        """
        self.direct.close()
        if self._link is not None:
            self._link.close()
            self._link = None
        if keep:
            return
        failures = []
        for step in (self._remove_queue_rules, self._remove_table, self._remove_routes):
            try:
                step()
            except EdgeError as refusal:
                failures.append(str(refusal))
        if failures:
            raise EdgeError("not everything could be removed: " + "; ".join(failures))

    def _remove_queue_rules(self) -> None:
        for family in programs.iptables_families(needed=False):
            family.restore(iptables_removal(self.plan, family.rules_naming(self.plan.chain)))

    def _remove_table(self) -> None:
        if programs.nft_listing(self.plan.table):
            programs.nft(f"delete table inet {self.plan.table}\n")

    def _remove_routes(self) -> None:
        if self.plan.diversions:
            for routing in routings(self.plan):
                routing.remove()

    def _connect(self, plan: Plan) -> None:
        if self._link is not None:
            self._link.close()
        self._idle_classes = plan.idle_classes
        self._link = NftSocket(plan.table)
        self._link.counters()  # says now, not at the first call, when netlink is refused

    def _adopt(self, plan: Plan, present: dict[str, int]) -> Plan:
        """Return *plan* with the idle times of sets that are in the kernel already."""
        if "pinholes4" not in present:
            raise EdgeError(
                f"nft table inet {plan.table} exists and is not ours; "
                "remove it or choose another table name"
            )
        fitted = programs.with_sets_of(plan, present)
        if fitted.max_pinholes != plan.max_pinholes:
            self.log.warn(
                "room for pinholes stays {old} instead of {new} until the rules are removed once",
                old=fitted.max_pinholes,
                new=plan.max_pinholes,
            )
        return fitted

    @staticmethod
    def _nft_undo(plan: Plan, before: str) -> Callable[[], None]:
        if before:
            back = "\n".join([*purge_chains(plan.table), before])
        else:
            back = f"add table inet {plan.table}\ndelete table inet {plan.table}\n"
        return lambda: programs.nft(back)

    @staticmethod
    def _iptables_undo(
        plan: Plan, family: programs.Iptables, before: Sequence[str]
    ) -> Callable[[], None]:
        def back() -> None:
            family.restore(iptables_removal(plan, family.rules_naming(plan.chain)))
            if before:
                family.restore("\n".join(["*mangle", *before, "COMMIT", ""]))

        return back

    def _undo(self, step: Callable[[], None]) -> None:
        try:
            step()
        except EdgeError as refusal:
            self.log.error("could not roll back: {refusal}", refusal=refusal)

    # --- pinholes and bans

    def apply(self, effects: Sequence[Effect]) -> Applied:
        """Open, close, prove and doubt in one transaction; it is in force on return.

        Replies among *effects* are not ours and are passed over. For one
        hole, the last effect counts, and so for one source of it.

        Returns:
            What the kernel refused, counted and logged; what passed through the closed.
        """
        wanted = Wanted(effects)
        if wanted.proofs or wanted.doubts:
            wanted.refuse_proofs(self._proofs, self.plan.has_gate)
        refused = wanted.impossible
        if not (wanted.holes or wanted.proofs or wanted.doubts or refused):
            return _NOTHING
        try:
            tallies = self._carry_out(wanted)
        except NetlinkRefused:
            # One bad element undid its neighbors: find it, so that it alone pays.
            tallies = []
            for effect in wanted.effects():
                told = self._apply_alone(effect)
                if told is None:
                    refused.append(effect)
                else:
                    tallies += told
        self._refused += len(refused)
        return Applied(tuple(refused), tuple(tallies))

    def _carry_out(self, wanted: Wanted) -> list[Tally]:
        holes = wanted.holes
        gone = self._commit(self._sets().changes(wanted))
        opened = sum([isinstance(effect, OpenPinhole) for effect in holes.values()])
        self._opened += opened
        self._closed += len(holes) - opened
        self._proven += len(wanted.proofs)
        self._doubted += len(wanted.doubts)
        return settle(wanted, gone, self._proofs)

    def forget_silent(self) -> int:
        """Free the sets of pinholes that fell silent and that nobody closed; return how many.

        For the start, after :meth:`install`: those of a process that was
        killed. What it had proven and is not silent stays so, and goes with
        its pinhole. It lists the sets whole, 10 us an element.
        """
        silent = 0
        for family in ("4", "6"):
            left_s = alive(self._connected(), family, self._idle_classes)
            listed = [element.key for element in self._connected().elements(f"pinholes{family}")]
            keys = [key for key in listed if key not in left_s]
            proven = self._adopt_proofs(family, left_s)
            self._commit(
                [
                    *self._sets().absent(f"proven{family}", proven),
                    *self._sets().absent(f"pinholes{family}", keys),
                ]
            )
            silent += len(keys)
        self.direct.fill(self._idle_classes, self._connected())
        return silent

    def _adopt_proofs(self, family: str, left_s: dict[bytes, float]) -> list[bytes]:
        """Remember the proofs that an earlier process left; return those of silent pinholes."""
        if not self.plan.has_gate:
            return []
        silent = []
        for element in self._connected().elements(f"proven{family}"):
            if hole_key_of(element.key) in left_s:
                self._proofs.adopt(element.key)
            else:
                silent.append(element.key)
        return silent

    def ban(self, address: bytes, duration_s: int) -> bool:
        """Drop everything this source sends through us for *duration_s*; False if refused."""
        name = "bans4" if len(address) == 4 else "bans6"
        sets = self._sets()
        proven = self._proofs.sent_by(address)
        try:
            gone = self._commit(
                [
                    *sets.absent(f"proven{name[-1]}", proven, told=True),
                    *sets.absent(name, [address]),
                    Change(_ADD, name, [address], duration_s),
                ]
            )
        except NetlinkRefused as refusal:
            self.log.warn("ban refused: {refusal}", refusal=refusal)
            self._refused += 1
            return False
        for key in proven:
            self._proofs.remove(key)
        settle(Wanted(()), gone, self._proofs)
        self._banned += 1
        return True

    def unban(self, address: bytes) -> None:
        """Let the source speak again."""
        self._commit(self._sets().absent("bans4" if len(address) == 4 else "bans6", [address]))

    # --- looking

    def counters(self) -> dict[str, Counter]:
        """Return the ruleset's named counters (see ``rules.COUNTERS``)."""
        return self._connected().counters()

    def totals(self) -> Totals:
        """Return what this process asked of the kernel since it started."""
        return Totals(
            self._opened, self._closed, self._refused, self._banned, self._proven, self._doubted
        )

    def sources(self) -> int:
        """Return how many pinholes have a proven source now."""
        return len(self._proofs)

    def pinholes(self) -> list[OpenHole]:
        """List the pinholes that media may use; for status, not on a packet's way."""
        has_gate = self.plan.has_gate
        return open_holes(self._connected(), self._idle_classes, has_gate)

    def bans(self) -> dict[bytes, float]:
        """Return banned addresses with the seconds they have left."""
        return {
            element.key: element.expires_s
            for name in ("bans4", "bans6")
            for element in self._connected().elements(name)
        }

    # --- below

    def _connected(self) -> NftSocket:
        if self._link is None:
            raise EdgeError("the kernel rules are not installed")
        return self._link

    def _commit(self, changes: Sequence[Change]) -> list[Gone]:
        return self.direct.commit(self._connected(), changes)

    def _sets(self) -> Sets:
        return Sets(self._idle_classes, self.destroys, self.renews, self._proofs)

    def _apply_alone(self, effect: PinholeEffect) -> list[Tally] | None:
        """Carry out one effect; return its tallies, or None where the kernel refuses."""
        try:
            return self._carry_out(Wanted([effect]))
        except NetlinkRefused as refusal:
            full = refusal.code == errno.ENFILE
            self.log.error(
                "pinhole {hole} refused: {why}",
                hole=effect.hole,
                why=f"the set is full ({self.plan.max_pinholes})" if full else str(refusal),
            )
            return None
