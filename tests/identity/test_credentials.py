"""Where a PASSporT's certificate may come from, and what is kept of it."""

import ipaddress

import pytest
from authority import NOW_S, issue, make_authority
from hypothesis import given
from hypothesis import strategies as st

from sipguard.errors import HostileInput
from sipguard.identity.credentials import (
    MAX_CHAIN,
    MAX_CREDENTIAL_OCTETS,
    Credentials,
    check_url,
    is_public,
    read_chain,
)
from sipguard.reason import Finding, Reason

CA = make_authority("STI root")
LEAF = issue("provider", CA)
URL = "https://cr.example.com/shaken.pem"
CHAIN = LEAF.pem + CA.pem


def address(text: str) -> bytes:
    return ipaddress.ip_address(text).packed


PUBLIC = ["8.8.8.8", "192.0.1.1", "100.128.0.1", "172.32.0.1", "198.20.0.1", "2a00:1450::1"]
PUBLIC += ["2001:200::1", "2003::1", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "223.255.255.255"]
OURS = ["0.0.0.0", "10.1.2.3", "100.64.0.1", "100.127.255.255", "127.0.0.1", "169.254.169.254"]
OURS += ["172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.2.1", "192.88.99.1", "192.168.1.1"]
OURS += ["198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.9", "224.0.0.1", "240.0.0.1"]
OURS += ["255.255.255.255", "::", "::1", "fe80::1", "fc00::1", "fd12::1", "ff02::1", "2001::1"]
OURS += ["2001:db8::1", "2002:7f00:1::1", "3fff::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1"]
OURS += ["64:ff9b::10.0.0.1", "64:ff9b:1::1", "100::1", "5f00::1", "::10.0.0.1"]


@pytest.mark.parametrize("text", PUBLIC)
def test_sti_15_a_public_address_may_be_asked(text: str) -> None:
    """Carriers publish certificates on the Internet."""
    assert is_public(address(text))


@pytest.mark.parametrize("text", OURS)
def test_sti_15_no_address_of_ours_is_asked(text: str) -> None:
    """A header must not make the gateway ask a host of its own network, in any spelling."""
    assert not is_public(address(text))


@given(st.integers(0, 2**32 - 1))
def test_sti_15_no_private_ipv4_address_is_public(number: int) -> None:
    """What Python's own table calls private or special is never public here."""
    text = ipaddress.IPv4Address(number)
    if not text.is_global or text.is_multicast:
        assert not is_public(text.packed)


@given(st.binary(max_size=20))
def test_is_public_is_total(octets: bytes) -> None:
    """Octets that are no address are not public."""
    assert is_public(octets) in (False, len(octets) in (4, 16))


GOOD_URLS = [URL, "https://cr.example.com", "https://cr.example.com:8443/a/b.pem?v=1"]
GOOD_URLS += ["https://cr.example.com:443/", "https://8.8.8.8/x", "https://[2a00:1450::1]:8443/x"]
BAD_URLS = {
    "http://cr.example.com/a.pem": "not https",
    "ftp://cr.example.com/a.pem": "not https",
    "file:///etc/passwd": "not https",
    "": "not https",
    "https://cr.example.com:22/a.pem": "port",
    "https://cr.example.com:0/a.pem": "port",
    "https://user@cr.example.com/a.pem": "user name",
    "https://cr.example.com#x": "fragment",
    "https://cr.example.com/a.pem#x": "fragment",
    "https://cr.example.com\\@evil.example/a.pem": "",
    "https://cr.example.com/a b": "not well formed",
    "https://cr.example.com/\r\nX: y": "not well formed",
    "https:///a.pem": "not well formed",
    "https://127.0.0.1/a.pem": "not public",
    "https://[::1]/a.pem": "not public",
    "https://[::ffff:10.0.0.1]/a.pem": "not public",
    "https://169.254.169.254/latest/meta-data": "not public",
    "https://127.1/a.pem": "no usable host",
    "https://0x7f000001/a.pem": "no usable host",
    "https://2130706433/a.pem": "no usable host",
    "https://[fe80::1%25eth0]/a.pem": "not well formed",
    "https://localhost/a.pem": "local network",
    "https://printer/a.pem": "local network",
    "https://cr.example.com/" + 2000 * "a": "longer",
    "https://cr.éxample.com/a.pem": "not well formed",
}


@pytest.mark.parametrize("url", GOOD_URLS)
def test_sti_15_https_on_two_ports_may_be_fetched(url: str) -> None:
    """443 and 8443, with or without path and query."""
    assert check_url(url) is None


@pytest.mark.parametrize("url", BAD_URLS)
def test_sti_15_a_url_is_refused_before_anything_is_asked(url: str) -> None:
    """Schemes, ports, user names, fragments, odd hosts, our own network; the words say which."""
    why = check_url(url)
    assert why is not None
    assert BAD_URLS[url] in why


