"""The alert that a refused peer is sent: OpenSSL makes it of the error that verification ends with.

pyOpenSSL lets a callback refuse and not say why: whom OpenSSL itself has no fault with would
be told ``internal_error``, which sends its admin looking in the wrong place. So our callback
stands around pyOpenSSL's and names the error. That needs names of pyOpenSSL's that are not
public; where they are gone, peers are told less and nothing else changes.
"""

from collections.abc import Mapping
from typing import Final

from OpenSSL import SSL

from sipguard.edge.stream.tls_judging import Judged
from sipguard.reason import Finding, Reason

_REJECTED: Final = 28  # X509_V_ERR_CERT_REJECTED: bad_certificate
# X509_V_ERR_*, by which OpenSSL picks the alert (RFC 8446 section 6.2).
_ERRORS: Final[Mapping[Reason, int]] = {
    Reason.CERTIFICATE_REVOKED: 23,  # certificate_revoked
    Reason.CERTIFICATE_EXPIRED: 10,  # certificate_expired
    Reason.CERTIFICATE_NOT_YET: 9,  # bad_certificate
    Reason.UNKNOWN_ISSUER: 20,  # unknown_ca
    Reason.SELF_SIGNED: 18,  # unknown_ca
    Reason.WRONG_KEY_USAGE: 26,  # unsupported_certificate
    Reason.TLS_WRONG_NAME: 62,  # bad_certificate
}
_SIGNATURE: Final = "int(int, X509_STORE_CTX *)"


def error_of(finding: Finding | None) -> int:
    """Return OpenSSL's number for why a peer was refused, 0 where nobody says why."""
    return 0 if finding is None else _ERRORS.get(finding.reason, _REJECTED)


def name_alerts(context: SSL.Context, mode: int) -> object:
    """Have refused peers told why, for a context with its verify callback set.

    Returns:
        What must live as long as the context does.
    """
    try:
        from OpenSSL._util import ffi, lib

        judges, connections = vars(context)["_verify_callback"], SSL.Connection._reverse_mapping
        index = lib.SSL_get_ex_data_X509_STORE_CTX_idx()

        def judge(ok: int, store: object) -> int:
            stands = int(judges(ok, store))
            if not stands:
                one = connections.get(lib.X509_STORE_CTX_get_ex_data(store, index))
                line = None if one is None else one.get_app_data()
                error = error_of(line.judging.finding) if isinstance(line, Judged) else 0
                if error:
                    lib.X509_STORE_CTX_set_error(store, error)
            return stands

        named: object = ffi.callback(_SIGNATURE, judge, error=0)
        lib.SSL_CTX_set_verify(context._context, mode, named)
    except (ImportError, AttributeError, KeyError):
        return None
    return named
