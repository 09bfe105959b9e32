"""media/mikey_crypto: the arithmetic of MIKEY, against numbers and a second way (MIK-4, MIK-5)."""

import hashlib
import hmac
import struct
import time

import mikey_builder as m
import pytest
from authority import issue, key_named
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.keywrap import aes_key_wrap
from hypothesis import given
from hypothesis import strategies as st

from sipguard.media.mikey_crypto import (
    AUTHENTICATION,
    ENCRYPTION,
    MIKEY_1,
    PRF_SHA256,
    SALT,
    SharedKey,
    derive,
    is_signed,
    signing_key,
    traffic_key,
    traffic_salt,
    unwrap,
)
from sipguard.wire.mikey import parse_mikey
from sipguard.wire.mikey_values import AES_CM_128, AES_CM_256, AES_KW_128, Kemac

DEFAULT_VECTOR = b"\xa6" * 8
T = bytes.fromhex("ebfe6f2db1c13fd0")


def shared(key: bytes = m.PSK, prf: int = MIKEY_1) -> SharedKey:
    return SharedKey(key, prf, m.CSB, m.NONCE)


def test_vec_22_keys_of_a_pre_shared_key() -> None:
    """Computed by another implementation: PSK 00..0f, CSB ID and RAND of RFC 4567's example."""
    key = shared()
    assert key.derived(ENCRYPTION, 16).hex() == "3ecb8e12ff89e649e0d7e99f2c8dbd5b"
    assert key.derived(AUTHENTICATION, 20).hex() == "717c74239ab339283516802772c6289f7eebd391"
    assert key.derived(SALT, 14).hex() == "b6d5b54e706c160be80157bac923"


@given(
    st.binary(min_size=1, max_size=100),
    st.binary(max_size=40),
    st.integers(1, 100),
    st.sampled_from([(MIKEY_1, "sha1"), (PRF_SHA256, "sha256")]),
)
def test_mik_5_the_prf_is_that_of_rfc_3830(
    key: bytes, label: bytes, octets: int, function: tuple[int, str]
) -> None:
    """Also for keys of several blocks, which are mixed, and for the PRF of RFC 6043."""
    number, name = function
    assert derive(number, key, label, octets) == m.prf(key, label, octets, name)


def test_mik_5_traffic_keys_have_labels_of_their_own() -> None:
    """The crypto session counts, and so does what the key is for."""
    message = parse_mikey(m.psk_offer())
    assert traffic_key(message, m.TGK, m.NONCE, 2, 16) == m.traffic(0x2AD01C64, 2, 16)
    assert traffic_salt(message, m.TGK, m.NONCE, 2, 14) == m.traffic(0x39A2C14B, 2, 14)
    keys = {traffic_key(message, m.TGK, m.NONCE, n, 16) for n in range(1, 5)}
    assert len(keys) == 4


def kemac(encryption: int, octets: bytes) -> Kemac:
    return Kemac(encryption, octets, (), 0, b"", 0)


def test_mik_5_a_tgk_is_decrypted_in_counter_mode() -> None:
    """The vector mixes salt, CSB ID and time."""
    sealed = kemac(AES_CM_128, m.counter_mode(m.key_data(m.TGK), T))
    (found,) = shared().decrypt(sealed, T, m.CSB)
    assert found.key == m.TGK
    assert shared(b"another key").decrypt(sealed, T, m.CSB) == ()
    assert shared().decrypt(sealed, T[::-1], m.CSB) == ()


def test_aes_cm_256_of_rfc_6043_is_decrypted() -> None:
    """With a key of 256 bits, and of the PRF that the header names."""
    key = m.own_key(0x150533E1, 32, name="sha256")
    salt = m.own_key(0x29B88916, 14, name="sha256")
    mixed = bytes(x ^ y for x, y in zip(salt, b"\0\0" + m.CSB + T, strict=True))
    encryptor = Cipher(algorithms.AES(key), modes.CTR(mixed + b"\0\0")).encryptor()
    sealed = kemac(AES_CM_256, encryptor.update(m.key_data(m.TGK)))
    (found,) = shared(prf=PRF_SHA256).decrypt(sealed, T, m.CSB)
    assert found.key == m.TGK
    assert shared().decrypt(sealed, T, m.CSB) == ()


def wrap(key: bytes, plain: bytes, vector: bytes) -> bytes:
    """RFC 3394 section 2.2.1, with the initial value as an argument."""
    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    a, r = vector, [plain[at : at + 8] for at in range(0, len(plain), 8)]
    for j in range(6):
        for i in range(len(r)):
            b = encryptor.update(a + r[i])
            t = len(r) * j + i + 1
            a = (int.from_bytes(b[:8], "big") ^ t).to_bytes(8, "big")
            r[i] = b[8:]
    return a + b"".join(r)


def test_a_tgk_is_unwrapped_with_the_salt_as_initial_value() -> None:
    """RFC 3830 section 4.2.3; the key data is filled up to whole blocks."""
    plain = m.key_data(m.TGK) + bytes(4)
    sealed = wrap(m.own_key(0x150533E1, 16), plain, m.own_key(0x29B88916, 8))
    (found,) = shared().decrypt(kemac(AES_KW_128, sealed), T, m.CSB)
    assert found.key == m.TGK
    with_the_standards = wrap(m.own_key(0x150533E1, 16), plain, DEFAULT_VECTOR)
    assert shared().decrypt(kemac(AES_KW_128, with_the_standards), T, m.CSB) == ()


