"""A telephone's password and a registrar's questions: honest digests for tests.

Written from RFC 7616 section 3.4 and apart from the code under test, so that the two agree
only if both are right.
"""

import hashlib
from typing import NamedTuple

REALM, NONCE, USER, PASSWORD = "example.org", "dcd98b7102dd2f0e", "alice", "correct horse"


def hashed(algorithm: str, text: str) -> str:
    """Return the hash of an algorithm in hex."""
    name = {"MD5": "md5", "SHA-256": "sha256", "SHA-512-256": "sha512_256"}
    return hashlib.new(name[algorithm.removesuffix("-sess")], text.encode()).hexdigest()


def secret(algorithm: str = "MD5", user: str = USER, realm: str = REALM) -> str:
    """Return H(A1) as an admin writes it into a file."""
    return hashed(algorithm, f"{user}:{realm}:{PASSWORD}")


class Asked(NamedTuple):
    """One challenge."""

    realm: str = REALM
    nonce: str = NONCE
    qop: str = "auth"
    algorithm: str = "MD5"
    opaque: str = ""
    stale: bool = False

    def header(self, status: int = 401) -> str:
        """Return it as a header row."""
        name = "WWW-Authenticate" if status == 401 else "Proxy-Authenticate"
        text = f'{name}: Digest realm="{self.realm}", nonce="{self.nonce}"'
        if self.qop:
            text += f', qop="{self.qop}"'
        if self.algorithm != "MD5":
            text += f", algorithm={self.algorithm}"
        if self.opaque:
            text += f', opaque="{self.opaque}"'
        return text + (", stale=true" if self.stale else "")


def answer(
    asked: Asked,
    method: str,
    uri: str,
    *,
    nc: int = 1,
    cnonce: str = "0a4f113b",
    user: str = USER,
    ha1: str = "",
    qop: str = "",
    body: bytes = b"",
    proxy: bool = False,
    more: str = "",
) -> str:
    """Return the credentials with which an honest telephone answers, as a header row."""
    algorithm = asked.algorithm
    ha1 = ha1 or secret(algorithm, user, asked.realm)
    if algorithm.endswith("-sess"):
        ha1 = hashed(algorithm, f"{ha1}:{asked.nonce}:{cnonce}")
    chosen = qop or asked.qop.partition(",")[0]
    a2 = f"{method}:{uri}"
    if chosen == "auth-int":
        a2 += ":" + hashed(algorithm, body.decode())
    middle = f"{asked.nonce}:{nc:08x}:{cnonce}:{chosen}" if chosen else asked.nonce
    response = hashed(algorithm, f"{ha1}:{middle}:{hashed(algorithm, a2)}")
    text = "Proxy-Authorization" if proxy else "Authorization"
    text += f': Digest username="{user}", realm="{asked.realm}", nonce="{asked.nonce}"'
    text += f', uri="{uri}", response="{response}"'
    if algorithm != "MD5":
        text += f", algorithm={algorithm}"
    if chosen:
        text += f', qop={chosen}, cnonce="{cnonce}", nc={nc:08x}'
    if asked.opaque:
        text += f', opaque="{asked.opaque}"'
    return text + more
