"""From pinholes and proofs to changes of the kernel's sets; compiled: it runs while media waits."""

from collections.abc import Sequence
from typing import Final, final

from sipguard.edge.nft_messages import Change, Gone, Operation
from sipguard.edge.proofs import Proofs, hole_key_of, is_proof, port_key, proof_key
from sipguard.verdict import (
    ClosePinhole,
    DoubtPinhole,
    Effect,
    Hole,
    OpenPinhole,
    ProvePinhole,
)

# Silence closes a hole long before. This frees the element of a process that was
# killed, and bounds a call that nobody ended.
LONGEST_CALL_S: Final = 7 * 24 * 3600

HoleEffect = OpenPinhole | ClosePinhole
PinholeEffect = OpenPinhole | ClosePinhole | ProvePinhole | DoubtPinhole

_ADD: Final = Operation.ADD
_DELETE: Final = Operation.DELETE
_DESTROY: Final = Operation.DESTROY
_NOTHING_COUNTED: Final = (0, 0)


@final
class Tally:
    """What passed through a pinhole by the time it was closed; octets as IP counts them."""

    __slots__ = ("hole", "octets", "packets")

    def __init__(self, hole: Hole, packets: int, octets: int) -> None:
        self.hole = hole
        self.packets = packets
        self.octets = octets

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Tally):
            return NotImplemented
        mine = self.hole, self.packets, self.octets
        return mine == (other.hole, other.packets, other.octets)

    def __hash__(self) -> int:
        return hash((self.hole, self.packets, self.octets))

    def __repr__(self) -> str:
        return f"Tally({self.hole!r}, packets={self.packets}, octets={self.octets})"


@final
class Wanted:
    """What counts of some effects: for each pinhole and for each source, the last.

    Replies are passed over. What is *impossible* no set can hold: it is a bug of ours,
    and must not shift a key's octets.
    """

    __slots__ = ("doubts", "holes", "impossible", "proofs")

    def __init__(self, effects: Sequence[Effect]) -> None:
        self.holes: dict[bytes, HoleEffect] = {}
        self.proofs: dict[bytes, ProvePinhole] = {}
        self.doubts: dict[bytes, DoubtPinhole] = {}  # by port; carried out before any proof
        self.impossible: list[PinholeEffect] = []
        for effect in effects:
            if isinstance(effect, (OpenPinhole, ClosePinhole)):
                self._add_hole(effect)
            elif isinstance(effect, ProvePinhole):
                self._add_proof(effect)
            elif isinstance(effect, DoubtPinhole):
                self._add_doubt(effect)

    def _add_hole(self, effect: HoleEffect) -> None:
        if not _is_possible(effect.hole):
            self.impossible.append(effect)
            return
        key = key_of(effect.hole)
        self.holes[key] = effect
        if self.proofs and isinstance(effect, ClosePinhole):
            for source in [source for source in self.proofs if hole_key_of(source) == key]:
                del self.proofs[source]

    def _add_proof(self, effect: ProvePinhole) -> None:
        key = key_of(effect.hole)
        is_closed = isinstance(self.holes.get(key), ClosePinhole)
        if is_closed or not (_is_possible(effect.hole) and 0 < effect.source_port < 65536):
            self.impossible.append(effect)
            return
        self.proofs[proof_key(key, effect.source_port, effect.ssrc)] = effect

    def _add_doubt(self, effect: DoubtPinhole) -> None:
        if not (_is_possible(effect.hole) and 0 < effect.source_port < 65536):
            self.impossible.append(effect)
            return
        key = port_key(key_of(effect.hole), effect.source_port)
        for source in [source for source in self.proofs if source.startswith(key)]:
            del self.proofs[source]
        self.doubts[key] = effect

    def effects(self) -> list[PinholeEffect]:
        """Return what counts, in the order in which it is carried out."""
        return [*self.doubts.values(), *self.holes.values(), *self.proofs.values()]

    def refuse_proofs(self, proofs: Proofs, has_gate: bool) -> None:
        """Make impossible what there is no set for, or what could never be taken back."""
        if not has_gate:
            self.doubts.clear()
        for key, effect in list(self.proofs.items()):
            if not (has_gate and proofs.has_room(key)):
                del self.proofs[key]
                self.impossible.append(effect)


def _is_possible(hole: Hole) -> bool:
    octets = len(hole.source)
    return octets == len(hole.destination) and octets in (4, 16) and 0 < hole.port < 65536


def key_of(hole: Hole) -> bytes:
    """Return a hole as the sets have it."""
    # Each field of a key starts on a four-octet boundary, so the port is padded to one.
    return hole.source + hole.destination + (hole.port << 16).to_bytes(4, "big")


