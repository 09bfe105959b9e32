"""Our rules in the kernel: installed as a whole or not at all, and the sets behind them.

Programs (``nft``, ``iptables-nft``) are started at install and removal alone.
While packets wait, pinholes and bans travel by netlink in this process, and
are in force when :meth:`Netfilter.apply` returns, so that media cannot outrun
its hole.
"""

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from twisted.logger import Logger

from sipguard.edge import programs
from sipguard.edge.iptables import iptables_removal, iptables_script
from sipguard.edge.netlink import (
    Change,
    Counter,
    NetlinkRefused,
    NftSocket,
    Operation,
    concatenated,
)
from sipguard.edge.plan import Plan, StreamTransports
from sipguard.edge.rules import nft_script, purge_chains, render_rules
from sipguard.errors import EdgeError
from sipguard.verdict import ClosePinhole, Effect, Hole, OpenPinhole

__all__ = ["Netfilter", "OpenHole", "Plan", "StreamTransports", "render_rules"]

_ADD: Final = Operation.ADD
_PORT_OCTETS: Final = 2


class OpenHole(NamedTuple):
    """A pinhole as the kernel knows it; counts cover its packets since it was opened."""

    hole: Hole
    expires_s: float
    packets: int
    octets: int


class Totals(NamedTuple):
    """What this process asked of the kernel."""

    opened: int
    closed: int
    refused: int
    bans: int


