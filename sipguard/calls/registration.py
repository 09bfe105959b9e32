"""Who registered which address-of-record from where (RFC 3261 section 10).

Only what a registrar accepted counts. A binding that was made from one host,
without credentials, and is to be changed from another is somebody taking over
the name: this registrar asks nobody for a password. Where the binding was
made with credentials the registrar is asked, for it will ask the newcomer: an
account may have two phones, and a phone may get another address.
"""

from typing import Final, final

from sipguard.calls.table import ALL, ExpiringTable
from sipguard.native import mypyc_attr

LONGEST_EXPIRES_S: Final = 7 * 86400


@final
@mypyc_attr(acyclic=True)
class Binding:
    """An address-of-record and the host its phone registered from."""

    __slots__ = ("expires_at_s", "proven", "source")

    def __init__(self, source: bytes, expires_at_s: float, proven: bool) -> None:
        self.source = source
        self.expires_at_s = expires_at_s
        self.proven = proven  # made with credentials


@final
class Registrations:
    """The bounded table of accepted bindings."""

    def __init__(self, capacity: int) -> None:
        self._table: ExpiringTable[bytes, Binding] = ExpiringTable(capacity)

    def __len__(self) -> int:
        return len(self._table)

    def is_foreign(self, aor: bytes, source: bytes, now_s: float) -> bool:
        """Whether another host holds *aor* now, and no password guards it."""
        binding = self._table.get(_name_of(aor))
        if binding is None or binding.proven:
            return False
        return binding.source != source and binding.expires_at_s > now_s

    def accepted(
        self, aor: bytes, source: bytes, expires_s: int, now_s: float, *, proven: bool = False
    ) -> None:
        """Note a 2xx to a REGISTER; zero seconds means the binding was removed."""
        aor = _name_of(aor)
        if expires_s == 0:
            self._table.remove(aor)
            return
        life_s = min(expires_s, LONGEST_EXPIRES_S)
        binding = self._table.get(aor)
        if binding is not None:
            binding.source = source
            binding.expires_at_s = now_s + life_s
            binding.proven = proven
        else:
            self._table.put(aor, Binding(source, now_s + life_s, proven), now_s)

    def expire(self, now_s: float, most: int = ALL) -> None:
        """Forget bindings whose time is over; see ``ExpiringTable``."""
        self._table.expire(now_s, most)


def _name_of(aor: bytes) -> bytes:
    """Return the name without its S: SIP and SIPS mean one person (RFC 5630 section 5.2, TLS-5)."""
    return b"sip:" + aor[5:] if aor.startswith(b"sips:") else aor
