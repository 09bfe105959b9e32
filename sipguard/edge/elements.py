"""From pinholes to changes of the kernel's sets; compiled, for it runs while media waits."""

from collections.abc import Sequence
from typing import Final, final

from sipguard.edge.nft_messages import Change, Operation
from sipguard.verdict import ClosePinhole, Effect, Hole, OpenPinhole

# Silence closes a hole long before. This frees the element of a process that was
# killed, and bounds a call that nobody ended.
LONGEST_CALL_S: Final = 7 * 24 * 3600

PinholeEffect = OpenPinhole | ClosePinhole
_ADD: Final = Operation.ADD
_DELETE: Final = Operation.DELETE
_DESTROY: Final = Operation.DESTROY


def sort_out(effects: Sequence[Effect]) -> tuple[dict[bytes, PinholeEffect], list[PinholeEffect]]:
    """Return by key what counts for each hole, the last, and what no set can hold.

    Replies among *effects* are passed over. What cannot be is a bug of ours,
    and must not shift a key's octets.
    """
    final_effects: dict[bytes, PinholeEffect] = {}
    impossible: list[PinholeEffect] = []
    for effect in effects:
        if isinstance(effect, (OpenPinhole, ClosePinhole)):
            hole = effect.hole
        else:
            continue
        octets = len(hole.source)
        if octets == len(hole.destination) and octets in (4, 16) and 0 < hole.port < 65536:
            final_effects[key_of(hole)] = effect
        else:
            impossible.append(effect)
    return final_effects, impossible


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
    """

    __slots__ = ("_destroys", "_idle_classes", "_renews")

    def __init__(
        self, idle_classes: tuple[tuple[str, int], ...], destroys: bool, renews: bool
    ) -> None:
        self._idle_classes = idle_classes
        self._destroys = destroys
        self._renews = renews

    def changes(self, effects: dict[bytes, PinholeEffect]) -> list[Change]:
        """Return the transaction: first what must be gone, then what must stand."""
        closing: dict[str, list[bytes]] = {}
        opening: dict[str, dict[int, list[bytes]]] = {}
        for key, effect in effects.items():
            family = "4" if len(key) == 12 else "6"
            if isinstance(effect, OpenPinhole):
                # A timeout of 0 would mean: never.
                idle_s = max(1, effect.idle_s)
                opening.setdefault(family, {}).setdefault(idle_s, []).append(key)
            else:
                closing.setdefault(family, []).append(key)
        changes: list[Change] = []
        for family, keys in closing.items():
            changes += self.absent("pinholes" + family, keys)
            for suffix, _ in self._idle_classes:
                changes += self.absent("alive" + family + suffix, keys)
        for family, by_idle in opening.items():
            for idle_s, keys in by_idle.items():
                changes += self._opening(family, idle_s, keys)
        return changes

    def _opening(self, family: str, idle_s: int, keys: list[bytes]) -> list[Change]:
        changes = [Change(_ADD, "pinholes" + family, keys, LONGEST_CALL_S)]
        own = self._idle_class(idle_s)
        for suffix, _ in self._idle_classes:
            # Elsewhere it may still live from before, by the idle time of another rule.
            if suffix != own or not self._renews:
                changes += self.absent("alive" + family + suffix, keys)
        changes.append(Change(_ADD, "alive" + family + own, keys, idle_s))
        return changes

    def absent(self, name: str, keys: list[bytes]) -> list[Change]:
        """Return changes after which *keys* are missing, whether or not they were there.

        A plain delete of an element that has expired meanwhile fails the
        whole transaction, and costs 5 to 15 ms. Before Linux 6.3, adding it
        first makes sure that it is there.
        """
        if self._destroys:
            return [Change(_DESTROY, name, keys)]
        return [Change(_ADD, name, keys, 1), Change(_DELETE, name, keys)]

    def _idle_class(self, idle_s: int) -> str:
        """Return the suffix of the set for *idle_s*: the next longer one, or the longest."""
        if len(self._idle_classes) == 1:
            return self._idle_classes[0][0]
        longer = [(idle, suffix) for suffix, idle in self._idle_classes if idle >= idle_s]
        if longer:
            return min(longer)[1]
        return max([(idle, suffix) for suffix, idle in self._idle_classes])[1]
