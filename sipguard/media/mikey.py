"""The judgement of MIKEY in offers and answers (RFC 3830, 4567, 4650, 4738, 6043; MIK-1 to 16).

Cheap checks come first and cryptography last. Malformed, stale, replayed, weak and wrongly
authenticated messages FAIL and key nothing; what nobody here can authenticate is UNKNOWN,
and the policy decides (GEN-2).
"""

from typing import Final

from sipguard.errors import HostileInput
from sipguard.evidence import State
from sipguard.media.mikey_answer import settle_mutual, settle_response, settle_silence
from sipguard.media.mikey_keys import NO_SESSION, media_keys, protection_for
from sipguard.media.mikey_memory import CAPACITY, SEEN_CAPACITY, Crossing, MikeyMemory
from sipguard.media.mikey_parties import name_of, parties_of
from sipguard.media.mikey_policy import protections, some_protection
from sipguard.media.mikey_proof import (
    MikeyTrust,
    Proof,
    keys_travel_open,
    prove_by_key,
    prove_by_signature,
    unchecked,
)
from sipguard.media.mikey_shape import check_dh, check_shape, read_time
from sipguard.media.mikey_view import (
    DH,
    DHHMAC,
    MODES,
    PSK,
    RSA,
    RSA_R,
    SAKKE,
    TICKET,
    Agreement,
    Context,
    MikeyView,
    ssrcs_of,
)
from sipguard.moment import Moment
from sipguard.reason import Finding, Reason
from sipguard.wire.mikey import Mikey, parse_mikey
from sipguard.wire.mikey_values import COUNTER, MD5, NULL, PSK_INIT, SDP_IDS, Stamp

__all__ = ["Agreement", "Context", "MikeyChecks", "MikeyTrust", "MikeyView"]

SKEW_S: Final = 600.0  # RFC 3830 section 5.4: "on the order of several minutes to hours"

_INITIAL: Final = (PSK, RSA, DH, DHHMAC)  # modes whose first message must bring a RAND
_ANSWERED: Final = (DH, DHHMAC, RSA_R)  # always, whatever the V flag (MIK-10)
_CHOICES: Final = (RSA_R, TICKET, SAKKE)  # modes that may offer policies to choose from


