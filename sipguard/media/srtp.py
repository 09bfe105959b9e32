"""Is an SRTP or SRTCP packet made with the negotiated key? (RFC 3711, 6188, 7714; SRT-5 to SRT-11)

Tags are verified and nothing is decrypted, but for AEAD suites, whose tags cannot be
verified otherwise; what comes out is thrown away. Of suites with HMAC tags only the
authentication keys are derived: the gateway could not listen if it wanted to.

Keys lie in ``bytearray`` and are overwritten by ``wipe``. What OpenSSL or a signalling
message keeps for itself is beyond that. No value here shows its keys when printed.
"""

from collections.abc import Sequence
from enum import Enum
from typing import Final, final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.constant_time import bytes_eq
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.hmac import HMAC

from sipguard.media.suites import (
    AUTH_KEY,
    CIPHER_KEY,
    CIPHER_SALT,
    RTCP_LABELS,
    MasterKey,
    Suite,
    derive,
    overwrite,
)
from sipguard.native import mypyc_attr
from sipguard.wire.rtp import RTCP_HEADER_OCTETS, SRTCP_INDEX_OCTETS, Rtp

MAX_SSRCS: Final = 16  # of one sender that are followed, for RTP and RTCP each; the oldest goes
WINDOW: Final = 64  # packets that replays are known among (RFC 3711 section 3.3.2)
FIRST_ROCS: Final = 16  # roll-overs before a first packet: five hours of telephony
MAX_LOST_ROCS: Final = 64  # and between two packets
MAX_PACKETS_PER_S: Final = 2000  # of one SSRC: video of 20 Mbit/s; telephones send 50

_HMAC_KEY_OCTETS: Final = 20
_AES_192_OCTETS: Final = 24
_AES_256_OCTETS: Final = 32
_ENCRYPTED: Final = 0x8000_0000  # the E bit before the SRTCP index
_SEQUENCES: Final = 65_536
_WINDOW_MASK: Final = (1 << WINDOW) - 1


class Tag(Enum):
    """What a packet's tag says."""

    RIGHT = "right"
    WRONG = "wrong"  # or too short for one, or of an MKI that nobody negotiated
    REPLAYED = "replayed"  # right, and seen before, or older than anybody remembers
    OPEN = "open"  # SRTCP whose E bit says that it is not encrypted; not verified


_RIGHT: Final = Tag.RIGHT
_WRONG: Final = Tag.WRONG
_REPLAYED: Final = Tag.REPLAYED
_OPEN: Final = Tag.OPEN


@final
@mypyc_attr(acyclic=True)
class _Session:
    """The session keys for RTP or for RTCP under one master key, while a rate's period lasts."""

    __slots__ = ("_key", "cipher", "mac", "master", "period", "salt")

    def __init__(
        self, suite: Suite, master: MasterKey, labels: int, period: int, is_padded: bool
    ) -> None:
        self.master: Final = master
        self.period: Final = period
        secret = master.secret
        prf_octets = _AES_256_OCTETS if is_padded else suite.key_octets
        key, salt = secret[:prf_octets], secret[prf_octets:]
        self.cipher: AESGCM | None = None
        self.mac: HMAC | None = None
        self.salt = 0
        if suite.is_aead:
            # AESGCM may look at its key again for every packet.
            self._key = derive(key, salt, labels + CIPHER_KEY, period, suite.key_octets)
            self.cipher = AESGCM(self._key)
            session_salt = derive(key, salt, labels + CIPHER_SALT, period, suite.salt_octets)
            self.salt = int.from_bytes(session_salt, "big")
        else:
            self._key = derive(key, salt, labels + AUTH_KEY, period, _HMAC_KEY_OCTETS)
            self.mac = HMAC(bytes(self._key), SHA1())  # noqa: S303 - RFC 3711 has no other
        overwrite(key)

    def is_sealed(self, index: int, ssrc: int, sealed: bytes, clear: bytes) -> bool:
        """Verify an AEAD tag at the end of *sealed*; IVs as in RFC 7714 sections 8.1 and 9.1."""
        if self.cipher is None:
            return False
        nonce = (self.salt ^ (ssrc << 48 | index)).to_bytes(12, "big")
        try:
            self.cipher.decrypt(nonce, sealed, clear)
        except InvalidTag:
            return False
        return True

    def is_signed(self, signed: bytes, roc: bytes, tag: bytes, octets: int) -> bool:
        """Verify an HMAC tag, of which the first *octets* are sent (RFC 3711 section 4.2)."""
        if self.mac is None:
            return False
        mac = self.mac.copy()  # half the work of keying it anew
        mac.update(signed)
        mac.update(roc)
        return bytes_eq(mac.finalize()[:octets], tag)

    def wipe(self) -> None:
        """Overwrite the key; what OpenSSL holds it overwrites when it is let go."""
        overwrite(self._key)
        self.cipher = None
        self.mac = None
        self.salt = 0


