"""Lists of security mechanisms (RFC 3329): read totally, and compared by what they mean."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipguard.errors import HostileInput
from sipguard.reason import Reason
from sipguard.wire.sec_agree import MAX_MECHANISMS, Mechanism, has_ties, is_copy, parse_mechanisms

IMS = b"ipsec-3gpp;alg=hmac-md5-96;prot=esp;mod=trans;spi-c=100;spi-s=101;port-c=5062;port-s=5063"


def test_a_list_is_read_in_order_over_all_rows() -> None:
    """TLS-32: rows and commas mean the same; names have no case."""
    read = parse_mechanisms([b"TLS;q=0.2, ipsec-ike ; q = 0.1", b'digest;d-qop="auth"'])
    assert read == (
        Mechanism(b"tls", 0.2, ()),
        Mechanism(b"ipsec-ike", 0.1, ()),
        Mechanism(b"digest", -1.0, ((b"d-qop", b'"auth"'),)),
    )


def test_what_ims_telephones_send_is_read() -> None:
    """TS 24.229 hangs SPIs and ports on ipsec-3gpp."""
    (one,) = parse_mechanisms([IMS])
    assert (one.name, dict(one.params)[b"port-s"]) == (b"ipsec-3gpp", b"5063")


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"tls,",
        b";q=1",
        b"t ls",
        b"tls;q=2",
        b"tls;q=0.1234",
        b"tls;q=",
        b"tls;;",
        b"tls;q=1;q=1",
    ],
)
def test_what_is_no_list_is_refused(value: bytes) -> None:
    """And with one of two reasons, in our own words."""
    with pytest.raises(HostileInput) as caught:
        parse_mechanisms([value])
    assert caught.value.reason in (Reason.BAD_SEC_AGREE, Reason.DUPLICATE_PARAMETER)


def test_lists_are_bounded() -> None:
    """Nobody makes us keep a list of thousands."""
    assert len(parse_mechanisms([b"tls"] * MAX_MECHANISMS)) == MAX_MECHANISMS
    for long in ([b"tls"] * (MAX_MECHANISMS + 1), [b"t" * 9000]):
        with pytest.raises(HostileInput):
            parse_mechanisms(long)


def test_a_copy_may_be_written_otherwise_but_says_the_same() -> None:
    """Parameters have no order and no case; mechanisms have an order; d-ver is the client's."""
    server = parse_mechanisms([b"digest;d-qop=auth;d-alg=MD5;q=0.2, tls;q=0.1"])
    copy = b'Digest;q=0.2;d-alg=md5;d-qop=auth;d-ver="aa", tls;q=0.1'
    assert is_copy(parse_mechanisms([copy]), server)
    for other in (
        b"tls;q=0.1, digest;d-qop=auth;d-alg=MD5;q=0.2",
        b"tls;q=0.1",
        b"digest;d-qop=auth;d-alg=MD5;q=0.2, tls;q=0.3",
        b"digest;d-qop=auth-int;d-alg=MD5;q=0.2, tls;q=0.1",
    ):
        assert not is_copy(parse_mechanisms([other]), server)


def test_two_mechanisms_of_one_preference_are_a_tie() -> None:
    """Without one stated, the order decides."""
    assert has_ties(parse_mechanisms([b"tls;q=0.1, digest;q=0.100"]))
    assert not has_ties(parse_mechanisms([b"tls;q=0.1, digest;q=0.2, a, b"]))


@given(st.lists(st.binary(max_size=40) | st.sampled_from([IMS, b"tls;q=0.5", b'"', b"a,b"])))
def test_any_octets_give_a_list_or_hostile_input(values: list[bytes]) -> None:
    """Nothing else, and every list compares with itself."""
    try:
        read = parse_mechanisms(values)
    except HostileInput:
        return
    assert 0 < len(read) <= MAX_MECHANISMS
    assert is_copy(read, read)
