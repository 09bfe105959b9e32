"""media.bundle: which lines share one transport, as the answer says (RFC 9143; PIN-12)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipguard.errors import HostileInput
from sipguard.media.bundle import MAX_GROUPS, Bundles, bundle_of, with_transport_of
from sipguard.media.keying import agreed_key
from sipguard.reason import Reason
from sipguard.wire.candidate import read_ice
from sipguard.wire.sdp import Sdp, parse_sdp

PRINT = b"a=fingerprint:sha-256 " + b":".join([b"AB"] * 32) + b"\r\n"


def sdp(*sections: bytes, groups: tuple[bytes, ...] = (b"BUNDLE foo bar",)) -> Sdp:
    """A description of sections and groups."""
    text = b"v=0\r\no=alice 1 1 IN IP6 2001:db8::3\r\ns=-\r\nc=IN IP6 2001:db8::3\r\nt=0 0\r\n"
    text += b"".join(b"a=group:" + group + b"\r\n" for group in groups)
    return parse_sdp(text + b"".join(sections))


def section(kind: bytes, port: int, mid: bytes, *lines: bytes) -> bytes:
    own = (b"m=%s %d UDP/TLS/RTP/SAVPF 0" % (kind, port), b"a=mid:" + mid, b"a=rtcp-mux", *lines)
    return b"".join(line + b"\r\n" for line in own if line != b"a=mid:")


AUDIO = section(b"audio", 10_000, b"foo")
VIDEO = section(b"video", 10_002, b"bar")
OFFER = sdp(AUDIO, VIDEO)
ANSWER = sdp(section(b"audio", 20_000, b"foo"), section(b"video", 20_000, b"bar"))


def reasons(bundles: Bundles) -> set[Reason]:
    return {finding.reason for finding in bundles.findings}


def test_an_answered_bundle() -> None:
    """Sections 7.2.2 and 7.3.4: both lines use what the first tag of the answer names."""
    bundles = bundle_of(OFFER, ANSWER)
    assert bundles.tagged == {0: 0, 1: 0}
    assert [bundles.carrier(index) for index in range(3)] == [0, 0, 2]
    assert bundles.findings == ()


def test_the_answer_picks_the_tagged_section() -> None:
    """Sections 7.3.1 and 18.1: audio was rejected, so video's transport carries the group."""
    offer = sdp(AUDIO, VIDEO, section(b"video", 10_004, b"zen"), groups=(b"BUNDLE foo bar zen",))
    answer = sdp(
        section(b"audio", 0, b"foo"),
        section(b"video", 20_000, b"bar"),
        section(b"video", 20_000, b"zen"),
        groups=(b"BUNDLE bar zen",),
    )
    bundles = bundle_of(offer, answer)
    assert bundles.tagged == {1: 1, 2: 1}
    assert bundles.is_off(0, offer.media[0], answer.media[0])
    assert bundles.findings == ()


def test_no_bundle_without_the_answer() -> None:
    """Section 7.4: a peer that knows nothing of it answers each line by itself."""
    bundles = bundle_of(OFFER, sdp(AUDIO, VIDEO, groups=()))
    assert bundles.tagged == {}
    assert bundle_of(sdp(AUDIO, VIDEO, groups=()), sdp(AUDIO, VIDEO, groups=())).findings == ()
    assert bundle_of(OFFER, sdp(AUDIO, VIDEO, groups=(b"LS foo bar",))).tagged == {}
    for empty in (b"BUNDLE", b"", b"BUNDLE "):
        bundles = bundle_of(OFFER, sdp(AUDIO, VIDEO, groups=(empty,)))
        assert (bundles.tagged, bundles.findings) == ({}, ())


def test_a_line_may_be_moved_out() -> None:
    """Section 7.3.2: it stands for itself then."""
    answer = sdp(AUDIO, VIDEO, groups=(b"BUNDLE foo",))
    bundles = bundle_of(OFFER, answer)
    assert bundles.tagged == {0: 0}
    assert not bundles.is_off(1, OFFER.media[1], answer.media[1])


ONLY = section(b"video", 0, b"bar", b"a=bundle-only")
DISABLED = section(b"video", 0, b"bar")


def test_port_0_with_bundle_only_is_on() -> None:
    """Section 6: the line exists in the group, and nowhere else."""
    offer = sdp(AUDIO, ONLY)
    bundles = bundle_of(offer, ANSWER)
    assert bundles.tagged == {0: 0, 1: 0}
    assert not bundles.is_off(1, offer.media[1], ANSWER.media[1])


def test_answers_of_rfc_8843_have_port_0_too() -> None:
    """Section 7.4.1: older stacks write bundle-only in answers as well."""
    answer = sdp(section(b"audio", 20_000, b"foo"), ONLY)
    bundles = bundle_of(sdp(AUDIO, ONLY), answer)
    assert bundles.tagged == {0: 0, 1: 0}
    assert not bundles.is_off(1, answer.media[1], answer.media[1])


