"""Which ``m=`` lines share one transport? BUNDLE groups of an offer and its answer (RFC 9143).

The answer decides (PIN-12): the first tag of its group names the section whose address,
port and keys all others of the group use, in the offer as well as in the answer. A line
with port 0 is off, unless ``a=bundle-only`` says that it lives in the group alone.
Where a group cannot be read in one way only it is none, and each line stands for itself:
those that brought no address or key of their own then get no hole.
"""

from typing import Final, final

from sipguard.reason import Finding, Reason
from sipguard.wire.sdp import Media, Sdp
from sipguard.wire.sdp_level import Level, SdpFindings

MAX_GROUPS: Final = 16  # of one description; it has no more lines

# Categories TRANSPORT and IDENTICAL of RFC 8859: what only the tagged section says.
_TRANSPORT: Final = frozenset(
    (
        *(b"candidate", b"end-of-candidates", b"ice-mismatch", b"ice-options", b"ice-pacing"),
        *(b"ice-pwd", b"ice-ufrag", b"remote-candidates"),
        *(b"connection", b"crypto", b"fingerprint", b"key-mgmt", b"setup", b"tls-id"),
        *(b"zrtp-hash", b"rtcp", b"rtcp-mux", b"rtcp-mux-only", b"rtcp-rsize"),
    )
)

_Groups = list[tuple[bytes, ...]]


@final
class Bundles:
    """The bundled lines of one offer and answer: ``tagged`` maps each to the one that carries it.

    A tagged section maps to itself; a line that is no key stands for itself.
    """

    __slots__ = ("findings", "tagged")

    def __init__(self) -> None:
        """Begin without any."""
        self.tagged: dict[int, int] = {}
        self.findings: tuple[Finding, ...] = ()

    def carrier(self, index: int) -> int:
        """Return the index of the section whose transport a line uses."""
        return self.tagged.get(index, index)

    def is_off(self, index: int, offered: Media, answered: Media) -> bool:
        """Tell whether a line is disabled or rejected: port 0, and no bundle carries it."""
        return index not in self.tagged and not (offered.port and answered.port)

    def reject(self, detail: str, octets: bytes = b"") -> None:
        """Say why a group, or one of its lines, is left out."""
        if len(self.findings) < MAX_GROUPS:
            self.findings = (*self.findings, Finding(Reason.BAD_BUNDLE, detail, octets[:128]))


def bundle_of(offer: Sdp, answer: Sdp) -> Bundles:
    """Return which lines of an agreed description share whose transport."""
    bundles = Bundles()
    answered = _groups(answer, bundles)
    if not answered:
        return bundles
    offered = _groups(offer, bundles)
    places, answer_places = _places(offer, bundles), _places(answer, bundles)
    if places is None or answer_places is None:
        return bundles
    # A rejected line need not repeat its tag, but no tag may move to another line.
    if any(places.get(tag) != index for tag, index in answer_places.items()):
        bundles.reject("the answer gives an identification tag to another line")
        return bundles
    taken: set[bytes] = set()
    for tags in answered:
        problem = _problem(tags, offered, answer_places, taken)
        taken.update(tags)
        if problem:
            bundles.reject(problem, b" ".join(tags))
        else:
            _bundle([places[tag] for tag in tags], offer, answer, bundles)
    return bundles


def _groups(sdp: Sdp, bundles: Bundles) -> _Groups:
    """Return the identification tags of each group; one without tags is none (section 7.3)."""
    groups = []
    for name, value in sdp.attributes:
        words = [word for word in value.split(b" ") if word] if name == b"group" else []
        if len(words) > 1 and words[0] == b"BUNDLE":
            groups.append(tuple(words[1:]))
    if len(groups) > MAX_GROUPS:
        bundles.reject(f"more than {MAX_GROUPS} groups")
    return groups[:MAX_GROUPS]


def _places(sdp: Sdp, bundles: Bundles) -> dict[bytes, int] | None:
    """Return the line that each identification tag names, ``None`` where one names two."""
    places: dict[bytes, int] = {}
    for index, media in enumerate(sdp.media):
        tags = [value for name, value in media.attributes if name == b"mid"]
        if not tags:
            continue
        if len(tags) > 1 or tags[0] in places:
            bundles.reject("two identification tags of one line, or two lines of one tag", tags[0])
            return None
        places[tags[0]] = index
    return places


def _problem(
    tags: tuple[bytes, ...], offered: _Groups, places: dict[bytes, int], taken: set[bytes]
) -> str:
    """Return why an answered group cannot be used, empty if it can."""
    if len(set(tags)) != len(tags):
        return "a tag stands twice in one group"
    if not taken.isdisjoint(tags):
        return "a tag stands in two groups"
    if not all(tag in places for tag in tags):
        return "a tag that names no line"
    homes = [group for group in offered if not set(group).isdisjoint(tags)]
    # An answerer may leave lines out, but neither add nor move any (section 7.3).
    if len(homes) != 1 or not set(tags) <= set(homes[0]):
        return "the answer bundles what was not offered as one bundle"
    return ""


def _bundle(members: list[int], offer: Sdp, answer: Sdp, bundles: Bundles) -> None:
    """Let the first member carry the others, but those that are switched off."""
    tagged = members[0]
    if not (offer.media[tagged].port and answer.media[tagged].port):
        # Section 7.3.1: such a section is never selected, so there is no transport.
        bundles.reject("the tagged section has port 0")
        return
    for index in members:
        if all(_is_on(sdp.media[index]) for sdp in (offer, answer)):
            bundles.tagged[index] = tagged
        else:
            bundles.reject("a bundled line with port 0 that is not bundle-only")


def _is_on(media: Media) -> bool:
    """Report a port, or the port 0 of a line that lives in its bundle alone (RFC 8843)."""
    return media.port != 0 or any(name == b"bundle-only" for name, _ in media.attributes)


def with_transport_of(own: Media, tagged: Media) -> Media:
    """Return a bundled line as it is carried: its own media, the tagged section's transport.

    Address, port and attributes of the categories TRANSPORT and IDENTICAL are those of the
    tagged section, whatever the line itself says about them (RFC 9143 section 7.1.3).
    """
    if own is tagged:
        return own
    port = b"%d" % tagged.port
    if tagged.port_count > 1:
        port += b"/%d" % tagged.port_count
    level = Level(b" ".join((own.kind, port, own.proto, *own.formats)))
    if tagged.address_text:
        family = b"IP4" if len(tagged.address) == 4 else b"IP6"
        level.connection = b"IN " + family + b" " + tagged.address_text
    level.cryptos = list(tagged.cryptos)
    level.fingerprints = list(tagged.fingerprints)
    level.setup = tagged.setup
    level.direction = own.direction
    level.rtcp = tagged.rtcp
    level.mux = tagged.rtcp_mux
    level.attributes = [item for item in own.attributes if item[0] not in _TRANSPORT]
    level.attributes += [item for item in tagged.attributes if item[0] in _TRANSPORT]
    return Media(level, Level(is_session=True), SdpFindings())
