"""Whether a certificate speaks for an address in a header, and how that is said (AIB-5)."""

from sipguard.identity.certificate import Certificate
from sipguard.identity.shown import shown
from sipguard.wire.uri import Uri


def speaks_for(certificate: Certificate, uri: Uri, *, domains: bool) -> bool:
    """Say whether it names this very user, or with *domains* exactly this host.

    RFC 3893 section 7 speaks of the domain alone, RFC 3261 section 23.2 and RFC 6216 of
    the whole address; a part of a domain never counts. sip and sips are one (CERT-4).
    """
    if uri.scheme not in (b"sip", b"sips"):
        return False
    if certificate.speaks_for_user(uri.user, uri.host):
        return True
    return domains and certificate.speaks_for_domain(uri.host)


def who_signed(header: str, uri: Uri, certificate: Certificate) -> str:
    """Return the sentence on a signer who is somebody else."""
    says = f"{header} says {shown(address_of(uri.raw))}"
    named = shown(address_of(certificate.named))
    if certificate.users:
        return f"{says}, the certificate speaks for {named}"
    if not certificate.domains:
        return f"{says}, the certificate speaks for no SIP address: {named}"
    if uri.host in certificate.domains:
        return f"{says}, the certificate speaks for the domain {named} and not for its users"
    return f"{says}, the certificate speaks for the domain {named}"


def address_of(uri: bytes) -> bytes:
    """Return a SIP URI without its scheme, as people write addresses."""
    scheme, colon, rest = uri.partition(b":")
    return rest if colon and scheme.lower() in (b"sip", b"sips") else uri