def test_bundle_only_outside_of_its_group_is_off() -> None:
    """Section 7.3.2: the answerer may reject it, and nothing else."""
    offer, answer = sdp(AUDIO, ONLY), sdp(AUDIO, VIDEO, groups=(b"BUNDLE foo",))
    bundles = bundle_of(offer, answer)
    assert bundles.is_off(1, offer.media[1], answer.media[1])


@pytest.mark.parametrize(
    ("offer", "answer"),
    [(sdp(AUDIO, DISABLED), ANSWER), (OFFER, sdp(AUDIO, DISABLED))],
    ids=["offered", "answered"],
)
def test_port_0_without_bundle_only_is_off(offer: Sdp, answer: Sdp) -> None:
    """Section 7.5.3: the group may name it, it is disabled all the same."""
    bundles = bundle_of(offer, answer)
    assert bundles.tagged == {0: 0}
    assert bundles.is_off(1, offer.media[1], answer.media[1])
    assert reasons(bundles) == {Reason.BAD_BUNDLE}


@pytest.mark.parametrize(
    ("offer", "answer"),
    [
        (sdp(ONLY, VIDEO.replace(b"bar", b"foo")), sdp(VIDEO, AUDIO, groups=(b"BUNDLE bar foo",))),
        (OFFER, sdp(section(b"audio", 0, b"foo", b"a=bundle-only"), VIDEO)),
    ],
    ids=["offered", "answered"],
)
def test_a_tagged_section_needs_a_port(offer: Sdp, answer: Sdp) -> None:
    """Section 7.3.1: without one there is no transport at all."""
    bundles = bundle_of(offer, answer)
    assert bundles.tagged == {}
    assert reasons(bundles) == {Reason.BAD_BUNDLE}


@pytest.mark.parametrize(
    "groups",
    [
        (b"BUNDLE foo baz",),
        (b"BUNDLE foo foo",),
        (b"BUNDLE foo", b"BUNDLE foo bar"),
    ],
    ids=["no such line", "twice", "in two groups"],
)
def test_tags_that_name_no_one_line(groups: tuple[bytes, ...]) -> None:
    """PIN-12: a group that two readers would see differently is none."""
    bundles = bundle_of(OFFER, sdp(AUDIO, VIDEO, groups=groups))
    assert 1 not in bundles.tagged
    assert reasons(bundles) == {Reason.BAD_BUNDLE}


@pytest.mark.parametrize(
    "offered",
    [(), (b"BUNDLE foo",), (b"BUNDLE foo", b"BUNDLE bar"), (b"BUNDLE foo bar", b"BUNDLE bar")],
    ids=["none", "another", "two", "overlapping"],
)
def test_a_bundle_that_was_not_offered(offered: tuple[bytes, ...]) -> None:
    """Section 7.3: the answer may neither make a group nor merge two."""
    bundles = bundle_of(sdp(AUDIO, VIDEO, groups=offered), ANSWER)
    assert bundles.tagged == {}
    assert reasons(bundles) == {Reason.BAD_BUNDLE}


@pytest.mark.parametrize(
    "answer",
    [
        sdp(section(b"audio", 20_000, b"bar"), section(b"video", 20_000, b"foo")),
        sdp(section(b"audio", 20_000, b"foo"), section(b"video", 20_000, b"foo")),
        sdp(section(b"audio", 20_000, b"foo", b"a=mid:bar"), VIDEO),
        sdp(section(b"audio", 20_000, b"new"), VIDEO, groups=(b"BUNDLE new bar",)),
    ],
    ids=["swapped", "shared", "two of one line", "new"],
)
def test_tags_may_not_wander(answer: Sdp) -> None:
    """RFC 5888 section 9.1: the answer repeats the offer's, line by line."""
    bundles = bundle_of(OFFER, answer)
    assert bundles.tagged == {}
    assert reasons(bundles) == {Reason.BAD_BUNDLE}


def test_a_rejected_line_need_not_repeat_its_tag() -> None:
    """RFC 3264 section 6: what stands in a rejected section means nothing."""
    answer = sdp(AUDIO, section(b"video", 0, b""), groups=(b"BUNDLE foo",))
    bundles = bundle_of(OFFER, answer)
    assert bundles.tagged == {0: 0}
    assert bundles.findings == ()


def test_several_groups() -> None:
    """Section 7: each for itself."""
    names = (b"a", b"b", b"c", b"d")
    lines = [section(b"audio", 10_000 + 2 * at, name) for at, name in enumerate(names)]
    both = sdp(*lines, groups=(b"BUNDLE a c", b"BUNDLE d b"))
    assert bundle_of(both, both).tagged == {0: 0, 2: 0, 3: 3, 1: 3}


