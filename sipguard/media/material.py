"""From negotiated lines to the keys that a stream's packets are held against."""

from sipguard.media.appearance import Appearance, appearance_of, joined
from sipguard.media.keying import match_crypto
from sipguard.media.keys import DtlsKeys, Keys, MikeyKeys, SdesKeys, ZrtpKeys
from sipguard.media.methods import DTLS, SDES, ZRTP
from sipguard.media.mikey_view import StreamKeys
from sipguard.media.prove_mikey import MikeySide
from sipguard.media.prove_sdes import SdesTerms
from sipguard.wire.sdp import Media
from sipguard.wire.zrtp import parse_zrtp_hash


def keys_of(
    method: bytes, offered: Media, answered: Media, by_caller: bool, also: tuple[Media, ...] = ()
) -> Keys | None:
    """Return the keys of one agreed line.

    Args:
        method: As was negotiated; MIKEY's keys come from its messages.
        offered: The line in the offer.
        answered: The same in the answer.
        by_caller: Whether the caller has made the offer.
        also: Other lines that use its transport (BUNDLE): their formats run there, too.

    Raises:
        HostileInput: ``ZRTP_HASH`` where ``a=zrtp-hash`` cannot be read.
    """
    looks = _looks((offered, answered, *also))
    caller, callee = (offered, answered) if by_caller else (answered, offered)
    if method == SDES:
        taken = answered.cryptos[0]
        offer = match_crypto(offered.cryptos, taken)
        if offer is None:
            return None
        lines = (offer, taken) if by_caller else (taken, offer)
        return SdesKeys(offered.kind, taken.suite, SdesTerms(lines[0], lines[1], looks))
    if method == DTLS:
        prints = caller.fingerprints, callee.fingerprints
        return DtlsKeys(offered.kind, *prints, caller.setup, callee.setup, looks)
    if method == ZRTP:
        return ZrtpKeys(offered.kind, _hashes(caller), _hashes(callee), looks)
    return None


def mikey_keys(
    suite: bytes,
    sides: StreamKeys,
    offered: Media,
    answered: Media,
    by_caller: bool,
    also: tuple[Media, ...],
) -> MikeyKeys:
    """Return what MIKEY messages told of one agreed line."""
    offerer, answerer = MikeySide(sides.offerer), MikeySide(sides.answerer)
    caller, callee = (offerer, answerer) if by_caller else (answerer, offerer)
    return MikeyKeys(offered.kind, suite, caller, callee, _looks((offered, answered, *also)))


def _looks(medias: tuple[Media, ...]) -> Appearance:
    looks = appearance_of(medias[0])
    for media in medias[1:]:
        others = appearance_of(media)
        if others is not looks:
            looks = joined(looks, others)
    return looks


def _hashes(media: Media) -> tuple[bytes, ...]:
    """Return the hash of each Hello that a line announces, one for each version."""
    values = [value for name, value in media.attributes if name == b"zrtp-hash"]
    return tuple([parse_zrtp_hash(value)[1] for value in values])
