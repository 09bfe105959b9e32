"""wire.dtls_hello: what hellos and certificates say, read to the last octet."""

from contextlib import suppress

import pytest
from dtls_ends import certificates, client_hello, extension, server_hello, use_srtp, vector
from hypothesis import given
from hypothesis import strategies as st

from sipguard.errors import HostileInput
from sipguard.reason import Reason
from sipguard.wire.dtls_hello import (
    MAX_CERTIFICATES,
    encrypts,
    is_aead,
    parse_certificates,
    parse_client_hello,
    parse_server_hello,
    tag_octets,
)

VERSIONS = extension(43, b"\4\xfe\xfc\xfe\xfd")


class TestClientHello:
    def test_dtl_5_it_lists_srtp_profiles_and_an_mki(self) -> None:
        """RFC 5764 section 4.1.1, among other extensions."""
        hello = parse_client_hello(
            client_hello(extension(10, b"\0\2\0\x17"), use_srtp(1, 7, 8, mki=b"key"))
        )
        assert hello.extensions.profiles == (1, 7, 8)
        assert hello.extensions.mki == b"key"
        assert hello.random == bytes(range(32))
        assert hello.version == 0xFEFD

    def test_without_extensions(self) -> None:
        """None at all is legal, and offers no SRTP."""
        for body in (client_hello(), client_hello()[:-2]):
            hello = parse_client_hello(body)
            assert hello.extensions.profiles == ()
            assert hello.extensions.versions == ()
            assert hello.extensions.connection_id_octets == -1

    def test_versions_cookie_session_and_connection_id(self) -> None:
        """What tells of DTLS 1.3, of a HelloVerifyRequest, of resumption and RFC 9146."""
        hello = parse_client_hello(
            client_hello(VERSIONS, extension(54, b"\3abc"), cookie=b"crumbs", session=b"before")
        )
        assert hello.extensions.versions == (0xFEFC, 0xFEFD)
        assert hello.cookie == b"crumbs"
        assert hello.session_id == b"before"
        assert hello.extensions.connection_id_octets == 3

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            client_hello(use_srtp(1))[:-1],
            client_hello(use_srtp(1)) + b"\0",
            client_hello(use_srtp(1), use_srtp(1)),
            client_hello(extension(10, b""), extension(10, b"")),
            client_hello(use_srtp()),
            client_hello(extension(14, b"\0\3\0\1\0\0")),
            client_hello(extension(14, b"\0\2\0\1")),
            client_hello(extension(14, b"\0\2\0\1\0\0")),
            client_hello(extension(43, b"\0")),
            client_hello(extension(43, b"\3\xfe\xfd\xfe")),
            b"\x03\x03" + client_hello(use_srtp(1))[2:],
            b"\xfe\xfd" + bytes(32) + b"\0\0\0\0\1\0\0\0",
            b"\xfe\xfd" + bytes(32) + b"\0\0\0\2\xc0\x2b\0\0\0",
        ],
        ids=[
            *("empty", "cut", "more", "use_srtp twice", "another twice", "no profiles", "odd list"),
            *("no mki", "more in use_srtp", "no versions", "odd versions", "TLS", "no suites"),
            "no compression",
        ],
    )
    def test_what_cannot_be_is_refused(self, body: bytes) -> None:
        """A second reading of it may find another offer."""
        with pytest.raises(HostileInput) as caught:
            parse_client_hello(body)
        assert caught.value.reason is Reason.BAD_DTLS


class TestServerHello:
    def test_dtl_5_it_takes_one_profile(self) -> None:
        """RFC 5764 section 4.1.1, in clear up to DTLS 1.2."""
        hello = parse_server_hello(server_hello(use_srtp(7, mki=b"key"), session=b"id"))
        assert hello.extensions.profiles == (7,)
        assert hello.extensions.mki == b"key"
        assert hello.session_id == b"id"
        assert not hello.hides_certificates

    def test_dtls_1_3_shows_by_an_extension(self) -> None:
        """The version field says 1.2 (RFC 9147 section 5.4)."""
        assert parse_server_hello(server_hello(extension(43, b"\xfe\xfc"))).hides_certificates

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            server_hello(use_srtp(1))[:-1],
            server_hello(use_srtp(1)) + b"\0",
            server_hello(use_srtp(1, 2)),
            server_hello(VERSIONS),
            server_hello(use_srtp(1), use_srtp(2)),
            b"\xfe\xfc" + server_hello()[2:],
        ],
    )
    def test_what_cannot_be_is_refused(self, body: bytes) -> None:
        """Cut off, with a rest, with two choices."""
        with pytest.raises(HostileInput) as caught:
            parse_server_hello(body)
        assert caught.value.reason is Reason.BAD_DTLS


class TestCertificates:
    def test_the_senders_own_comes_first(self) -> None:
        """In DER, those of its issuers behind it."""
        assert parse_certificates(certificates(b"leaf", b"issuer")) == (b"leaf", b"issuer")
        assert parse_certificates(certificates()) == ()

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"\0\0",
            certificates(b"leaf")[:-1],
            certificates(b"leaf") + b"\0",
            vector(vector(b"leaf", 3) + b"\0", 3),
            certificates(*[b"x"] * (MAX_CERTIFICATES + 1)),
        ],
    )
    def test_what_cannot_be_is_refused(self, body: bytes) -> None:
        """Cut off, with a rest, or more than any telephone sends."""
        with pytest.raises(HostileInput) as caught:
            parse_certificates(body)
        assert caught.value.reason is Reason.BAD_DTLS


def test_dtl_5_null_profiles_and_unknown_ones_do_not_encrypt() -> None:
    """0x0005 and 0x0006 authenticate alone; of others nobody here can say what they do."""
    assert [number for number in range(0x20) if encrypts(number)] == [1, 2, *range(7, 17)]
    assert not any(map(tag_octets_of, (0, 5, 6, 0xFFFF)))


def tag_octets_of(profile: int) -> int:
    return tag_octets(profile, is_rtcp=True) + tag_octets(profile, is_rtcp=False)


def test_dtl_5_profiles_make_packets_longer() -> None:
    """RFC 5764 section 4.1.2: 32 bits are for RTP alone; RFC 7714: 128 bits for both."""
    assert [tag_octets(profile, is_rtcp=False) for profile in (1, 2, 7, 8)] == [10, 4, 16, 16]
    assert [tag_octets(profile, is_rtcp=True) for profile in (1, 2, 7, 8)] == [10, 10, 16, 16]
    assert [is_aead(profile) for profile in (1, 2, 7, 8)] == [False, False, True, True]


EXTENSIONS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from([10, 14, 43, 54]), st.binary(max_size=8)).map(
            lambda parts: extension(*parts)
        ),
        st.lists(st.integers(0, 20), max_size=3).map(lambda profiles: use_srtp(*profiles)),
    ),
    max_size=4,
)


@given(
    st.one_of(
        st.binary(max_size=80),
        EXTENSIONS.map(lambda some: client_hello(*some)),
        EXTENSIONS.map(lambda some: server_hello(*some)),
        st.lists(st.binary(max_size=5), max_size=3).map(lambda ders: certificates(*ders)),
    ),
    st.integers(0, 90),
    st.binary(max_size=3),
)
def test_reading_is_total(body: bytes, cut: int, rest: bytes) -> None:
    """No octets raise anything but HostileInput, whole, cut off or with a rest."""
    for octets in (body, body[:cut], body + rest, body[:cut] + rest + body[cut:]):
        for parse in (parse_client_hello, parse_server_hello, parse_certificates):
            with suppress(HostileInput):
                parse(octets)