def test_groups_and_findings_are_bounded() -> None:
    """GEN-3: a description has no more groups than lines, nor more to say about them."""
    just = bundle_of(OFFER, sdp(AUDIO, VIDEO, groups=(b"BUNDLE x",) * MAX_GROUPS))
    assert len(just.findings) == MAX_GROUPS
    more = bundle_of(OFFER, sdp(AUDIO, VIDEO, groups=(b"BUNDLE x",) * (MAX_GROUPS + 1)))
    assert len(more.findings) == MAX_GROUPS
    assert more.findings[0].detail != just.findings[0].detail


def test_a_port_count_is_carried_along() -> None:
    """Nobody bundles several ports, but the two lines must not differ in them."""
    several = parse_sdp(OFFER.raw.replace(b"m=audio 10000", b"m=audio 10000/2"))
    assert with_transport_of(several.media[1], several.media[0]).port_count == 2
    assert with_transport_of(OFFER.media[1], OFFER.media[0]).port_count == 1


TAGGED = section(
    b"audio", 20_000, b"foo",
    b"a=ice-ufrag:9uB6", b"a=ice-pwd:YH75Fviy6338Vbrhrlp8Yh", PRINT.strip(), b"a=setup:active",
    b"a=candidate:1 1 UDP 2130706431 2001:db8::1 20000 typ host",
)  # fmt: skip


def test_a_bundled_line_is_keyed_by_the_tagged_section() -> None:
    """Section 7.1.3: answers have TRANSPORT attributes in the tagged section alone."""
    offer = sdp(
        *[
            section(kind, port, mid, PRINT.strip(), b"a=setup:actpass")
            for kind, port, mid in ((b"audio", 10_000, b"foo"), (b"video", 10_002, b"bar"))
        ]
    )
    answer = sdp(TAGGED, section(b"video", 20_000, b"bar", b"a=sendonly"))
    assert not agreed_key(offer.media[1], answer.media[1]).keyed
    carried = with_transport_of(answer.media[1], answer.media[bundle_of(offer, answer).carrier(1)])
    assert (carried.kind, carried.direction, carried.formats) == (b"video", b"sendonly", (b"0",))
    assert (carried.port, carried.address) == (20_000, answer.media[0].address)
    assert agreed_key(offer.media[1], carried).keyed
    ice = read_ice(answer, carried)
    assert ice is not None
    assert ice.is_usable
    assert len(ice.candidates) == 1


def test_what_a_bundled_line_says_about_transport_does_not_count() -> None:
    """Section 7.1.3: neither its port nor its key; its own media do."""
    stray = (
        b"m=video 7000 UDP/TLS/RTP/SAVPF 0\r\nc=IN IP4 192.0.2.66\r\na=mid:bar\r\n"
        b"a=ice-ufrag:stray\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:%s\r\n"
        b"a=rtcp:7009\r\na=rtpmap:0 PCMU/8000\r\n" % (b"A" * 40)
    )
    answer = sdp(TAGGED, stray)
    tagged, own = answer.media
    carried = with_transport_of(own, tagged)
    assert (carried.port, carried.address) == (tagged.port, tagged.address)
    assert (carried.cryptos, carried.rtcp, carried.rtcp_mux) == ((), None, True)
    assert (b"rtpmap", b"0 PCMU/8000") in carried.attributes
    assert (b"ice-ufrag", b"stray") not in carried.attributes
    assert (b"mid", b"bar") in carried.attributes
    assert with_transport_of(tagged, tagged) is tagged


TAGS = st.sampled_from([b"a", b"b", b"c", b"x"])
SECTIONS = st.lists(
    st.builds(
        lambda port, mid, only: section(b"audio", port, mid, *([b"a=bundle-only"] if only else [])),
        st.sampled_from([0, 10_000, 10_002]),
        TAGS,
        st.booleans(),
    ),
    min_size=1,
    max_size=4,
)
GROUPS = st.lists(
    st.lists(TAGS, max_size=4).map(lambda tags: b" ".join([b"BUNDLE", *tags])), max_size=3
)


@given(SECTIONS, GROUPS, SECTIONS, GROUPS)
def test_every_line_is_carried_by_one_that_has_a_transport(
    offered: list[bytes], groups: list[bytes], answered: list[bytes], more: list[bytes]
) -> None:
    """Whatever both sides write: what carries others carries itself, and has ports."""
    length = min(len(offered), len(answered))
    offer = sdp(*offered[:length], groups=tuple(groups))
    answer = sdp(*answered[:length], groups=tuple(more))
    bundles = bundle_of(offer, answer)
    for index, carrier in bundles.tagged.items():
        assert bundles.tagged[carrier] == carrier
        assert offer.media[carrier].port
        assert answer.media[carrier].port
        with_transport_of(answer.media[index], answer.media[carrier])


@given(st.binary(max_size=60), st.binary(max_size=20))
def test_bundling_is_total(group: bytes, tag: bytes) -> None:
    """No octets in the attributes raise."""
    try:
        one = sdp(section(b"audio", 10_000, tag), groups=(group,))
    except HostileInput:
        return
    bundle_of(one, one)
