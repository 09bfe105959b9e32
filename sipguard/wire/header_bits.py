"""A bit for each header name whose presence is asked for, or whose second instance matters.

A message keeps the bits of its rows: whether it has a header at all is told without a
look-up, and reading it notices a second instance at once.
"""

from typing import Final

# SIP-12: headers whose second instance, in any form, leaves open which one counts.
SINGLE: Final = frozenset(
    b"call-id cseq from to max-forwards content-length content-type date expires min-expires"
    b" mime-version content-disposition subject timestamp user-agent server organization priority"
    b" reply-to retry-after rack rseq max-breadth identity-info refer-to referred-by event"
    b" session-expires min-se replaces subscription-state sip-etag sip-if-match".split()
)

# The first eight are what every reader asks for.
VIA: Final = 1 << 0
FROM: Final = 1 << 1
TO: Final = 1 << 2
CALL_ID: Final = 1 << 3
CSEQ: Final = 1 << 4
CONTENT_LENGTH: Final = 1 << 5
CONTENT_TYPE: Final = 1 << 6
CONTACT: Final = 1 << 7
MAX_FORWARDS: Final = 1 << 8
RACK: Final = 1 << 9
ROUTE: Final = 1 << 10
SECURITY_SERVER: Final = 1 << 13
RECORD_ROUTE: Final = 1 << 16
CONTENT_ENCODING: Final = 1 << 17
CONTENT_DISPOSITION: Final = 1 << 18
USER_AGENT: Final = 1 << 19
RSEQ: Final = 1 << 20
EXPIRES: Final = 1 << 21
SESSION_EXPIRES: Final = 1 << 22
DATE: Final = 1 << 23
# Of two names.
SECURITY: Final = 3 << 11  # Security-Client and Security-Verify of RFC 3329
CREDENTIALS: Final = 3 << 14  # Authorization and Proxy-Authorization
_ORDERED: Final = tuple(
    b"via from to call-id cseq content-length content-type contact max-forwards rack route"
    b" security-client security-verify security-server authorization proxy-authorization"
    b" record-route content-encoding content-disposition user-agent rseq expires"
    b" session-expires date".split()
)
BITS: Final = {
    name: 1 << at
    for at, name in enumerate(
        (
            *_ORDERED,
            *sorted((SINGLE | {b"identity"}) - set(_ORDERED)),
            *b"allow supported require accept allow-events p-asserted-identity".split(),
            *b"www-authenticate proxy-authenticate path service-route".split(),
        )
    )
}
# SIP-12, and SIP-13 for Identity: only the careful reader may tell whether a second one is good.
NEVER_TWICE: Final = sum(BITS[name] for name in SINGLE | {b"identity"})