class MikeyChecks:
    """Judges MIKEY messages and remembers those that passed."""

    def __init__(
        self,
        trust: MikeyTrust | None = None,
        skew_s: float = SKEW_S,
        capacity: int = CAPACITY,
        seen_capacity: int = SEEN_CAPACITY,
    ) -> None:
        self._trust = trust or MikeyTrust()
        self._skew_s = skew_s
        self._memory = MikeyMemory(skew_s, capacity, seen_capacity)

    def __len__(self) -> int:
        return len(self._memory)

    @property
    def forgotten(self) -> int:
        """How many messages had to be forgotten before their time."""
        return self._memory.forgotten

    def expire(self, now: Moment, limit: int = 2000) -> None:
        """Forget at most *limit* messages that are too old, so that no call waits for it."""
        self._memory.expire(now, limit)

    def examine(self, octets: bytes, context: Context) -> MikeyView:
        """Say what an offer's MIKEY message is worth; changes nothing, and never raises.

        Args:
            octets: The message, of ``wire.mikey.parse_key_mgmt``.
            context: Of the SIP message that carries it.
        """
        view = MikeyView("", None)
        try:
            message = parse_mikey(octets)
            view = MikeyView(MODES.get(message.data_type, ""), message)
            self._judge(view, message, context)
        except HostileInput as wrong:
            view.fail(wrong.finding())
        return view

    def agree(self, offer: MikeyView, answer: bytes, context: Context) -> Agreement:
        """Say whether offer and answer have a key together; changes nothing, and never raises.

        Args:
            offer: What ``examine`` returned.
            answer: The MIKEY message in the answer; empty where it has none.
            context: Of the SIP message that carries the answer.
        """
        agreement = Agreement(offer)
        if offer.state is State.FAILED or offer.message is None:
            return agreement
        if not answer:
            return settle_silence(agreement, offer)
        try:
            message = parse_mikey(answer)
            if message.data_type == PSK_INIT and offer.mode == PSK and not offer.wants_answer:
                # Each side sends its own key, as RTSP clients do: GStreamer, seen in SIP.
                return settle_mutual(agreement, offer, self.examine(answer, context))
            settle_response(agreement, offer, message, context, self._trust)
        except HostileInput as wrong:
            agreement.fail(wrong.finding())
        return agreement

    def remember(self, view: MikeyView, context: Context) -> None:
        """Note a message that passed, for whoever uses it again (MIK-3)."""
        message = view.message
        if message is None or view.state is State.FAILED:
            return
        crossing = Crossing(context.call_id, context.source, context.destination)
        proven = view.state is State.VALID
        self._memory.remember(message.octets, view.stamp_s, crossing, context.now, proven=proven)
        if view.rand:
            self._memory.begin(context.call_id, message.csb_id, view.rand, context.now)

    def _judge(self, view: MikeyView, message: Mikey, context: Context) -> None:
        if not view.mode:
            detail = "no message that an initiator sends to key media"
            raise HostileInput(Reason.BAD_MIKEY, detail)
        stamp = check_shape(message)
        view.rand = message.rand or self._memory.rand_of(
            context.call_id, message.csb_id, context.now
        )
        if view.mode in _INITIAL and not view.rand:
            raise HostileInput(Reason.BAD_MIKEY, "an initial message without a RAND")
        view.stamp_s = self._time(view, stamp, context.now)
        _read_policies(view, message)
        _check_values(view, message)
        _check_bidding(view, message, context)
        _name_parties(view, message, context)
        proof = _prove(view, message, context, self._trust)
        _conclude(view, proof, stamp, context)
        if view.state is not State.FAILED:
            self._look_for_replay(view, message, context)
        if view.state is not State.FAILED:
            _find_keys(view, message, stamp)

    def _time(self, view: MikeyView, stamp: Stamp, now: Moment) -> float:
        """Return when the message was made (MIK-2); a counter tells no time."""
        if stamp.kind == COUNTER:
            return now.utc_s
        stamp_s = read_time(stamp, now.utc_s)
        age_s = now.utc_s - stamp_s
        if abs(age_s) > self._skew_s:
            when = f"{age_s:.0f} s ago" if age_s > 0 else f"{-age_s:.0f} s ahead"
            raise HostileInput(Reason.MIKEY_TIME, f"made {when}, over {self._skew_s:.0f} s")
        return stamp_s

    def _look_for_replay(self, view: MikeyView, message: Mikey, context: Context) -> None:
        crossing = Crossing(context.call_id, context.source, context.destination)
        proven = view.state is State.VALID
        finding = self._memory.look(
            message.octets, view.stamp_s, crossing, context.now, proven=proven
        )
        if finding is None:
            return
        if proven:
            view.fail(finding)
        else:
            # Whoever can forge it need not replay it; the memory may be full of forgeries.
            view.note(finding)


def _read_policies(view: MikeyView, message: Mikey) -> None:
    """Note suite, length of keys and SSRCs (MIK-13)."""
    known = some_protection(message) if view.mode in _CHOICES else protections(message)
    view.protections = known
    view.ssrcs = ssrcs_of(message.sessions)
    protection = protection_for(message.sessions[0] if message.sessions else NO_SESSION, known)
    view.suite = protection.suite if protection.is_said else b""
    view.key_bits = 8 * protection.key_octets


def _check_values(view: MikeyView, message: Mikey) -> None:
    """Check what stands in single payloads (MIK-10, MIK-12, MIK-15)."""
    view.wants_answer = view.mode in _ANSWERED or message.wants_response
    if view.mode == TICKET:
        view.wants_answer = message.wants_transfer  # V is to be ignored (RFC 6043 4.2.2.1)
    elif view.mode == SAKKE:
        view.wants_answer = False
    elif view.mode == RSA_R and not message.wants_response:
        view.note(Finding(Reason.MIKEY_RSA_R, "the V flag is not set (RFC 4738 section 3.4)"))
    if view.mode in (DH, DHHMAC):
        if len(message.dhs) != 1 and (message.rand or message.dhs):
            raise HostileInput(Reason.BAD_MIKEY, "not one Diffie-Hellman value")
        for value in message.dhs:
            check_dh(value)
    if message.certificate_hash is not None and message.certificate_hash.algorithm == MD5:
        view.note(Finding(Reason.MIKEY_LEGACY, "the called party's certificate is named by MD5"))