@final
class Sets:
    """The pinhole sets of one plan, and what this kernel can do with them.

    Args:
        idle_classes: Suffix and seconds of each set that closes what is silent.
        destroys: Whether the kernel forgives a missing element (Linux 6.3).
        renews: Whether adding an element renews its timeout (6.12).
        proofs: The sources that are proven; none where there is no media gate.
    """

    __slots__ = ("_destroys", "_idle_classes", "_proofs", "_renews")

    def __init__(
        self,
        idle_classes: tuple[tuple[str, int], ...],
        destroys: bool,
        renews: bool,
        proofs: Proofs,
    ) -> None:
        self._idle_classes = idle_classes
        self._destroys = destroys
        self._renews = renews
        self._proofs = proofs

    def changes(self, wanted: Wanted) -> list[Change]:
        """Return the transaction: first what must be gone, then what must stand."""
        closing: dict[str, list[bytes]] = {}
        opening: dict[tuple[str, int], list[bytes]] = {}
        doubted: dict[str, list[bytes]] = {}
        known = self._proofs if len(self._proofs) else None
        if known is not None:
            for key in wanted.doubts:
                family = "4" if len(key) == 12 else "6"
                doubted.setdefault(family, []).extend(known.of_port(key))
        for key, effect in wanted.holes.items():
            family = "4" if len(key) == 12 else "6"
            if isinstance(effect, OpenPinhole):
                # A timeout of 0 would mean: never.
                opening.setdefault((family, max(1, effect.idle_s)), []).append(key)
                sources = known.adopted(key) if known is not None else None
            else:
                closing.setdefault(family, []).append(key)
                sources = known.of(key) if known is not None else None
            if sources:
                gone = doubted.setdefault(family, [])
                gone += [source for source in sources if source not in gone]
        changes = self._proving(wanted.proofs, doubted) if wanted.proofs or doubted else []
        for family, keys in closing.items():
            changes += self.absent("pinholes" + family, keys, told=True)
            for suffix, _ in self._idle_classes:
                changes += self.absent("alive" + family + suffix, keys)
        for (family, idle_s), keys in opening.items():
            changes += self._open(family, idle_s, keys)
        return changes

    def _proving(
        self, proofs: dict[bytes, ProvePinhole], doubted: dict[str, list[bytes]]
    ) -> list[Change]:
        proven: dict[str, list[bytes]] = {}
        for key in proofs:
            proven.setdefault("4" if len(key) == 16 else "6", []).append(key)
        changes: list[Change] = []
        for family, keys_gone in doubted.items():
            if keys_gone:
                changes += self.absent("proven" + family, keys_gone, told=True)
        for family, keys_there in proven.items():
            changes.append(Change(_ADD, "proven" + family, keys_there, LONGEST_CALL_S))
        return changes

    def _open(self, family: str, idle_s: int, keys: list[bytes]) -> list[Change]:
        changes = [Change(_ADD, "pinholes" + family, keys, LONGEST_CALL_S)]
        own = self._idle_class(idle_s)
        for suffix, _ in self._idle_classes:
            # Elsewhere it may still live from before, by the idle time of another rule.
            if suffix != own or not self._renews:
                changes += self.absent("alive" + family + suffix, keys)
        changes.append(Change(_ADD, "alive" + family + own, keys, idle_s))
        return changes

    def absent(self, name: str, keys: list[bytes], told: bool = False) -> list[Change]:
        """Return changes after which *keys* are missing, whether or not they were there.

        A plain delete of an element that has expired meanwhile fails the
        whole transaction, and costs 5 to 15 ms. Before Linux 6.3, adding it
        first makes sure that it is there.
        """
        if self._destroys:
            return [Change(_DESTROY, name, keys, told=told)]
        return [Change(_ADD, name, keys, 1), Change(_DELETE, name, keys, told=told)]

    def _idle_class(self, idle_s: int) -> str:
        """Return the suffix of the set for *idle_s*: the next longer one, or the longest."""
        if len(self._idle_classes) == 1:
            return self._idle_classes[0][0]
        longer = [(idle, suffix) for suffix, idle in self._idle_classes if idle >= idle_s]
        if longer:
            return min(longer)[1]
        return max([(idle, suffix) for suffix, idle in self._idle_classes])[1]


def settle(wanted: Wanted, gone: list[Gone], known: Proofs) -> list[Tally]:
    """Write down what the kernel has carried out, and count what the closed pinholes let pass.

    Args:
        wanted: What was asked of it.
        gone: What the kernel told of elements that went.
        known: Where it is written down.
    """
    holes = wanted.holes
    passed: dict[bytes, tuple[int, int]] = {}
    for element in gone:
        key = hole_key_of(element.key) if is_proof(element.key) else element.key
        if isinstance(holes.get(key), ClosePinhole):
            packets, octets = passed.get(key, (0, 0))
            passed[key] = (packets + element.packets, octets + element.octets)
        else:
            known.count(key, element.packets, element.octets)
    for key in wanted.doubts:
        for source in known.of_port(key):
            known.remove(source)
    for key in wanted.proofs:
        known.add(key)
    tallies: list[Tally] = []
    is_nothing_known = known.is_empty
    for key, effect in holes.items():
        if isinstance(effect, OpenPinhole):
            if not is_nothing_known:
                known.disown(key)
            continue
        before = _NOTHING_COUNTED if is_nothing_known else known.close(key)
        if key in passed:
            packets, octets = passed[key]
            tallies.append(Tally(effect.hole, packets + before[0], octets + before[1]))
    return tallies
