"""H(A1) files: what a gateway may know of passwords, so that it can check a digest (DIG-31).

One account a line: ``user:realm:algorithm:hexadecimal digits``, where the digits are the digest
of ``user:realm:password`` (RFC 7616 section 3.4.2); lines with ``#`` in front are comments. A
user name has no colon, a realm may. What is wrong is told by line alone: a line is a secret.
"""

import re
from typing import Final

from sipguard.policy.problems import Problems
from sipguard.policy.syntax import Place
from sipguard.policy.trust import Accounts

DIGITS: Final = {b"md5": 32, b"sha-256": 64, b"sha-512-256": 64}
USAGE: Final = "write user:realm:md5|sha-256|sha-512-256:digits"
_HEXADECIMAL: Final = re.compile(rb"[0-9a-f]+")


def read_accounts(name: str, octets: bytes, problems: Problems) -> Accounts:
    """Return the accounts of a file; each line that is none becomes a problem in that file."""
    found: dict[tuple[bytes, bytes], dict[bytes, bytes]] = {}
    for number, row in enumerate(octets.split(b"\n"), start=1):
        row = row.strip(b" \t\r")
        if not row or row.startswith(b"#"):
            continue
        what = _put(found, row)
        if what:
            problems.error(Place(name, number, 1), what, USAGE)
    if not found and not problems.errors:
        problems.warn(Place(name, 1, 1), "the file holds no account")
    return {account: tuple(digests.items()) for account, digests in found.items()}


def _put(found: dict[tuple[bytes, bytes], dict[bytes, bytes]], row: bytes) -> str:
    """Add one account; return what is wrong with it."""
    user, _, rest = row.partition(b":")
    parts = rest.rsplit(b":", 2)
    if not user or len(parts) != 3:
        return "this is no account"
    realm, algorithm, digits = parts[0], parts[1].lower(), parts[2].lower()
    length = DIGITS.get(algorithm)
    if length is None:
        return "the algorithm is not known"
    if len(digits) != length or not _HEXADECIMAL.fullmatch(digits):
        return f"a digest has {length} hexadecimal digits here"
    digests = found.setdefault((user, realm), {})
    if algorithm in digests:
        return "this account stands twice"
    digests[algorithm] = digits
    return ""