def _check_bidding(view: MikeyView, message: Mikey, context: Context) -> None:
    """Hold the authenticated list of protocols against the lines of SDP (MIK-9)."""
    view.listed = context.listed
    if not context.listed:
        return
    said = message.extension(SDP_IDS)
    if said is None:
        view.note(Finding(Reason.MIKEY_BIDDING, "it does not say which protocols were listed"))
    elif said != b";".join(context.listed):
        detail = "the protocols that it lists are not those of the key-mgmt lines"
        raise HostileInput(Reason.MIKEY_BIDDING, detail, said[:128])


def _name_parties(view: MikeyView, message: Mikey, context: Context) -> None:
    """Note whether the called party is named (MIK-14): else one's call serves for another."""
    receivers = context.receiver_names()
    view.parties = parties_of(message, context.sender_name(), receivers)
    responder = view.parties.responder
    if responder is None:
        view.note(Finding(Reason.MIKEY_IDENTITY, "it does not name the called party"))
    elif receivers and name_of(responder) not in receivers:
        detail = "it names another party than To and Request-URI"
        view.note(Finding(Reason.MIKEY_IDENTITY, detail, responder.name[:128]))


def _prove(view: MikeyView, message: Mikey, context: Context, trust: MikeyTrust) -> Proof:
    kemac = message.kemac
    initiator, responder = view.parties
    name = name_of(initiator) if initiator is not None else context.sender_name()
    if kemac is not None and view.mode in (PSK, DHHMAC):
        if view.mode == DHHMAC and kemac.mac_algorithm == NULL:
            detail = "a Diffie-Hellman value without authentication code"
            return Proof(State.FAILED, Finding(Reason.MIKEY_CLEAR, detail))
        names = (name, name_of(responder) if responder is not None else b"")
        others = (context.sender_name(), *context.receiver_names())
        return prove_by_key(message, kemac, view.rand, (*names, *others), trust)
    if view.mode == TICKET:
        if kemac is not None and kemac.encryption == NULL and kemac.encrypted:
            detail = "keys in clear beside a ticket"
            return Proof(State.FAILED, Finding(Reason.MIKEY_CLEAR, detail))
        return unchecked("only the called party can resolve its ticket")
    if kemac is not None and view.mode == RSA:
        open_keys = keys_travel_open(kemac)
        if open_keys is not None:
            return Proof(State.FAILED, open_keys)
    covered = (
        () if message.signature is None else (message.octets[: message.signature.signature_at],)
    )
    return prove_by_signature(message, covered, name, context.now.utc_s, trust)


def _conclude(view: MikeyView, proof: Proof, stamp: Stamp, context: Context) -> None:
    """Take the proof over, unless it speaks for somebody else than the sender (MIK-6)."""
    view.state, view.finding, view.shared = proof.state, proof.finding, proof.shared
    if proof.note is not None:
        view.note(proof.note)
    initiator, sender = view.parties.initiator, context.sender_name()
    name = name_of(initiator) if initiator is not None else sender
    if initiator is not None and sender and name != sender:
        detail = "its initiator is not the sender in SIP"
        finding = Finding(Reason.MIKEY_SIGNER, detail, initiator.name[:128])
        if view.state is State.VALID:
            view.fail(finding)
        else:
            view.note(finding)
    if view.state is not State.VALID:
        return
    view.signer = name
    if stamp.kind == COUNTER:
        detail = "a counter in place of a time: only its receiver knows the last one"
        view.state, view.finding = State.UNKNOWN, Finding(Reason.MIKEY_TIME, detail)


def _find_keys(view: MikeyView, message: Mikey, stamp: Stamp) -> None:
    """Take the SRTP keys where they can be seen (SRT-10)."""
    kemac = message.kemac
    if kemac is None:
        return
    keys = kemac.keys
    view.cleartext = bool(keys)
    if view.cleartext and (view.finding is None or view.finding.reason is not Reason.MIKEY_CLEAR):
        view.note(Finding(Reason.MIKEY_CLEAR, "its keys stand in clear"))
    if not keys and view.shared is not None and view.mode == PSK:
        keys = view.shared.decrypt(kemac, stamp.as_64_bits(), message.csb_id)
    view.keys = media_keys(message, keys, view.rand, view.protections)