@given(st.text(max_size=80))
def test_check_url_is_total(url: str) -> None:
    """No text raises, and nothing but https passes."""
    assert check_url(url) is not None or url.startswith("https://")


def test_what_was_fetched_is_kept_until_its_time() -> None:
    """Then it counts as not here, and is fetched again."""
    credentials = Credentials()
    assert credentials.get(URL, NOW_S) is None
    credentials.put(URL, CHAIN, NOW_S + 60)
    assert credentials.get(URL, NOW_S) == (LEAF.der, CA.der)
    assert credentials.get(URL, NOW_S + 60) is None
    credentials.put(URL, LEAF.der, NOW_S + 60)
    assert credentials.get(URL, NOW_S) == (LEAF.der,)


@pytest.mark.parametrize("octets", [b"", b"<html>404</html>", LEAF.pem[:100], b"x" * 100_000])
def test_what_is_no_certificate_is_a_remembered_failure(octets: bytes) -> None:
    """The URL is not asked again at once; the record says why."""
    credentials = Credentials()
    credentials.put(URL, octets, NOW_S + 30)
    found = credentials.get(URL, NOW_S)
    assert isinstance(found, Finding)
    assert found.reason is Reason.NO_CREDENTIAL
    assert credentials.get(URL, NOW_S + 30) is None


def test_a_failure_does_not_undo_what_is_still_good() -> None:
    """A server that is down for a minute loses no call."""
    credentials = Credentials()
    credentials.put(URL, CHAIN, NOW_S + 60)
    credentials.fail(URL, "timeout", NOW_S + 30)
    assert credentials.get(URL, NOW_S) == (LEAF.der, CA.der)
    credentials.fail("https://a.example/", "timeout", NOW_S + 30)
    credentials.put("https://a.example/", CHAIN, NOW_S + 60)
    assert credentials.get("https://a.example/", NOW_S) == (LEAF.der, CA.der)


def test_bad_urls_push_out_no_good_one() -> None:
    """Both tables are bounded, and each for itself; what is in use goes last."""
    credentials = Credentials(capacity=2, max_failures=3)
    credentials.add_offline("https://own.example/", CHAIN)
    credentials.put("https://a.example/", CHAIN, NOW_S + 60)
    credentials.put("https://b.example/", CHAIN, NOW_S + 60)
    for number in range(50):
        credentials.fail(f"https://x{number}.example/", "timeout", NOW_S + 60)
    credentials.get("https://a.example/", NOW_S)
    credentials.put("https://c.example/", CHAIN, NOW_S + 60)
    assert len(credentials) == 1 + 2 + 3
    assert credentials.get("https://a.example/", NOW_S) == (LEAF.der, CA.der)
    assert credentials.get("https://b.example/", NOW_S) is None
    assert credentials.get("https://own.example/", NOW_S + 1e9) == (LEAF.der, CA.der)


def test_what_the_operator_gives_stands_first() -> None:
    """Offline certificates never grow old, and a bad file is an error at once."""
    credentials = Credentials()
    credentials.add_offline(URL, LEAF.pem)
    credentials.put(URL, CA.pem, NOW_S + 60)
    assert credentials.get(URL, NOW_S) == (LEAF.der,)
    with pytest.raises(HostileInput):
        credentials.add_offline(URL, b"nothing")


def test_what_the_operator_takes_away_is_gone() -> None:
    """A reload: nothing of what he gave before is left."""
    credentials = Credentials()
    credentials.use_offline({URL: (LEAF.der,), "https://own.example/": (CA.der,)})
    credentials.use_offline({"https://own.example/": (LEAF.der,)})
    assert credentials.get(URL, NOW_S) is None
    assert credentials.get("https://own.example/", NOW_S) == (LEAF.der,)
    assert len(credentials) == 1


def test_a_long_chain_is_refused() -> None:
    """Eight certificates are more than any provider has; 64 KiB likewise."""
    assert len(read_chain(MAX_CHAIN * LEAF.pem)) == MAX_CHAIN
    for octets in ((MAX_CHAIN + 1) * LEAF.pem, b"\x30" * (MAX_CREDENTIAL_OCTETS + 1)):
        with pytest.raises(HostileInput):
            read_chain(octets)


@given(st.one_of(st.binary(max_size=300), st.binary(max_size=99).map(lambda b: LEAF.pem[:200] + b)))
def test_read_chain_is_total(octets: bytes) -> None:
    """No octets raise anything but HostileInput."""
    try:
        chain = read_chain(octets)
    except HostileInput:
        return
    assert 1 <= len(chain) <= MAX_CHAIN
