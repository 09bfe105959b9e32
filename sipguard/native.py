"""What compiled code is told about classes; pure Python takes no notice of it.

``acyclic=True`` says that no instance can be part of a reference cycle, so the
collector need not know it: 16 octets less for each, of which there are hundreds
of thousands.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mypy_extensions import mypyc_attr as mypyc_attr
else:
    # mypyc goes by the name; it is not there when sipguard runs.
    def mypyc_attr(**_said: Any) -> Any:
        """Return a decorator that does nothing."""
        return lambda decorated: decorated