@final
@mypyc_attr(acyclic=True)
class _Window:
    """The newest index of one SSRC, which of those before it were seen, and when."""

    __slots__ = ("mask", "newest", "seen_s", "ssrc")

    def __init__(self, ssrc: int) -> None:
        self.ssrc: Final = ssrc
        self.newest = -1
        self.mask = 0
        self.seen_s = 0.0

    def take(self, index: int, now_s: float) -> Tag:
        """Take an authentic index, unless it was seen or is too old to know (section 3.3.2)."""
        ahead = index - self.newest
        if ahead > 0:
            self.mask = (self.mask << ahead | 1) & _WINDOW_MASK if ahead < WINDOW else 1
            self.newest = index
            self.seen_s = now_s
        elif ahead <= -WINDOW or self.mask >> -ahead & 1:
            return _REPLAYED
        else:
            self.mask |= 1 << -ahead
        return _RIGHT


def guess_index(newest: int, sequence: int) -> int:
    """Return the index next to *newest* that ends in the packet's SEQ (RFC 3711 appendix A)."""
    roc, last = newest >> 16, newest & 0xFFFF
    if last < _SEQUENCES // 2:
        if sequence - last > _SEQUENCES // 2 and roc:
            roc -= 1
    elif last - _SEQUENCES // 2 > sequence:
        roc += 1
    return roc << 16 | sequence


def lost_rocs(silent_s: float) -> int:
    """Return how many more roll-overs than guessed there can have been in the time since.

    The kernel forwards proven media by itself, and only now and then a copy of a packet
    comes here. Up to half a round of SEQ the guess is right; past that the counter may
    have gone on by as much as a fast sender needs. The tag decides which of them it was.
    """
    packets = max(silent_s, 0.0) * MAX_PACKETS_PER_S
    return min(int(packets / _SEQUENCES + 0.5), MAX_LOST_ROCS)


def _window_of(windows: tuple[_Window, ...], ssrc: int) -> _Window | None:
    for window in windows:  # nearly always one
        if window.ssrc == ssrc:
            return window
    return None