@given(st.binary(min_size=16, max_size=16), st.integers(2, 20), st.data())
def test_unwrapping_is_that_of_rfc_3394(key: bytes, blocks: int, data: st.DataObject) -> None:
    """As the library wraps; one changed bit and nothing comes out."""
    plain = data.draw(st.binary(min_size=8 * blocks, max_size=8 * blocks))
    sealed = aes_key_wrap(key, plain)
    assert unwrap(key, sealed, DEFAULT_VECTOR) == plain
    at, bit = data.draw(st.integers(0, len(sealed) - 1)), data.draw(st.integers(0, 7))
    broken = sealed[:at] + bytes((sealed[at] ^ 1 << bit,)) + sealed[at + 1 :]
    assert unwrap(key, broken, DEFAULT_VECTOR) == b""


@given(st.integers(0, 255), st.binary(max_size=100), st.binary(min_size=8, max_size=8))
def test_decrypting_is_total(encryption: int, octets: bytes, t: bytes) -> None:
    """Whatever algorithm and octets an authentic message carries."""
    for key in shared().decrypt(kemac(encryption, octets), t, m.CSB):
        assert key.key in octets or encryption != 0


def test_unwrapping_much_is_refused_at_once() -> None:
    """Each octet costs six block ciphers."""
    began = time.perf_counter()
    assert unwrap(bytes(16), bytes(16_000), DEFAULT_VECTOR) == b""
    assert time.perf_counter() - began < 0.1
    for octets in (b"", bytes(8), bytes(16), bytes(25)):
        assert unwrap(bytes(16), octets, DEFAULT_VECTOR) == b""


def test_mik_4_macs_are_made_with_the_derived_key() -> None:
    """HMAC-SHA-1 of RFC 3830, HMAC-SHA-256 of RFC 6043, and nothing else."""
    key = shared()
    mac = hmac.new(m.own_key(0x2D22AC75, 20), b"covered", "sha1").digest()
    assert key.made(mac, 1, b"covered")
    long = hmac.new(m.own_key(0x2D22AC75, 32), b"covered", "sha256").digest()
    assert key.made(long, 2, b"covered")
    for wrong, algorithm in ((mac, 2), (long, 1), (mac, 0), (b"", 0), (mac, 3), (mac[:-1], 1)):
        assert not key.made(wrong, algorithm, b"covered")
    assert not key.made(mac, 1, b"covered too")
    assert not shared(b"another").made(mac, 1, b"covered")


def rsa_key(name: str = "mikey") -> rsa.RSAPrivateKey:
    key = key_named(name, "rsa2048")
    assert isinstance(key, rsa.RSAPrivateKey)
    return key


@pytest.mark.parametrize("digest", [hashes.SHA256(), hashes.SHA1()], ids=["sha256", "sha1"])
@pytest.mark.parametrize("pss", [False, True])
def test_signatures_are_verified(digest: hashes.HashAlgorithm, pss: bool) -> None:
    """PKCS #1 v1.5 and PSS, with MIKEY's SHA-1 and today's SHA-256, and not one for another."""
    key = rsa_key()
    scheme: padding.AsymmetricPadding = padding.PKCS1v15()
    if pss:
        scheme = padding.PSS(padding.MGF1(digest), digest.digest_size)
    signature = key.sign(b"covered", scheme, digest)
    public = key.public_key()
    assert is_signed(public, int(pss), signature, b"covered") == digest.name
    assert is_signed(public, int(not pss), signature, b"covered") == ""
    assert is_signed(public, int(pss), signature, b"covered!") == ""
    assert is_signed(public, int(pss), signature[:-1], b"covered") == ""
    assert is_signed(rsa_key("other").public_key(), int(pss), signature, b"covered") == ""


@given(st.binary(max_size=300))
def test_reading_a_key_is_total(octets: bytes) -> None:
    """No octets that stand for a certificate raise anything."""
    assert signing_key(octets) is None


def test_keys_of_certificates() -> None:
    """RSA alone; broken certificates have none."""
    assert signing_key(issue("rsa", kind="rsa2048").der) is not None
    assert signing_key(issue("p256").der) is None
    assert signing_key(issue("ed", kind="ed25519").der) is None
    der = issue("rsa", kind="rsa2048").der
    for at in range(0, len(der), 7):
        signing_key(der[:at] + b"\xff" + der[at + 1 :])  # raises nothing
    assert signing_key(der + bytes(20_000)) is None


def test_the_builder_is_not_the_code_under_test() -> None:
    """Its PRF is written out after the RFC, with a function P of its own."""
    label = struct.pack("!IB", 0x150533E1, 255) + m.CSB + m.NONCE
    first = hmac.new(m.PSK, label, hashlib.sha1).digest()
    assert m.own_key(0x150533E1, 20) == hmac.new(m.PSK, first + label, hashlib.sha1).digest()
