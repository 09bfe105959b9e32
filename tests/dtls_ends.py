"""Two ends of DTLS for tests: OpenSSL's, and messages written octet by octet."""

import hashlib
from collections.abc import Callable, Sequence
from functools import cache
from typing import Final, NamedTuple

from authority import Holder, issue
from OpenSSL import SSL

from sipguard.wire.sdp import Fingerprint

HELLO_RANDOM: Final = bytes(range(32))
OTHER_RANDOM: Final = bytes(range(32, 64))
BOTH: Final = b"SRTP_AES128_CM_SHA1_80:SRTP_AEAD_AES_128_GCM"


class Datagram(NamedTuple):
    """What one end sent."""

    by_client: bool
    octets: bytes


# --- written by hand


def vector(octets: bytes, length_octets: int) -> bytes:
    return len(octets).to_bytes(length_octets, "big") + octets


def record(content: int, octets: bytes, epoch: int = 0, version: int = 0xFEFD) -> bytes:
    head = bytes((content,)) + version.to_bytes(2, "big") + epoch.to_bytes(2, "big") + bytes(6)
    return head + vector(octets, 2)


def piece(kind: int, body: bytes, sequence: int, start: int = 0, end: int | None = None) -> bytes:
    """One handshake message, or its octets from *start* to *end*."""
    part = body[start:end]
    head = bytes((kind,)) + len(body).to_bytes(3, "big") + sequence.to_bytes(2, "big")
    return head + start.to_bytes(3, "big") + vector(part, 3)


def said(kind: int, body: bytes, sequence: int, start: int = 0, end: int | None = None) -> bytes:
    """The same in a record."""
    return record(22, piece(kind, body, sequence, start, end))


def use_srtp(*profiles: int, mki: bytes = b"") -> bytes:
    listed = b"".join(profile.to_bytes(2, "big") for profile in profiles)
    return extension(14, vector(listed, 2) + vector(mki, 1))


def extension(kind: int, body: bytes) -> bytes:
    return kind.to_bytes(2, "big") + vector(body, 2)


def client_hello(
    *extensions: bytes, random: bytes = HELLO_RANDOM, cookie: bytes = b"", session: bytes = b""
) -> bytes:
    head = b"\xfe\xfd" + random + vector(session, 1) + vector(cookie, 1)
    return head + vector(b"\xc0\x2b", 2) + vector(b"\0", 1) + vector(b"".join(extensions), 2)


def server_hello(
    *extensions: bytes, random: bytes = HELLO_RANDOM[::-1], session: bytes = b""
) -> bytes:
    head = b"\xfe\xfd" + random + vector(session, 1) + b"\xc0\x2b\0"
    return head + vector(b"".join(extensions), 2)


def certificates(*ders: bytes) -> bytes:
    return vector(b"".join(vector(der, 3) for der in ders), 3)


CHANGE_CIPHER_SPEC: Final = record(20, b"\x01")
FINISHED: Final = record(22, bytes(40), epoch=1)


# --- OpenSSL's


@cache
def identity(name: str, kind: str = "p256") -> Holder:
    """A certificate signed by itself, as telephones make them."""
    return issue(name, kind=kind)


def prints_of(holder: Holder, name: bytes = b"sha-256") -> tuple[Fingerprint, ...]:
    """Its fingerprint, as signalling names it."""
    digest = hashlib.new(name.replace(b"-", b"").decode(), holder.der).digest()
    return (Fingerprint(name, digest),)


def end(
    holder: Holder | None,
    *,
    is_client: bool,
    profiles: bytes = BOTH,
    asks: bool = True,
    mtu: int = 1200,
    session: SSL.Session | None = None,
    context: SSL.Context | None = None,
) -> SSL.Connection:
    """One end on memory buffers; *asks*: it wants the other's certificate."""
    context = context or context_of(holder, profiles=profiles, asks=asks)
    connection = SSL.Connection(context, None)
    if is_client:
        connection.set_connect_state()
    else:
        connection.set_accept_state()
    if session is not None:
        connection.set_session(session)
    connection.set_ciphertext_mtu(mtu)
    return connection


def context_of(holder: Holder | None, *, profiles: bytes = BOTH, asks: bool = True) -> SSL.Context:
    context = SSL.Context(SSL.DTLS_METHOD)
    context.set_options(SSL.OP_NO_QUERY_MTU)
    if holder is not None:
        context.use_certificate(holder.certificate)
        context.use_privatekey(holder.key)
    if profiles:
        context.set_tlsext_use_srtp(profiles)
    if asks:
        context.set_verify(SSL.VERIFY_PEER, lambda *_: True)
    return context


def talk(
    client: SSL.Connection, server: SSL.Connection, passes: Callable[[Datagram], bool]
) -> bool:
    """Let both shake hands; *passes* sees each datagram and says whether it arrives.

    Returns whether both ends believe that the handshake is over.
    """
    done = {True: False, False: False}
    moved = True
    while moved:
        moved = False
        for by_client, sender, receiver in ((True, client, server), (False, server, client)):
            done[by_client] = shake(sender) or done[by_client]
            for octets in sent_by(sender):
                moved = True
                if passes(Datagram(by_client, octets)):
                    receiver.bio_write(octets)
                    done[not by_client] = shake(receiver) or done[not by_client]
    return done[True] and done[False]


def shake(connection: SSL.Connection) -> bool:
    """Take what came; whether the handshake is over for this end."""
    try:
        connection.do_handshake()
    except SSL.WantReadError:
        return False
    except SSL.Error:
        return False
    return True


def sent_by(connection: SSL.Connection) -> Sequence[bytes]:
    """What an end wants to send, a record in each datagram (the buffer keeps no borders)."""
    try:
        octets = connection.bio_read(65_536)
    except SSL.WantReadError:
        return []
    datagrams = []
    while octets:
        size = 13 + int.from_bytes(octets[11:13], "big")
        datagrams.append(octets[:size])
        octets = octets[size:]
    return datagrams
