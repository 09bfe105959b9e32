"""Does a PASSporT stand behind this caller? (RFC 8224, 8225, 8226, 8588, 8946; rules STI-*).

The Identity headers of one request are judged one by one (``verification``),
diversions are followed (``diversion``), and one valid PASSporT suffices: a
request is refused only where all are wrong (STI-2). What calls emergency
services is judged like any other request: whether evidence may stop it is the
policy's business, and it never should.
"""

from typing import Final, NamedTuple

from sipguard.errors import HostileInput
from sipguard.evidence import Awaited, Evidence, State
from sipguard.identity.authority import Trusted
from sipguard.identity.credentials import Credentials
from sipguard.identity.diversion import find_chain, nested_identities
from sipguard.identity.judged import Judged
from sipguard.identity.numbering import numbering_of
from sipguard.identity.passport_memory import PassportMemory
from sipguard.identity.profiles import DIVERSIONS
from sipguard.identity.signalling import read_signalling
from sipguard.identity.trust import Store
from sipguard.identity.verification import Case, Demands, Verifier
from sipguard.moment import Moment
from sipguard.reason import Finding, Reason
from sipguard.wire.message import Ids, Message
from sipguard.wire.packet import Packet
from sipguard.wire.passport import Identity, encode_segment, parse_identity
from sipguard.wire.reader import split_list

MAX_IDENTITIES: Final = 10  # headers and tokens inside them; each may cost a verification
MAX_WANTED: Final = 4  # URLs that one packet may make us fetch
MAX_NOTES: Final = 16
MAX_NAMED_OCTETS: Final = 132  # of a signature that a response repeats; r and s of P-521
MAX_COMMAS: Final = 64  # in one header; cutting at more costs time and finds no PASSporT

# Of several Identity headers those that failed: the token in compact form, and why (STI-19).
Failures = tuple[tuple[bytes, Finding], ...]


class StirSettings(NamedTuple):
    """What the ``trust stir`` line of the policy says.

    Attributes:
        max_age_s: How old, or how far ahead, Date and ``iat`` may be.
        remember_s: How long an accepted PASSporT is remembered.
        spcs: Service provider codes trusted for any number; empty: all under a trusted authority.
        fetch: Whether a certificate may be waited for.
        require_mky: Refuse a PASSporT without ``mky`` where the SDP has a fingerprint.
        asserted: Let P-Asserted-Identity stand before From (inside a trust domain; STI-6).
        spcs_for_uris: The codes in ``spcs`` speak for callers named by a URI as well.
        fetch_private: URLs may lead to addresses of our own network.
        country: The code of the country that national numbers are of (``49``); empty: numbers
            are compared as they are written (STI-7).
    """

    max_age_s: int = 60
    remember_s: int = 3600
    spcs: frozenset[bytes] = frozenset()
    fetch: bool = True
    require_mky: bool = False
    asserted: bool = False
    spcs_for_uris: bool = False
    fetch_private: bool = False
    country: bytes = b""


class Stir:
    """The verifier: settings, trusted authorities, certificates by URL, and what was accepted."""

    def __init__(
        self,
        settings: StirSettings,
        store: Store,
        credentials: Credentials,
        memory: PassportMemory | None = None,
    ) -> None:
        self._settings: Final = settings
        self._numbering: Final = numbering_of(settings.country)
        if memory is None:
            memory = PassportMemory(settings.remember_s, max_age_s=settings.max_age_s)
        memory.judge_by(settings.remember_s, settings.max_age_s)
        self.memory: Final = memory
        demands = Demands(
            settings.max_age_s,
            settings.require_mky,
            settings.fetch_private,
            Trusted(settings.spcs, settings.spcs_for_uris),
        )
        self._verifier: Final = Verifier(demands, store, credentials, self.memory)

    def examine(
        self,
        message: Message,
        ids: Ids,
        packet: Packet,
        now: Moment,
        *,
        patient: bool,
        retry: bool = False,
        in_dialog: bool = False,
    ) -> Evidence:
        """Return what the Identity headers prove.

        Args:
            message: The request; a response proves nobody (Identity in 3xx is not verified).
            ids: Of the message.
            packet: Where it came from and goes to, for the replay memory.
            now: Ages are measured with it.
            patient: The packet can wait for a certificate.
            retry: It is known as a fork, a spiral or a retry of an accepted request.
            in_dialog: It belongs to a known dialog.

        Raises:
            Awaited: a certificate is not here, the packet is *patient*, and the policy
                lets it be fetched.
        """
        values = _identity_values(message)
        if not values:
            return Evidence(State.ABSENT, Finding(Reason.STIR_ABSENT))
        if not message.is_request:
            finding = Finding(Reason.UNSUPPORTED_PASSPORT, "an Identity header in a response")
            return Evidence(State.UNKNOWN, finding)
        identities, refused = _read_all(values)
        case = Case(
            message,
            ids,
            packet,
            now,
            read_signalling(
                message, ids, asserted=self._settings.asserted, numbering=self._numbering
            ),
            any(identity.ppt in DIVERSIONS for identity, _ in identities),
            retry,
            in_dialog,
        )
        judged = [self._verifier.judge(one, case, nested=nested) for one, nested in identities]
        failures = _failures(identities, judged, refused) if len(values) > 1 else ()
        judged += refused
        chain, broken = _follow(judged, case)
        valid = [one for one in judged if _stands_alone(one)]
        if chain and chain[-1] not in valid:
            valid.append(chain[-1])
        if not valid:
            return self._refuse(judged, broken, failures, patient=patient)
        for one in {id(one): one for one in (*valid, *chain)}.values():
            self._remember(one, case)
        return _proven(valid, chain, judged, broken)

    def expire(self, now: Moment) -> None:
        """Forget some of what is too old; the guard's tick calls it."""
        self.memory.expire(now)

    def _remember(self, one: Judged, case: Case) -> None:
        if one.claims is None:
            return
        self.memory.remember(one.key, one.claims.iat, case.ids, case.packet, case.now)

    def _refuse(
        self, judged: list[Judged], broken: Finding | None, failures: Failures, *, patient: bool
    ) -> Evidence:
        wanted = tuple(dict.fromkeys(one.wanted for one in judged if one.wanted))[:MAX_WANTED]
        if wanted and patient and self._settings.fetch:
            raise Awaited(wanted)
        state, finding = _weigh(judged, broken)
        notes = [one.finding for one in judged if one.finding is not None]
        told = tuple(note for note in notes if note != finding)[:MAX_NOTES]
        return Evidence(state, finding, notes=told, failures=failures)