class Netfilter:
    """The kernel's half of the guard, for one :class:`Plan` in this network namespace.

    Needs CAP_NET_ADMIN. Not safe for threads: one reactor owns it.
    """

    log = Logger()

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._link: NftSocket | None = None
        self._sets = plan.idle_sets
        self.destroys, self.renews = _abilities(os.uname().release)
        self._opened = self._closed = self._refused = self._banned = 0
        self._closed_now: set[Hole] = set()
        self._closed_before: set[Hole] = set()

    # --- installing

    def install(self) -> None:
        """Put the rules in force; pinholes and bans of an earlier run stay as they are.

        Raises:
            EdgeError: what the machine lacks; everything is as it was before.
        """
        undo: list[Callable[[], None]] = []
        try:
            queue_by_nft = programs.has_nft_queue(self.plan.table)
            before = programs.nft_listing(self.plan.table)
            plan = self._adopt(self.plan) if before else self.plan
            undo.append(self._nft_undo(plan, before))
            programs.nft(nft_script(plan, queue_by_nft=queue_by_nft))
            for family in programs.iptables_families(needed=not queue_by_nft):
                present = family.rules_naming(plan.chain)
                undo.append(self._iptables_undo(plan, family, present))
                # With nft's own queue, a chain left by another kernel must go.
                script = (
                    iptables_removal(plan, present)
                    if queue_by_nft
                    else iptables_script(plan, present)
                )
                family.restore(script)
            self._connect(plan)
        except EdgeError:
            for step in reversed(undo):
                self._undo(step)
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
        if self._link is not None:
            self._link.close()
            self._link = None
        if keep:
            return
        for family in programs.iptables_families(needed=False):
            family.restore(iptables_removal(self.plan, family.rules_naming(self.plan.chain)))
        if programs.nft_listing(self.plan.table):
            programs.nft(f"delete table inet {self.plan.table}\n")

    def _connect(self, plan: Plan) -> None:
        if self._link is not None:
            self._link.close()
        self._sets = plan.idle_sets
        self._link = NftSocket(plan.table)
        self._link.counters()  # says now, not at the first call, when netlink is refused

    def _adopt(self, plan: Plan) -> Plan:
        """Return *plan* with the idle times of sets that are in the kernel already."""
        present = programs.nft_sets(plan.table)
        if "pinholes4" not in present:
            raise EdgeError(
                f"nft table inet {plan.table} exists and is not ours; "
                "remove it or choose another table name"
            )
        return programs.with_sets_of(plan, present)

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

    def apply(self, effects: Sequence[Effect]) -> tuple[OpenPinhole | ClosePinhole, ...]:
        """Open and close pinholes in one transaction; they are in force on return.

        Replies among *effects* are not ours and are passed over. For one
        hole, the last effect counts.

        Returns:
            What the kernel refused (a full set, above all); counted and logged.
        """
        final: dict[Hole, OpenPinhole | ClosePinhole] = {}
        for effect in effects:
            if isinstance(effect, OpenPinhole | ClosePinhole):
                final[effect.hole] = effect
        if not final:
            return ()
        wanted = final.values()
        try:
            self._commit(self._changes(wanted))
        except NetlinkRefused:
            # One bad element undid its neighbors: find it, so that it alone pays.
            refused = tuple(effect for effect in wanted if not self._apply_alone(effect))
        else:
            refused = ()
        self._remember(wanted, refused)
        return refused

    def settle(self) -> None:
        """Close again what was closed a while ago; call about once a second.

        A packet that the kernel was judging at the very moment of the close
        can have found the element before, and refreshed (so: recreated) it
        after. Once may be luck; a flood during BYE would make it a method.
        """
        again = list(self._closed_before)
        self._closed_before, self._closed_now = self._closed_now, set()
        if again:
            try:
                self._commit(list(self._forget(again)))
            except NetlinkRefused as refusal:
                self.log.warn("could not confirm closed pinholes: {refusal}", refusal=refusal)

    def ban(self, address: bytes, duration_s: int) -> bool:
        """Drop everything this source sends through us for *duration_s*; False if refused."""
        name = "bans4" if len(address) == 4 else "bans6"
        try:
            self._commit(
                [*self._absent(name, [address]), Change(_ADD, name, [address], duration_s)]
            )
        except NetlinkRefused as refusal:
            self.log.warn("ban refused: {refusal}", refusal=refusal)
            self._refused += 1
            return False
        self._banned += 1
        return True

    def unban(self, address: bytes) -> None:
        """Let the source speak again."""
        self._commit(self._absent("bans4" if len(address) == 4 else "bans6", [address]))

    # --- looking

    def counters(self) -> dict[str, Counter]:
        """Return the ruleset's named counters (see ``rules.COUNTERS``)."""
        return self._connected().counters()

    def totals(self) -> Totals:
        """Return what this process asked of the kernel since it started."""
        return Totals(self._opened, self._closed, self._refused, self._banned)

    def pinholes(self) -> list[OpenHole]:
        """List the open pinholes; for status and after a restart, not on a packet's way."""
        found = []
        for suffix, _ in self._sets:
            for name, octets in ((f"pinholes4{suffix}", 4), (f"pinholes6{suffix}", 16)):
                for element in self._connected().elements(name):
                    hole = _hole(element.key, octets)
                    # The look-up and the refresh both run the element's counter.
                    halves = element.packets // 2, element.octets // 2
                    found.append(OpenHole(hole, element.expires_s, *halves))
        return found

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

    def _commit(self, changes: Sequence[Change]) -> None:
        self._connected().commit(changes)

    def _changes(self, effects: Iterable[OpenPinhole | ClosePinhole]) -> list[Change]:
        """Return the transaction: first what must be gone, then what must stand."""
        closing: list[Hole] = []
        opening: dict[tuple[str, int], list[bytes]] = {}
        for effect in effects:
            if isinstance(effect, ClosePinhole):
                closing.append(effect.hole)
            else:
                at = self._set_for(effect.hole, effect.idle_s), effect.idle_s
                opening.setdefault(at, []).append(_key(effect.hole))
        changes = list(self._forget(closing))
        for (name, idle_s), keys in opening.items():
            if not self.renews:
                changes += self._absent(name, keys)
            changes.append(Change(_ADD, name, keys, idle_s))
        return changes

    def _forget(self, holes: Iterable[Hole]) -> Iterator[Change]:
        """Yield what makes *holes* absent from every set that may have them."""
        families: dict[str, list[bytes]] = {}
        for hole in holes:
            family = "pinholes4" if len(hole.source) == 4 else "pinholes6"
            families.setdefault(family, []).append(_key(hole))
        for family, keys in families.items():
            for suffix, _ in self._sets:
                yield from self._absent(family + suffix, keys)

    def _absent(self, name: str, keys: list[bytes]) -> list[Change]:
        """Return changes after which *keys* are missing, whether or not they were there.

        A plain delete of an element that has expired meanwhile fails the
        whole transaction, and costs 5 to 15 ms. Before Linux 6.3, adding it
        first makes sure that it is there.
        """
        if self.destroys:
            return [Change(Operation.DESTROY, name, keys)]
        return [Change(_ADD, name, keys, 1), Change(Operation.DELETE, name, keys)]

    def _set_for(self, hole: Hole, idle_s: int) -> str:
        """Return the set whose refresh keeps *idle_s*; the next longer one if there is none."""
        fitting = [(idle, suffix) for suffix, idle in self._sets if idle >= idle_s]
        suffix = min(fitting)[1] if fitting else max((i, s) for s, i in self._sets)[1]
        return ("pinholes4" if len(hole.source) == 4 else "pinholes6") + suffix

    def _apply_alone(self, effect: OpenPinhole | ClosePinhole) -> bool:
        try:
            self._commit(self._changes([effect]))
        except NetlinkRefused as refusal:
            full = refusal.code == errno.ENFILE
            self.log.error(
                "pinhole {hole} refused: {why}",
                hole=effect.hole,
                why=f"the set is full ({self.plan.max_pinholes})" if full else str(refusal),
            )
            return False
        return True

    def _remember(
        self,
        wanted: Iterable[OpenPinhole | ClosePinhole],
        refused: tuple[OpenPinhole | ClosePinhole, ...],
    ) -> None:
        self._refused += len(refused)
        for effect in wanted:
            if isinstance(effect, ClosePinhole):
                self._closed += 1
                self._closed_now.add(effect.hole)
            else:
                self._opened += 1
                self._closed_now.discard(effect.hole)
                self._closed_before.discard(effect.hole)


def _key(hole: Hole) -> bytes:
    return concatenated(hole.source, hole.destination, hole.port.to_bytes(_PORT_OCTETS, "big"))


def _hole(key: bytes, octets: int) -> Hole:
    port = int.from_bytes(key[2 * octets : 2 * octets + _PORT_OCTETS], "big")
    return Hole(key[:octets], key[octets : 2 * octets], port)


def _abilities(release: str) -> tuple[bool, bool]:
    """Return whether this kernel forgives a missing element, and whether adding renews a timeout.

    DESTROYSETELEM came with Linux 6.3, the second with 6.12; a distribution
    that carried them back merely gets the longer way.
    """
    numbers = [int(part) for part in release.split("-")[0].split(".")[:2] if part.isdigit()]
    version = (*numbers, 0, 0)[:2]
    return version >= (6, 3), version >= (6, 12)
