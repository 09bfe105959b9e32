"""A small authority with its people, and a store that trusts it, for tests of trust."""

from authority import NOW_S, Holder, issue, issue_user, make_authority

from sipguard.identity.certificate import read_certificate
from sipguard.identity.trust import Purpose, Store
from sipguard.reason import Finding, Reason

ROOT = make_authority("Root")
MIDDLE = make_authority("Middle", ROOT)
LOWER = make_authority("Lower", MIDDLE)
OTHER = make_authority("Other Root")
ALICE = issue_user(ROOT)
BOB = issue_user(MIDDLE, "bob@example.com")
CAROL = issue_user(LOWER, "carol@example.com")


def check(
    holder: Holder,
    *attached: Holder,
    store: Store | None = None,
    utc_s: float = NOW_S,
    purpose: Purpose = Purpose.USER,
) -> Finding | None:
    """Check what an authority issued against a store that trusts ``Root``."""
    store = store or Store([ROOT.der])
    leaf = read_certificate(holder.der)
    return store.check(leaf, [one.der for one in attached], utc_s, purpose)


def user(issuer: Holder, **changes: object) -> Holder:
    """Return a certificate of Dora's with *changes*."""
    return issue("Dora", issuer, uris=("sip:dora@example.com",), **changes)  # type: ignore[arg-type] # as issue takes them


def reason(finding: Finding | None) -> Reason | None:
    """The reason alone."""
    return finding.reason if finding else None