def _weigh(judged: list[Judged], broken: Finding | None) -> tuple[State, Finding]:
    """Return what to say where no PASSporT is valid: what is not known yet weighs most."""
    for state in (State.UNKNOWN, State.FAILED):
        for one in judged:
            if one.state is state and one.finding is not None:
                return state, one.finding
    callers_own = [one for one in judged if one.ppt not in DIVERSIONS]
    if any(one.state is State.VALID for one in callers_own) or not callers_own:
        # Every signature is good, and still nothing speaks for this call.
        detail = "no PASSporT was made for the callee in To"
        return State.FAILED, broken or Finding(Reason.PASSPORT_DEST, detail)
    # All that could speak for the caller is ignored, and its diversions with it (STI-40).
    found = [one.finding for one in callers_own if one.finding is not None]
    return State.ABSENT, found[0] if found else Finding(Reason.STIR_ABSENT)


def _identity_values(message: Message) -> list[bytes]:
    """Return the values of all Identity headers; some senders join them with commas."""
    values: list[bytes] = []
    for row in message.values(b"identity"):
        is_list = not row.startswith(b'"') and 0 < row.count(b",") <= MAX_COMMAS
        values += split_list(row) if is_list else [row]
    return values


def _read_all(values: list[bytes]) -> tuple[list[tuple[Identity, bool]], list[Judged]]:
    """Return what can be read, each with whether it stood inside another, and the rest refused."""
    identities: list[tuple[Identity, bool]] = []
    refused: list[Judged] = []
    for value in values[:MAX_IDENTITIES]:
        try:
            identity = parse_identity(value)
            identities.append((identity, False))
            identities += [(inner, True) for inner in nested_identities(identity)]
        except HostileInput as error:
            old = error.reason is Reason.OLD_IDENTITY
            refused.append(Judged(State.ABSENT if old else State.FAILED, error.finding()))
    if len(values) > MAX_IDENTITIES or len(identities) > MAX_IDENTITIES:
        detail = f"more than {MAX_IDENTITIES} PASSporTs; the others were not looked at"
        refused.append(Judged(State.FAILED, Finding(Reason.BAD_PASSPORT, detail)))
    return identities[:MAX_IDENTITIES], refused


def _failures(
    identities: list[tuple[Identity, bool]], judged: list[Judged], refused: list[Judged]
) -> Failures:
    """Return what to tell of each header; what is only ignored has not failed (STI-22)."""
    failures: list[tuple[bytes, Finding]] = []
    for (identity, nested), one in zip(identities, judged, strict=True):
        if nested or one.finding is None or one.state not in (State.FAILED, State.UNKNOWN):
            continue
        signature = identity.signature
        is_short = 0 < len(signature) <= MAX_NAMED_OCTETS
        failures.append((b".." + encode_segment(signature) if is_short else b"", one.finding))
    unread = [one for one in refused if one.state is State.FAILED]
    failures += [(b"", one.finding) for one in unread if one.finding is not None]
    return tuple(failures)


def _follow(judged: list[Judged], case: Case) -> tuple[tuple[Judged, ...], Finding | None]:
    """Return the chain of diversions, or why there is none; neither without diversions."""
    if not case.is_diverted:
        return (), None
    try:
        return find_chain(judged, case.signalling.target), None
    except HostileInput as error:
        return (), error.finding()


def _stands_alone(one: Judged) -> bool:
    """Tell whether it speaks for the caller without a chain; a div never fits the callee."""
    return one.state is State.VALID and one.fits_callee and not one.is_nested


def _proven(
    valid: list[Judged], chain: tuple[Judged, ...], judged: list[Judged], broken: Finding | None
) -> Evidence:
    """Put together what the valid ones say; the first that attests speaks for the caller."""
    speaker = next((one for one in valid if one.attest), valid[0])
    covers = [name for one in valid for name in one.covers if name != b"to" or one.fits_callee]
    if chain:
        covers.append(b"request-uri")
    notes = [note for one in (*valid, *chain) for note in one.notes]
    notes += [one.finding for one in judged if one.finding is not None]
    if broken is not None:
        notes.append(broken)
    return Evidence(
        State.VALID,
        None,
        notes=tuple(dict.fromkeys(notes))[:MAX_NOTES],
        signer=speaker.signer,
        covers=tuple(dict.fromkeys(covers)),
        attest=speaker.attest,
        orig=speaker.claims.orig.name if speaker.claims is not None else b"",
    )
