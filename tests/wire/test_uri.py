"""URIs: strict reading, comparison (RFC 3261 section 19.1.4), identity key (SIP-36, SIP-37)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipguard.errors import HostileInput
from sipguard.reason import Reason
from sipguard.wire.uri import aor_key, parse_uri, uri_equal

ALPHABET = st.sampled_from(
    [b"sip:", b"a", b"@", b";", b"=", b"?", b"&", b"%", b"41", b"[::1]", b".", b":9", b"-"]
)


def test_every_part_is_read() -> None:
    """Nothing is decoded, names are lower case, the port is a number."""
    uri = parse_uri(b"SIPS:a%40b;c?d:p&w@Pond.Example:5061;LR;Maddr=[2001:db8::1]?Subject=x&To=")
    assert uri.scheme == b"sips"
    assert (uri.user, uri.password) == (b"a%40b;c?d", b"p&w")
    assert (uri.host, uri.port) == (b"pond.example", 5061)
    assert uri.params == ((b"lr", b""), (b"maddr", b"[2001:db8::1]"))
    assert uri.headers == b"Subject=x&To="
    assert (uri.param(b"lr"), uri.param(b"ttl")) == (b"", None)


def test_other_schemes_keep_only_their_text() -> None:
    """A scheme we do not know is no error (RFC 4475 section 3.3.2), but says nothing to us."""
    uri = parse_uri(b"frog.pond://moss@x:1/y?z")
    assert (uri.scheme, uri.host, uri.raw) == (b"frog.pond", b"", b"frog.pond://moss@x:1/y?z")
    tel = parse_uri(b"tel:+1-(555)0100;phone-context=pond.example")
    assert (tel.user, tel.param(b"phone-context")) == (b"+1-(555)0100", b"pond.example")


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"moss",
        b"sip:",
        b"sip:@x",
        b"sip:a@",
        b"sip:a@b@c",
        b"sip:a b@c",
        b"sip:a@b:",
        b"sip:a@b:x",
        b"sip:a@b:65536",
        b"sip:a@b;",
        b"sip:a@b;;c",
        b"sip:a@b;c=",
        b"sip:a@b?",
        b"sip:a@b?x",
        b"sip:a@b;x=y@z",
        b"sip:a@-b",
        b"sip:a@b-",
        b"sip:a@b..c",
        b"sip:a@1.2.3",
        b"sip:a@1.2.3.256",
        b"sip:a@1.2.3.04",
        b"sip:a@[1.2.3.4]",
        b"sip:a@[::1",
        b"sip:a@::1",
        b"sip:a@[::1%25eth0]",
        b"sip:a@b%41",
        b"sip:%4@b",
        b"sip:a@b_c",
        b"sip:\xe4@b",
        b"sip:a\0@b",
        b"<sip:a@b>",
        b"tel:",
        b"tel:a;b;;",
        b"1x:y",
        b"http://a b",
    ],
)
def test_what_cannot_be_read_one_way_is_refused(raw: bytes) -> None:
    """No guessing: neither a second @, nor short quads, nor broken escapes."""
    with pytest.raises(HostileInput) as caught:
        parse_uri(raw)
    assert caught.value.reason is Reason.BAD_URI


def test_a_parameter_with_two_values_is_ambiguous() -> None:
    """Equal repetition is borne (Linphone writes it), contradiction is not (SIP-14)."""
    assert parse_uri(b"sip:a@b;transport=tcp;transport=tcp").params == ((b"transport", b"tcp"),)
    with pytest.raises(HostileInput) as caught:
        parse_uri(b"sip:a@b;transport=tcp;transport=udp")
    assert caught.value.reason is Reason.DUPLICATE_PARAMETER


def test_three_colons_before_an_ipv4_tail_mean_two() -> None:
    """RFC 3261's own grammar derives them; RFC 5118 section 4.10."""
    assert parse_uri(b"sip:a@[2001:db8:::192.0.2.1]").host == b"2001:db8::192.0.2.1"


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (b"sip:%6doss@Pond.example;Transport=TCP", b"sip:moss@pond.EXAMPLE;transport=tcp"),
        (b"sip:moss@pond.example", b"sip:moss@pond.example;newparam=5"),
        (b"sip:moss@pond.example;a=1;b=2", b"sip:moss@pond.example;b=2;a=1"),
        (b"sip:pond.example?To=x&From=y", b"sip:pond.example?From=y&To=x"),
        (b"sip:a@[2001:db8::1]", b"sip:a@[2001:DB8:0:0::1]"),
        (b"tel:+1-555-0100", b"tel:+15550100"),
        (b"frog:x", b"FROG:x"),
    ],
)
def test_equal_uris(a: bytes, b: bytes) -> None:
    """Order, case and needless escapes do not matter; both ways round."""
    assert uri_equal(parse_uri(a), parse_uri(b))
    assert uri_equal(parse_uri(b), parse_uri(a))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (b"sip:moss@pond.example", b"sips:moss@pond.example"),
        (b"sip:Moss@pond.example", b"sip:moss@pond.example"),
        (b"sip:moss@pond.example", b"sip:moss@pond.example:5060"),
        (b"sip:moss@pond.example", b"sip:moss@pond.example;transport=udp"),
        (b"sip:moss@pond.example", b"sip:moss@pond.example;user=phone"),
        (b"sip:moss@pond.example;x=1", b"sip:moss@pond.example;x=2"),
        (b"sip:moss@pond.example", b"sip:moss@pond.example?Subject=x"),
        (b"sip:mo%2Fss@pond.example", b"sip:mo/ss@pond.example"),
        (b"sip:moss@pond.example", b"sip:moss@192.0.2.1"),
        (b"sip:moss@pond.example", b"sip:moss:secret@pond.example"),
        (b"tel:+15550100", b"tel:+15550101"),
        (b"frog:x", b"frog:y"),
    ],
)
def test_unequal_uris(a: bytes, b: bytes) -> None:
    """A difference that could lead elsewhere makes two addresses (SIP-37)."""
    assert not uri_equal(parse_uri(a), parse_uri(b))
    assert not uri_equal(parse_uri(b), parse_uri(a))


def test_aor_key_is_who_not_where() -> None:
    """Port, parameters, headers and password do not make another person; case of the user does."""
    key = aor_key(parse_uri(b"sip:Mo%73s:pw@Pond.example:5070;lr?Subject=x"))
    assert key == b"sip:Moss@pond.example"
    assert aor_key(parse_uri(b"sip:pond.example")) == b"sip:pond.example"
    assert aor_key(parse_uri(b"tel:+1-555-0100;ext=1")) == b"tel:+15550100"


def test_aor_key_cannot_be_forged_by_an_escaped_at() -> None:
    """The host is what follows the last @, however the user is written."""
    forged = aor_key(parse_uri(b"sip:boss%40pond.example@evil.example"))
    assert forged.rpartition(b"@")[2] == b"evil.example"


@given(st.lists(ALPHABET, max_size=10).map(b"".join))
def test_what_is_read_equals_itself(raw: bytes) -> None:
    """Total, and reflexive where it yields a value."""
    try:
        uri = parse_uri(raw)
    except HostileInput:
        return
    assert uri_equal(uri, uri)
    assert uri.raw == raw
