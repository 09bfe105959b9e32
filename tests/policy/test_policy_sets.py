"""Membership: networks, wildcards, hosts and patterns, whatever octets they are asked about."""

from hypothesis import given
from hypothesis import strategies as st
from subjects import holds, load, octets, request
from subjects import subject as made

from sipguard.policy.literals import parse_prefix
from sipguard.policy.readings import credentials
from sipguard.policy.sets import AddressSet, host_test, text_test
from sipguard.wire.sip import parse_message


@given(
    st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 32)), max_size=8),
    st.integers(0, 2**32 - 1),
)
def test_address_sets_hold_what_their_prefixes_cover(
    nets: list[tuple[int, int]], number: int
) -> None:
    """Look-up by prefix length says what walking the prefixes would; so does the memory."""
    texts = [f"{'.'.join(map(str, net.to_bytes(4, 'big')))}/{bits}" for net, bits in nets]
    prefixes = [prefix for text in texts if (prefix := parse_prefix(text))]
    assert len(prefixes) == len(texts)
    expected = any(number >> (32 - bits) == net >> (32 - bits) for net, bits in nets)
    addresses = AddressSet(prefixes)
    raw = number.to_bytes(4, "big")
    assert addresses[raw] is expected
    assert addresses[raw] is expected
    assert addresses[b""] is False


def test_families_do_not_mix() -> None:
    """An IPv6 address is in no IPv4 network, however its bits read."""
    addresses = AddressSet([p for p in (parse_prefix("0.0.0.0/0"),) if p])
    assert addresses[octets("10.0.0.1")]
    assert not addresses[octets("::1")]


def test_memory_of_answers_is_bounded() -> None:
    """Spoofed sources cannot grow a set."""
    addresses = AddressSet([p for p in (parse_prefix("10.0.0.0/8"),) if p])
    for number in range(20_000):
        assert addresses[number.to_bytes(4, "big")] is False
    assert len(addresses) <= 16_384
    texts = text_test(frozenset(), ["a*"])
    for number in range(9_000):
        assert not texts(b"%d" % number)
    assert texts(b"a" * 70_000)


@given(st.binary(max_size=40))
def test_wildcards_are_plain_about_octets(text: bytes) -> None:
    """No octets confuse a wildcard: it is about prefix and suffix alone."""
    test = text_test(frozenset({b"exact"}), ["+19*", "*.x", "a*b"])
    expected = (
        text == b"exact"
        or text.startswith(b"+19")
        or text.endswith(b".x")
        or (len(text) > 1 and text[:1] == b"a" and text[-1:] == b"b")
    )
    assert test(text) is expected


def test_hosts_written_as_addresses_are_in_networks() -> None:
    """A From host of an address is held against prefixes, a name never is."""
    prefixes = [p for p in (parse_prefix("10.0.0.0/8"), parse_prefix("2001:db8::/32")) if p]
    test = host_test(frozenset({b"pbx"}), [b".example.com"], prefixes)
    hosts = [b"pbx", b"a.example.com", b"10.1.2.3", b"2001:db8::5"]
    assert all(test(host) for host in hosts)
    assert not any(test(host) for host in [b"example.com", b"11.1.2.3", b"10.1.2.3.evil", b""])


@given(st.binary(max_size=200))
def test_patterns_take_any_octets(text: bytes) -> None:
    """What a peer writes is matched octet by octet and never raises."""
    assert holds('header["X"] matches /^$/', made()) is True
    raw = request(headers="User-Agent: \r\n").replace(b"User-Agent: ", b"User-Agent: x" + text)
    subject = made(raw) if b"\r" not in text and b"\n" not in text else made()
    holds("user_agent matches /(x+x+)+y/", subject)


@given(st.binary(max_size=200))
def test_credentials_are_read_from_any_octets(text: bytes) -> None:
    """Reading user and realm is total."""
    raw = request(headers="Authorization: Digest @\r\n")
    message = parse_message(raw.replace(b"@", text.translate(None, b"\r\n")))
    found = credentials(message)
    assert found is None or isinstance(found.user, bytes)


def test_sets_are_built_once_for_each_type() -> None:
    """Rules that ask the same set share its memory of answers."""
    policy = load(
        "set a { 10.0.0.0/8 }\nchain request\n  x drop if src in a and replay\n  y drop if src in a"
    )
    assert policy.judge("request", made()) is not None
