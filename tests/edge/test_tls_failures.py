"""OpenSSL's complaints in an operator's words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL
from twisted.internet.error import ConnectionLost

from sipguard.edge.stream.tls_failures import failure_of
from sipguard.reason import Finding, Reason

HELLO = bytes.fromhex("16030100c8010000c40303") + bytes(8)
OLD_HELLO = bytes.fromhex("16030100c8010000c40302") + bytes(8)


def told(*causes: str, first: bytes = HELLO, is_client: bool = True) -> Finding:
    """Return what is made of OpenSSL's words."""
    error = SSL.Error([("SSL routines", "", cause) for cause in causes])
    return failure_of(error, first, is_client=is_client)


@pytest.mark.parametrize(
    ("cause", "reason", "words"),
    [
        ("unsupported protocol", Reason.TLS_OLD_VERSION, "no version of TLS that is allowed"),
        ("tlsv1 alert protocol version", Reason.TLS_OLD_VERSION, "none of the versions"),
        ("no shared cipher", Reason.TLS_NO_CIPHER, "no cipher suite"),
        ("no suitable key share", Reason.TLS_NO_CIPHER, "no cipher suite"),
        ("ssl/tls alert handshake failure", Reason.TLS_NO_CIPHER, "in common"),
        ("sslv3 alert bad certificate", Reason.TLS_ALERT, "does not accept the certificate"),
        ("ssl/tls alert certificate unknown", Reason.TLS_ALERT, "does not accept"),
        ("tlsv1 alert unknown ca", Reason.TLS_ALERT, "does not trust the authority"),
        ("tlsv13 alert certificate required", Reason.TLS_ALERT, "was shown none"),
        ("tlsv1 alert never heard of", Reason.TLS_ALERT, "its alert is never heard of"),
        ("peer did not return a certificate", Reason.TLS_NO_CERTIFICATE, "showed no certificate"),
        ("bad record type", Reason.TLS_GARBAGE, "breaks the rules of TLS: bad record type"),
    ],
)
def test_causes_have_their_reason(cause: str, reason: Reason, words: str) -> None:
    """One by one."""
    finding = told(cause)
    assert finding.reason is reason
    assert words in finding.detail
    assert finding.detail.startswith("the client")
    assert told(cause, is_client=False).detail.startswith("the server")


def test_the_version_offered_is_named() -> None:
    """What a telephone's admin needs to know (RFC 8996)."""
    assert "TLS 1.1 at most" in told("unsupported protocol", first=OLD_HELLO).detail


def test_octets_that_are_no_tls_are_kept() -> None:
    """Escaped by whoever shows them; the sentence is ours alone."""
    finding = told("wrong version number", first=b"OPTIONS sip:x\x1b[2J")
    assert finding.reason is Reason.TLS_GARBAGE
    assert finding.octets == b"OPTIONS sip:x\x1b[2J"
    assert "OPTIONS" not in finding.detail


def test_who_hangs_up_is_told_from_who_breaks_rules() -> None:
    """Silent, in the middle, or after something else."""
    for first, reason in (
        (b"", Reason.TLS_HUNG_UP),
        (HELLO, Reason.TLS_HUNG_UP),
        (b"GET / HTTP/1.1", Reason.TLS_GARBAGE),
    ):
        assert failure_of(ConnectionLost(), first, is_client=True).reason is reason


@given(
    st.lists(st.text(max_size=200), max_size=4) | st.text() | st.none() | st.integers(),
    st.binary(max_size=16),
    st.booleans(),
)
def test_every_failure_has_a_reason(told_: object, first: bytes, is_client: bool) -> None:
    """Whatever a later OpenSSL says, and whatever was sent."""
    error = SSL.Error([("", "", word) for word in told_] if isinstance(told_, list) else told_)
    finding = failure_of(error, first, is_client=is_client)
    assert finding.reason.value.startswith("tls-")
    assert len(finding.detail) < 200
