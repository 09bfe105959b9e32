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

# Written as numbers, which compiled code has at hand. The first eight are what every reader
# asks for.
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
SECURITY_CLIENT: Final = 1 << 11
SECURITY_VERIFY: Final = 1 << 12
SECURITY_SERVER: Final = 1 << 13
AUTHORIZATION: Final = 1 << 14
PROXY_AUTHORIZATION: Final = 1 << 15
RECORD_ROUTE: Final = 1 << 16
CONTENT_ENCODING: Final = 1 << 17
CONTENT_DISPOSITION: Final = 1 << 18
USER_AGENT: Final = 1 << 19
RSEQ: Final = 1 << 20
EXPIRES: Final = 1 << 21
SESSION_EXPIRES: Final = 1 << 22
DATE: Final = 1 << 23
# Of two names.
SECURITY: Final = SECURITY_CLIENT | SECURITY_VERIFY  # RFC 3329
CREDENTIALS: Final = AUTHORIZATION | PROXY_AUTHORIZATION
_NAMED: Final = {
    b"via": VIA,
    b"from": FROM,
    b"to": TO,
    b"call-id": CALL_ID,
    b"cseq": CSEQ,
    b"content-length": CONTENT_LENGTH,
    b"content-type": CONTENT_TYPE,
    b"contact": CONTACT,
    b"max-forwards": MAX_FORWARDS,
    b"rack": RACK,
    b"route": ROUTE,
    b"security-client": SECURITY_CLIENT,
    b"security-verify": SECURITY_VERIFY,
    b"security-server": SECURITY_SERVER,
    b"authorization": AUTHORIZATION,
    b"proxy-authorization": PROXY_AUTHORIZATION,
    b"record-route": RECORD_ROUTE,
    b"content-encoding": CONTENT_ENCODING,
    b"content-disposition": CONTENT_DISPOSITION,
    b"user-agent": USER_AGENT,
    b"rseq": RSEQ,
    b"expires": EXPIRES,
    b"session-expires": SESSION_EXPIRES,
    b"date": DATE,
}
_OTHERS: Final = (
    *sorted((SINGLE | {b"identity"}) - set(_NAMED)),
    *b"allow supported require accept allow-events p-asserted-identity".split(),
    *b"www-authenticate proxy-authenticate path service-route".split(),
)
BITS: Final = {
    **_NAMED,
    **{name: 1 << at for at, name in enumerate(_OTHERS, start=len(_NAMED))},
}
# SIP-12, and SIP-13 for Identity: only the careful reader may tell whether a second one is good.
NEVER_TWICE: Final = sum(BITS[name] for name in SINGLE | {b"identity"})
