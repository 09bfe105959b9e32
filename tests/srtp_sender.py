"""Makes SRTP and SRTCP after the text of the RFCs, to test what verifies them; any index."""

import hmac
import struct

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sipguard.media.suites import SUITES, derive

SSRC = 0xCAFE_BABE


def rtp(sequence: int, ssrc: int = SSRC, size: int = 160, payload_type: int = 0) -> bytes:
    """Return a clear RTP packet of this many octets of silence."""
    timestamp = sequence * 160 & 0xFFFF_FFFF
    head = struct.pack("!BBHLL", 0x80, payload_type, sequence & 0xFFFF, timestamp, ssrc)
    return head + b"\xd5" * size


def rtcp(ssrc: int = SSRC) -> bytes:
    """Return a clear receiver report of one block."""
    return struct.pack("!BBHL", 0x81, 201, 7, ssrc) + bytes(24)


class Sender:
    """One sender under one master key; *prf_octets* 32 is the wrong way of AES-192."""

    def __init__(self, suite: bytes, secret: bytes, rate: int = -1, prf_octets: int = 0) -> None:
        self.suite, self.secret, self.rate = SUITES[suite], secret, rate
        self.prf_octets = prf_octets or self.suite.key_octets

    def key(self, label: int, index: int, octets: int) -> bytes:
        """Return a session key."""
        at = self.prf_octets
        period = 0 if self.rate < 0 else index >> self.rate
        return bytes(derive(self.secret[:at], self.secret[at:], label, period, octets))

    def rtp(
        self,
        index: int,
        ssrc: int = SSRC,
        size: int = 160,
        mki: bytes = b"",
        payload_type: int = 0,
    ) -> bytes:
        """Return an SRTP packet; *index* is roll-over counter and sequence number."""
        packet = rtp(index, ssrc, size, payload_type)
        if not self.suite.is_aead:
            signed = packet + struct.pack("!L", index >> 16)
            whole = hmac.digest(self.key(1, index, 20), signed, "sha1")
            return packet + mki + whole[: self.suite.rtp_tag_octets]
        salt = int.from_bytes(self.key(2, index, 12), "big")
        nonce = (salt ^ (ssrc << 48 | index)).to_bytes(12, "big")
        cipher = AESGCM(self.key(0, index, self.suite.key_octets))
        return packet[:12] + cipher.encrypt(nonce, packet[12:], packet[:12]) + mki

    def rtcp(self, index: int, ssrc: int = SSRC, mki: bytes = b"", e_bit: int = 1 << 31) -> bytes:
        """Return an SRTCP packet, which is not encrypted where its suite has HMAC tags."""
        packet, word = rtcp(ssrc), struct.pack("!L", index | e_bit)
        if not self.suite.is_aead:
            whole = hmac.digest(self.key(4, index, 20), packet + word, "sha1")
            return packet + word + mki + whole[: self.suite.rtcp_tag_octets]
        salt = int.from_bytes(self.key(5, index, 12), "big")
        nonce = (salt ^ (ssrc << 48 | index)).to_bytes(12, "big")
        cipher = AESGCM(self.key(3, index, self.suite.key_octets))
        sealed = cipher.encrypt(nonce, packet[8:], packet[:8] + word)
        return packet[:8] + sealed + word + mki
