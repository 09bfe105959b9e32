"""From negotiated lines to the keys that a stream's packets are held against."""

from sipguard.media.keying import Keying
from sipguard.media.keys import Keys
from sipguard.wire.sdp import Media


def keys_of(keying: Keying, offered: Media, answered: Media, by_caller: bool) -> Keys:
    """Return the keys of one agreed line; *by_caller*: the caller has made the offer."""
    return Keys(offered.kind, keying.method, keying.suite)
