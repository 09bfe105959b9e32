"""From negotiated lines to the keys that a stream's packets are held against."""

from sipguard.media.appearance import appearance_of, joined
from sipguard.media.keying import match_crypto
from sipguard.media.keys import DtlsKeys, Keys, SdesKeys, ZrtpKeys
from sipguard.media.methods import DTLS, SDES, ZRTP
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
    looks = joined(appearance_of(offered), appearance_of(answered))
    for media in also:
        looks = joined(looks, appearance_of(media))
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


def _hashes(media: Media) -> tuple[bytes, ...]:
    """Return the hash of each Hello that a line announces, one for each version."""
    values = [value for name, value in media.attributes if name == b"zrtp-hash"]
    return tuple([parse_zrtp_hash(value)[1] for value in values])
