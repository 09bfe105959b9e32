"""What the admin can do where TLS fails, in the policy's own words."""

from collections.abc import Mapping
from typing import Final

from sipguard.reason import Reason

BY_TLS: Final[Mapping[Reason, str]] = {
    Reason.TLS_OLD_VERSION: (
        "Update the telephone or server: TLS 1.0 and 1.1 are broken and never spoken here "
        "(RFC 8996). If tls-minimum says 1.3, 1.2 would let older ones in."
    ),
    Reason.TLS_NO_CIPHER: (
        "The other end offers only ciphers without forward secrecy, or keys that are too short; "
        "newer firmware usually knows more."
    ),
    Reason.TLS_ALERT: (
        "The other end does not like what this gateway shows. If it does not trust the issuer, "
        "give it the authority of the certificate in tls-certificate; that file must hold the "
        "certificates of its issuers, too."
    ),
    Reason.TLS_GARBAGE: (
        "Something else than TLS comes to a port of tls-ports; SIP in clear belongs to sip-ports."
    ),
    Reason.TLS_TIMEOUT: "A scanner, or a network that loses packets of some length (MTU).",
    Reason.TLS_HUNG_UP: (
        "If {src} is a telephone, it may not trust the certificate that this gateway shows and "
        "hangs up without saying so."
    ),
    Reason.TLS_BUSY: "See `sipguard status`: who makes so many connections?",
    Reason.TLS_NO_CERTIFICATE: (
        "The policy says tls-clients required: give this client a certificate of an authority in "
        "trust tls, or say tls-clients optional."
    ),
    Reason.TLS_UNPROVEN: (
        "Give this telephone a certificate of an authority in trust tls, or have it show none."
    ),
    Reason.TLS_WRONG_NAME: (
        "If the server's certificate is right, say which name it carries: tls-server ADDRESS name "
        '"NAME". Otherwise have it made out to the name that clients ask for; wildcards do not '
        "count in SIP (RFC 5922)."
    ),
}
