"""May this certificate speak for this caller? (RFC 8224 section 8, RFC 8226, RFC 9060; STI-16)."""

from collections.abc import Sequence
from typing import NamedTuple

from cryptography import x509

from sipguard.errors import HostileInput
from sipguard.evidence import State
from sipguard.identity.certificate import Certificate
from sipguard.identity.shown import shown
from sipguard.identity.telephone import Party
from sipguard.reason import Finding, Reason
from sipguard.wire.tn_auth_list import TnAuthList, parse_tn_auth_list

_TN_LIST_BY_REFERENCE = x509.ObjectIdentifier("1.3.6.1.5.5.7.48.14")


class Trusted(NamedTuple):
    """What the policy says about codes of service providers.

    Empty ``spcs``: any code under a trusted authority counts, for any number.
    ``for_uris``: the codes named speak for callers named by a URI as well.
    """

    spcs: frozenset[bytes]
    for_uris: bool

    def counts(self, codes: Sequence[bytes]) -> bool:
        """Tell whether one of these codes counts for numbers."""
        return bool(codes) and (not self.spcs or not self.spcs.isdisjoint(codes))


def check_authority(
    path: Sequence[Certificate], party: Party, trusted: Trusted
) -> tuple[State, Finding] | None:
    """Return why the first certificate of *path* may not speak for *party*, or None.

    A list of numbers that is only named by a URL is UNKNOWN: it is not fetched (STI-32).
    """
    leaf = path[0]
    try:
        numbers = _list_of(leaf)
        _check_delegation(path)
    except HostileInput as error:
        return State.FAILED, error.finding()
    if party.number:
        return _check_number(leaf, numbers, party.number, trusted)
    if party.host and leaf.speaks_for_domain(party.host):
        return None
    if trusted.for_uris and numbers and trusted.spcs and trusted.counts(numbers.spcs):
        return None
    detail = f"the certificate of {_name(leaf)} does not speak for {shown(party.host or party.uri)}"
    return State.FAILED, Finding(Reason.NO_AUTHORITY, detail)


def _check_number(
    leaf: Certificate, numbers: TnAuthList | None, number: bytes, trusted: Trusted
) -> tuple[State, Finding] | None:
    if numbers is None:
        if _names_a_list(leaf):
            detail = "its numbers are listed elsewhere, which is not fetched (RFC 8226 section 10)"
            return State.UNKNOWN, Finding(Reason.NO_AUTHORITY, detail)
        detail = f"the certificate of {_name(leaf)} lists no numbers"
        return State.FAILED, Finding(Reason.NO_AUTHORITY, detail)
    if numbers.covers(number) or trusted.counts(numbers.spcs):
        return None
    if numbers.spcs:
        codes = shown(b", ".join(numbers.spcs))
        detail = f"the policy does not trust service provider {codes}"
    else:
        detail = f"the certificate of {_name(leaf)} does not cover {shown(number)}"
    return State.FAILED, Finding(Reason.NO_AUTHORITY, detail)


def _check_delegation(path: Sequence[Certificate]) -> None:
    """Hold each list of numbers against the nearest one above it (STI-31, STI-34).

    An authority without a list is not limited; one with a list may hand on no
    more than it has.
    """
    below: TnAuthList | None = None
    for certificate in path:
        here = _list_of(certificate)
        if here is None:
            continue
        if below is not None and not here.encompasses(below):
            detail = f"{_name(certificate)} issued numbers that it does not have"
            raise HostileInput(Reason.NO_AUTHORITY, detail)
        below = here


def _list_of(certificate: Certificate) -> TnAuthList | None:
    value = certificate.tn_auth_list
    return parse_tn_auth_list(value) if value else None


def _names_a_list(leaf: Certificate) -> bool:
    """Tell whether the certificate points to its list; it was read before, so it reads again."""
    try:
        access = x509.load_der_x509_certificate(leaf.der).extensions.get_extension_for_class(
            x509.AuthorityInformationAccess
        )
    except x509.ExtensionNotFound:
        return False
    return any(entry.access_method == _TN_LIST_BY_REFERENCE for entry in access.value)


def _name(certificate: Certificate) -> str:
    return shown(certificate.named)
