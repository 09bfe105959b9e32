"""What opens the web page: a password kept as a scrypt hash (RFC 7914), or a token in a file."""

import hashlib
import hmac
import os
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Final, NamedTuple

from sipguard.errors import EdgeError

LEAST_CHARACTERS: Final = 8
LEAST_TOKEN: Final = 24  # characters: 128 bits and more in any usual spelling
_COST: Final = (1 << 14, 8, 1)  # N, r, p: 16 MiB and some 40 ms for each guess
_MOST_COST: Final = (1 << 16, 16, 4)
_MAX_MEMORY: Final = 160 << 20
_SALT_OCTETS: Final = 16
_HASH_OCTETS: Final = 32
_MAX_OCTETS: Final = 4096
_NAME: Final = "scrypt"


class Hashed(NamedTuple):
    """A password as it is kept: what to compute, and what must come out."""

    cost: tuple[int, int, int]
    salt: bytes
    digest: bytes

    def is_of(self, password: str) -> bool:
        """Report whether this password was hashed; takes as long as a guess should."""
        octets = _digest(password, self.cost, self.salt)
        return hmac.compare_digest(octets, self.digest)

    def to_line(self) -> str:
        """Return one line of text that ``hashed_of`` reads."""
        numbers = ":".join(map(str, self.cost))
        salt, digest = (b64encode(octets).decode() for octets in (self.salt, self.digest))
        return f"{_NAME}${numbers}${salt}${digest}"


def hash_password(password: str, salt: bytes = b"") -> Hashed:
    """Return the hash of a password, with a salt of its own.

    Raises:
        EdgeError: It is too short to be one.
    """
    if len(password) < LEAST_CHARACTERS:
        raise EdgeError(f"a password of fewer than {LEAST_CHARACTERS} characters is none")
    salt = salt or os.urandom(_SALT_OCTETS)
    return Hashed(_COST, salt, _digest(password, _COST, salt))


def hashed_of(line: str) -> Hashed:
    """Read a line that ``to_line`` wrote; ``ValueError`` for any other."""
    name, numbers, salt, digest = line.strip().split("$")
    n, r, p = (int(number) for number in numbers.split(":"))
    is_usual = 1 < n <= _MOST_COST[0] and 0 < r <= _MOST_COST[1] and 0 < p <= _MOST_COST[2]
    if name != _NAME or not is_usual or n & (n - 1):
        raise ValueError("not a password file of sipguard")
    hashed = Hashed((n, r, p), b64decode(salt, validate=True), b64decode(digest, validate=True))
    if len(hashed.digest) != _HASH_OCTETS:
        raise ValueError("not a password file of sipguard")
    return hashed


def write_password(path: Path, hashed: Hashed) -> None:
    """Replace the file in one step; only its owner may read it, and the group it is given."""
    new = path.with_name(f".{path.name}.new")
    try:
        new.unlink(missing_ok=True)
        file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o640)
        with os.fdopen(file, "w") as stream:
            stream.write(hashed.to_line() + "\n")
        new.replace(path)
    except OSError as error:
        raise EdgeError(f"cannot write {path}: {error.strerror}") from None


def read_password(path: Path) -> Hashed:
    """Return what a password file holds, or raise ``EdgeError``."""
    try:
        return hashed_of(_secret(path))
    except ValueError:
        raise EdgeError(
            f"{path} is no password file: `sipguard web-password {path}` makes one"
        ) from None


def read_token(path: Path) -> bytes:
    """Return the SHA-256 of the token in a file, or raise ``EdgeError``."""
    token = _secret(path).strip()
    if len(token) < LEAST_TOKEN or not token.isascii():
        raise EdgeError(
            f"the token in {path} is shorter than {LEAST_TOKEN} characters; "
            "`openssl rand -hex 32` makes a good one"
        )
    return digest_of(token)


def digest_of(token: str) -> bytes:
    """Return what is compared instead of a token itself, so that its length says nothing."""
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


def _secret(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            if os.fstat(stream.fileno()).st_mode & 0o007:
                raise EdgeError(f"{path} can be read by everybody: chmod 640 {path}")
            return stream.read(_MAX_OCTETS).decode()
    except OSError as error:
        raise EdgeError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise EdgeError(f"{path} is no text") from None


def _digest(password: str, cost: tuple[int, int, int], salt: bytes) -> bytes:
    n, r, p = cost
    octets = password.encode("utf-8", "surrogateescape")
    return hashlib.scrypt(octets, salt=salt, n=n, r=r, p=p, maxmem=_MAX_MEMORY, dklen=_HASH_OCTETS)
