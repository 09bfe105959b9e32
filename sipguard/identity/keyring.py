"""Self-signed certificates seen before, as ssh knows its hosts (SMI-31; RFC 3261 section 23.2).

Such a certificate proves nobody (CERT-9), but a second one for an address that already
had another is an alarm. So nothing here makes anything valid; it can only make worse.
"""

from typing import Final, final

from sipguard.identity.certificate import Certificate
from sipguard.identity.signature import check_signature
from sipguard.identity.signed import Signed
from sipguard.identity.signer import speaks_for
from sipguard.moment import Moment
from sipguard.reason import Finding, Reason
from sipguard.wire.uri import Uri, aor_key

CAPACITY: Final = 10_000
KEPT_S: Final = 30 * 86400.0  # since it was last seen


@final
class Keyring:
    """The first certificate of each address.

    Where it is full nothing new is learned until something old was long unused: anybody
    can sign for himself, and must not push out what is known.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._known: dict[int, tuple[int, float]] = {}
        self.refused = 0

    def __len__(self) -> int:
        return len(self._known)

    def second_look(
        self,
        finding: Finding,
        certificate: Certificate | None,
        signed: Signed,
        caller: Uri,
        now: Moment,
    ) -> Finding:
        """Return *finding*, or the graver one if another certificate used to sign for *caller*."""
        if finding.reason is not Reason.SELF_SIGNED or certificate is None or signed.cms is None:
            return finding
        if not speaks_for(certificate, caller, domains=False) or not signed.cms.signers:
            return finding
        content = signed.content
        fault, _ = check_signature(
            signed.cms.signers[0], signed.cms, content, certificate, legacy_sha1=False
        )
        if fault is not None:
            return fault
        if self._is_known(hash(aor_key(caller)), hash(certificate.der), now.monotonic_s):
            return finding
        detail = "a self-signed certificate, and another one than this address had before"
        return Finding(Reason.SIGNER_CHANGED, detail)

    def _is_known(self, caller: int, certificate: int, now_s: float) -> bool:
        """Whether it is the first or the same; learns the first."""
        known, seen_at_s = self._known.get(caller, (0, 0.0))
        if known and now_s - seen_at_s <= KEPT_S:
            if known == certificate:
                del self._known[caller]  # to the end: the front is what was unused longest
                self._known[caller] = (certificate, now_s)
            return known == certificate
        self._known.pop(caller, None)
        if len(self._known) >= self._capacity and not self._drop_unused(now_s):
            self.refused += 1
            return True
        self._known[caller] = (certificate, now_s)
        return True

    def _drop_unused(self, now_s: float) -> bool:
        oldest = next(iter(self._known))
        if now_s - self._known[oldest][1] <= KEPT_S:
            return False
        del self._known[oldest]
        return True