@final
@mypyc_attr(acyclic=True)
class SrtpKeys:
    """One sender's keys, and what is known of the packets that were made with them.

    Contexts begin with an authentic packet only, so that nobody without a key can
    fill or move them (SRT-5, SDE-8).
    """

    __slots__ = (
        *("_is_padded", "_masters", "_mki_octets", "_rate"),
        *("_rtcp", "_rtcp_session", "_rtp", "_rtp_session"),
        *("rtcp_extra_octets", "rtp_extra_octets", "ssrcs", "suite"),
    )

    def __init__(self, suite: Suite, masters: Sequence[MasterKey], rate: int = -1) -> None:
        """Take over master keys: several with an MKI of one length each, or one without.

        Their secrets are as long as the suite says. *rate* is the exponent of the key
        derivation rate (``KDR=``), -1 where session keys last.
        """
        self.suite: Final = suite
        self._masters = tuple(masters)
        self._mki_octets: Final = len(masters[0].mki) if masters else 0
        self._rate: Final = rate
        self._is_padded = False
        self._rtp_session: _Session | None = None
        self._rtcp_session: _Session | None = None
        self._rtp: tuple[_Window, ...] = ()
        self._rtcp: tuple[_Window, ...] = ()
        self.rtp_extra_octets: Final = suite.rtp_tag_octets + self._mki_octets
        self.rtcp_extra_octets: Final = suite.rtcp_tag_octets + self._mki_octets
        self.ssrcs = 0  # that authentic RTP came from, one after another

    def verify_rtp(self, payload: bytes, header: Rtp, now_s: float) -> Tag:
        """Verify an SRTP packet, and remember it where its tag is right.

        Packets between two may have gone unseen. RFC 3711 section 3.3 looks for replays
        first, to save work; here the tag comes first, so that nothing forged is told as
        a replay.
        """
        if header.octets - self.rtp_extra_octets < header.header_octets:
            return _WRONG
        master = self._master(payload, self.suite.rtp_tag_octets)
        if master is None:
            return _WRONG
        window = _window_of(self._rtp, header.ssrc)
        index = self._find(payload, header, master, window, now_s)
        if index < 0 and self._derives_otherwise():
            index = self._find(payload, header, master, window, now_s)
        if index < 0:
            return _WRONG
        if window is None:
            window = _Window(header.ssrc)
            self._rtp = (*self._rtp, window)[-MAX_SSRCS:]
            self.ssrcs += 1
        return window.take(index, now_s)

    def verify_rtcp(self, payload: bytes, now_s: float) -> Tag:
        """Verify an SRTCP packet, and remember it where its tag is right."""
        octets = len(payload)
        body = octets - self.rtcp_extra_octets - SRTCP_INDEX_OCTETS
        if body < RTCP_HEADER_OCTETS:
            return _WRONG
        master = self._master(payload, self.suite.rtcp_tag_octets)
        if master is None:
            return _WRONG
        word_at = octets - self._mki_octets - SRTCP_INDEX_OCTETS if self.suite.is_aead else body
        word = int.from_bytes(payload[word_at : word_at + SRTCP_INDEX_OCTETS], "big")
        if not word & _ENCRYPTED:
            return _OPEN  # to be agreed on (RFC 4568 section 6.3.2), and then no hole opens
        index = word ^ _ENCRYPTED
        ssrc = int.from_bytes(payload[4:8], "big")
        is_right = self._is_rtcp(payload, word_at, master, index, ssrc)
        if not is_right and self._derives_otherwise():
            is_right = self._is_rtcp(payload, word_at, master, index, ssrc)
        if not is_right:
            return _WRONG
        window = _window_of(self._rtcp, ssrc)
        if window is None:
            window = _Window(ssrc)
            self._rtcp = (*self._rtcp, window)[-MAX_SSRCS:]
        return window.take(index, now_s)

    def rest(self) -> None:
        """Let the session keys go until the next packet comes, which may be long; state stays.

        OpenSSL keeps a kilobyte for each, and 100,000 calls have four of them each.
        """
        for session in (self._rtp_session, self._rtcp_session):
            if session is not None:
                session.wipe()
        self._rtp_session = self._rtcp_session = None

    def wipe(self) -> None:
        """Overwrite all keys (SRT-10); from now on every tag is wrong."""
        for master in self._masters:
            overwrite(master.secret)
        self._masters = ()
        self.rest()
        self._rtp = self._rtcp = ()

    def _master(self, payload: bytes, tag_octets: int) -> MasterKey | None:
        """Return the master key that the packet names, if it is one of ours."""
        length = self._mki_octets
        # RFC 3711 section 3.1: before the tag; RFC 7714 section 8.2: after it.
        end = len(payload) - (0 if self.suite.is_aead else tag_octets)
        mki = payload[end - length : end]
        for master in self._masters:
            if master.mki == mki:
                return master
        return None

    def _derives_otherwise(self) -> bool:
        """Turn to the other way of AES-192, until an authentic packet has shown which is meant.

        libsrtp until October 2025 derived its keys with AES-256, from key and salt filled
        up with zeros, and not as RFC 6188 section 4 says (its issue 763). Whoever does so
        knows the negotiated key, and two such telephones hear each other.
        """
        if self.suite.key_octets != _AES_192_OCTETS or self._rtp or self._rtcp:
            return False
        self._is_padded = not self._is_padded
        self.rest()
        return True

    def _rtp_keys(self, master: MasterKey, index: int) -> _Session:
        period = 0 if self._rate < 0 else index >> self._rate
        session = self._rtp_session
        if session is None or session.period != period or session.master is not master:
            session = _Session(self.suite, master, 0, period, self._is_padded)
            self._rtp_session = session
        return session

    def _rtcp_keys(self, master: MasterKey, index: int) -> _Session:
        period = 0 if self._rate < 0 else index >> self._rate
        session = self._rtcp_session
        if session is None or session.period != period or session.master is not master:
            session = _Session(self.suite, master, RTCP_LABELS, period, self._is_padded)
            self._rtcp_session = session
        return session

    def _find(
        self, payload: bytes, header: Rtp, master: MasterKey, window: _Window | None, now_s: float
    ) -> int:
        """Return the index that the packet's tag is right for, -1 if there is none."""
        if window is None:
            # SEQ may have gone round before: a prover can begin in the middle of a call.
            index, lost = header.sequence, FIRST_ROCS
        else:
            index = guess_index(window.newest, header.sequence)
            lost = lost_rocs(now_s - window.seen_s)
        while not self._is_rtp(payload, header, master, index):
            if not lost:
                return -1
            lost -= 1
            index += _SEQUENCES
        return index

    def _is_rtp(self, payload: bytes, header: Rtp, master: MasterKey, index: int) -> bool:
        session = self._rtp_keys(master, index)
        if self.suite.is_aead:
            start, end = header.header_octets, header.octets - self._mki_octets
            return session.is_sealed(index, header.ssrc, payload[start:end], payload[:start])
        roc = (index >> 16 & 0xFFFF_FFFF).to_bytes(4, "big")
        signed = payload[: header.octets - self.rtp_extra_octets]
        tag_octets = self.suite.rtp_tag_octets
        return session.is_signed(signed, roc, payload[header.octets - tag_octets :], tag_octets)

    def _is_rtcp(
        self, payload: bytes, word_at: int, master: MasterKey, index: int, ssrc: int
    ) -> bool:
        session = self._rtcp_keys(master, index)
        behind = word_at + SRTCP_INDEX_OCTETS
        if self.suite.is_aead:
            clear = payload[:RTCP_HEADER_OCTETS] + payload[word_at:behind]
            return session.is_sealed(index, ssrc, payload[RTCP_HEADER_OCTETS:word_at], clear)
        tag_octets = self.suite.rtcp_tag_octets
        tag = payload[len(payload) - tag_octets :]
        return session.is_signed(payload[:behind], b"", tag, tag_octets)
