"""Ways from a certificate up to a trusted one, found by names alone; nothing is verified here.

OpenSSL follows one way only and never turns back, so that one stale cross-certificate in
a message would hide the good one beside it. The search here tries all, within bounds.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Final

from sipguard.errors import HostileInput
from sipguard.identity.certificate import Certificate, read_certificate
from sipguard.identity.outline import subject_of

Path = tuple[Certificate, ...]
BySubject = Mapping[bytes, Sequence[Certificate]]

MAX_PATH: Final = 8  # certificates, both ends counted; real ones have 2 to 4
MAX_ATTACHED: Final = 16
MAX_STEPS: Final = 64  # certificates that one search looks at


def by_subject(certificates: Iterable[Certificate]) -> BySubject:
    """Return the certificates sorted by the name they bear, each once."""
    found: defaultdict[bytes, list[Certificate]] = defaultdict(list)
    for certificate in certificates:
        if certificate not in found[certificate.subject]:
            found[certificate.subject].append(certificate)
    return dict(found)


def may_have_issued(issuer: Certificate, certificate: Certificate) -> bool:
    """True where names and key identifiers fit; the signature is another matter."""
    if issuer.subject != certificate.issuer:
        return False
    named, own = certificate.authority_key_id, issuer.key_id
    return not named or not own or named == own


class Search:
    """One search: *anchors* end a way, *known* and then *attached* certificates carry it on."""

    def __init__(self, anchors: BySubject, known: BySubject, attached: Sequence[bytes]) -> None:
        self._anchors = anchors
        self._known = known
        self._attached: defaultdict[bytes, list[bytes]] = defaultdict(list)
        for der in dict.fromkeys(attached[:MAX_ATTACHED]):
            self._attached[subject_of(der)].append(der)
        self._steps = MAX_STEPS

    def ways(self, path: Path) -> Iterator[Path]:
        """Yield every way from the end of *path* to an anchor, the shortest turn first."""
        last = path[-1]
        for anchor in self._anchors.get(last.issuer, ()):
            if may_have_issued(anchor, last):
                yield (*path, anchor)
        if len(path) + 2 > MAX_PATH:
            return
        for issuer in self._issuers(path):
            yield from self.ways((*path, issuer))

    def top(self, leaf: Certificate) -> Certificate:
        """Return how far up the first way leads that ends at no anchor, to name it."""
        path: Path = (leaf,)
        self._steps = MAX_PATH
        while len(path) < MAX_PATH:
            above = next(self._issuers(path), None)
            if above is None:
                break
            path = (*path, above)
        return path[-1]

    def _issuers(self, path: Path) -> Iterator[Certificate]:
        last = path[-1]
        for issuer in chain(self._known.get(last.issuer, ()), self._read(last.issuer)):
            if self._steps == 0:
                return
            self._steps -= 1
            # Issuers that certify each other in a ring: nobody comes twice.
            if issuer not in path and may_have_issued(issuer, last):
                yield issuer

    def _read(self, subject: bytes) -> Iterator[Certificate]:
        """Read the attached certificates of this name, and no others: most cost for nothing."""
        for der in self._attached.get(subject, ()):
            try:
                yield read_certificate(der)
            except HostileInput:
                continue
