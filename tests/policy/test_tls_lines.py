"""The lines of a policy that are about TLS: certificates, keys, and how peers are treated."""

import pytest
from tls_ends import BASE, FILES, Folder, policy_of, terms_of

from sipguard.errors import PolicyError
from sipguard.policy.load import load_policy
from sipguard.policy.settings import SETTINGS

ALONE = 'tls-certificate "gw.pem" key "gw.key"\n'


def problems_of(text: str) -> list[str]:
    """Return what is wrong with a policy of these lines."""
    with pytest.raises(PolicyError) as caught:
        load_policy("p", lambda _name: text, Folder())
    return [str(problem) for problem in caught.value.problems]


def warnings_of(text: str) -> list[str]:
    """Return what the admin should know of such a policy."""
    return [str(problem) for problem in policy_of(text).warnings]


def test_without_a_line_tls_does_not_end_here() -> None:
    """As before: no certificate, no TLS."""
    terms = terms_of("")
    assert terms.certificates == ()
    assert terms.asks_clients == "none"
    assert policy_of("").tls_ports == (5061,)


def test_everything_that_can_be_said() -> None:
    """Each value arrives."""
    terms = terms_of(
        BASE
        + 'tls-certificate "second.pem" key "second.key"\n'
        + "tls-clients required\ntls-minimum 1.3\ntls-ports 5061 5071\n"
        + 'tls-server 192.0.2.1 name "PBX.example.com"\n'
        + 'tls-server 2001:db8::1 name "pbx6.example.com"\n'
    )
    assert [own.certificate.octets for own in terms.certificates] == [
        FILES["gw.pem"],
        FILES["second.pem"],
    ]
    assert terms.certificates[0].key.octets == FILES["gw.key"]
    assert terms.asks_clients == "required"
    assert terms.minimum == "1.3"
    assert terms.verify_servers
    assert terms.names == {
        b"\xc0\x00\x02\x01": "pbx.example.com",
        bytes.fromhex("20010db8" + "00" * 11 + "01"): "pbx6.example.com",
    }
    assert terms.trust is not None
    assert [file.octets for file in terms.trust.ca] == [FILES["ca.pem"]]


def test_clients_are_asked_where_somebody_is_trusted() -> None:
    """Optional by default; who trusts nobody needs no certificate."""
    assert terms_of(BASE).asks_clients == "optional"
    assert terms_of(ALONE + "tls-servers unverified\n").asks_clients == "none"
    assert not terms_of(ALONE + "tls-servers unverified\n").verify_servers


def test_one_file_may_hold_certificate_and_key() -> None:
    """As other servers keep them."""
    both = FILES["gw.pem"] + FILES["gw.key"]
    terms = terms_of('trust tls ca "ca.pem"\ntls-certificate "both.pem"\n', both_pem=both)
    assert terms.certificates[0].key.octets == both


def test_a_key_is_never_shown() -> None:
    """A log line or a traceback with the terms in it gives nothing away."""
    assert "PRIVATE" not in repr(terms_of(BASE).certificates[0].key)


TOLD = [
    (ALONE, "1:1: tls-certificate without trust tls: no server's certificate could be verified"),
    (ALONE + "tls-servers unverified\ntls-clients required", "3:1: tls-clients required without"),
    (BASE + "tls-clients maybe", "3:13: expected none, optional or required, found maybe"),
    (BASE + "tls-minimum 1.1", "3:13: expected 1.2 or 1.3, found 1.1"),
    (BASE + "tls-servers verified", "3:13: expected verify or unverified, found verified"),
    (BASE + "tls-ports", "3:1: expected a port"),
    (BASE + "tls-ports 5060", "3:1: port 5060 is both of sip-ports and of tls-ports"),
    (BASE + "sip-ports 5060 5061", "3:1: port 5061 is both of sip-ports and of tls-ports"),
    (BASE + 'tls-server pbx name "a.example"', "3:12: pbx is no address"),
    (BASE + "tls-server 192.0.2.1 name a.example", "3:27: expected a name in quotes"),
    (BASE + 'tls-server 192.0.2.1 name "*.example.com"', '3:27: "*.example.com" is no host name'),
    (BASE + 'tls-server 192.0.2.1 name "192.0.2.1"', '3:27: "192.0.2.1" is no host name'),
    (BASE + 'tls-server 192.0.2.1 name "a.b"\n' * 2, "4:12: tls-server 192.0.2.1 stands twice"),
    (BASE + "tls-clients none\ntls-clients none", "4:1: tls-clients stands twice"),
    (BASE + 'tls-certificate "no.pem" key "gw.key"', "3:17: cannot read no.pem: No such file"),
    (BASE + 'tls-certificate "gw.key" key "gw.key"', "3:17: gw.key holds a private key and no"),
    (BASE + 'tls-certificate "gw.pem" key "gw.pem"', "3:30: gw.pem holds no private key"),
    (BASE + "tls-certificate gw.pem", "3:17: expected a file in quotes, found gw.pem"),
    (BASE + 'tls-certificate "gw.pem" "gw.key"', "3:26: expected key, found gw.key"),
    (BASE + 'tls-certificate "gw.pem" key "gw.key" x', "3:39: this is too much here"),
    ("trust tls", "1:7: trust tls needs ca"),
    ('trust tls ca "ca.pem" pinned-any-name', "1:23: pinned-any-name without pinned"),
    ('trust tls pinned "gw.pem" crl "ca.pem"', "1:27: crl without ca: nobody's certificate"),
    ('trust tls pinned "gw.key"', "1:18: gw.key holds a private key and no certificate"),
    ('trust tls pinned "gw.pem"\n' + ALONE + "tls-clients required", "3:1: tls-clients required"),
    ('trust tls ca "ca.pem" crl-required', "1:23: crl-required without crl"),
    ('trust tls ca "ca.pem" max-age 5m', "1:23: unknown option max-age"),
]


@pytest.mark.parametrize(("text", "told"), TOLD)
def test_lines_are_checked(text: str, told: str) -> None:
    """File, line and column of every mistake."""
    (first, *_) = problems_of(text)
    assert first.startswith(f"p:{told}"), first


def test_what_does_nothing_is_said() -> None:
    """Lines about TLS without a certificate, and servers that nobody verifies."""
    (warning,) = warnings_of("tls-minimum 1.3\n")
    assert "tls-minimum does nothing without tls-certificate" in warning
    (warning,) = warnings_of(BASE + "tls-servers unverified\n")
    assert "anybody in between can pose as the server" in warning


def test_every_setting_has_its_row() -> None:
    """The manual is made of them."""
    for name in ("certificate", "clients", "minimum", "ports", "server", "servers"):
        assert SETTINGS[f"tls-{name}"].doc
