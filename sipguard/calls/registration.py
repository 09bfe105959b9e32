"""Who registered which address-of-record from where (RFC 3261 section 10).

Only what a registrar accepted counts. A binding that was made from one host
and is to be changed from another, without credentials, is somebody taking
over the name: digest would have asked, and this registrar did not.
"""

from typing import Final

from sipguard.calls.table import ExpiringTable

LONGEST_EXPIRES_S: Final = 7 * 86400


class Binding:
    """An address-of-record and the host its phone registered from."""

    __slots__ = ("expires_at_s", "source")

    def __init__(self, source: bytes, expires_at_s: float) -> None:
        self.source = source
        self.expires_at_s = expires_at_s


class Registrations:
    """The bounded table of accepted bindings."""

    def __init__(self, capacity: int) -> None:
        self._table: ExpiringTable[bytes, Binding] = ExpiringTable(capacity)

    def __len__(self) -> int:
        return len(self._table)

    def is_foreign(self, aor: bytes, source: bytes, now_s: float) -> bool:
        """Whether another host holds *aor* now."""
        binding = self._table.get(aor)
        return binding is not None and binding.source != source and binding.expires_at_s > now_s

    def accepted(self, aor: bytes, source: bytes, expires_s: int, now_s: float) -> None:
        """Note a 2xx to a REGISTER; zero seconds means the binding was removed."""
        if expires_s == 0:
            self._table.remove(aor)
            return
        life_s = min(expires_s, LONGEST_EXPIRES_S)
        binding = self._table.get(aor)
        if binding is not None:
            binding.source = source
            binding.expires_at_s = now_s + life_s
        else:
            self._table.put(aor, Binding(source, now_s + life_s), now_s)

    def expire(self, now_s: float) -> None:
        """Forget bindings whose time is over."""
        for _ in self._table.expire(now_s):
            pass
