"""Does the answer's MIKEY message belong to the offer's? (MIK-4, MIK-10 to MIK-13, MIK-16)

The responder repeats what only somebody who got the offer knows: its CSB ID and time, a
Diffie-Hellman value, the initiator's identity. What it proves by a key that the gateway
has is checked; a response that does not fit opens no pinhole.
"""

from collections.abc import Iterable
from typing import Final

from sipguard.errors import HostileInput
from sipguard.evidence import State
from sipguard.media.mikey_keys import NO_SESSION, MediaKey, protection_for
from sipguard.media.mikey_parties import Parties, name_of, parties_of
from sipguard.media.mikey_policy import is_subset, protections
from sipguard.media.mikey_proof import (
    MikeyTrust,
    Proof,
    failed,
    keys_travel_open,
    prove_by_signature,
    signed_octets,
    unchecked,
)
from sipguard.media.mikey_shape import check_dh, check_shape
from sipguard.media.mikey_view import (
    DH,
    DHHMAC,
    PSK,
    RSA,
    RSA_R,
    TICKET,
    Agreement,
    Context,
    MikeyView,
)
from sipguard.reason import Finding, Reason
from sipguard.wire.mikey import CryptoSession, Mikey
from sipguard.wire.mikey_values import (
    CSB_ID,
    DH_RESPONSE,
    DHHMAC_RESPONSE,
    ERROR,
    NOT_CHOSEN,
    NULL,
    PK_RESPONSE,
    PSK_RESPONSE,
    RSA_R_RESPONSE,
    TRANSFER_RESPONSE,
    Identity,
)

_RESPONSES: Final = {
    PSK: PSK_RESPONSE,
    RSA: PK_RESPONSE,
    DH: DH_RESPONSE,
    DHHMAC: DHHMAC_RESPONSE,
    RSA_R: RSA_R_RESPONSE,
    TICKET: TRANSFER_RESPONSE,
}
_UNNAMED: Final = "the response covers names that neither message tells"


def session_fault(outcomes: Iterable[MikeyView | Agreement]) -> Finding | None:
    """Return why a whole session must be given up: one of its MIKEY messages failed (MIK-16).

    *outcomes* are those of all key-mgmt attributes of an offer, or of offer and answer
    (RFC 4567 section 4.1.2).
    """
    for outcome in outcomes:
        if outcome.state is State.FAILED:
            why = "" if outcome.finding is None else f": {outcome.finding.reason.value}"
            return Finding(Reason.KEY_MGMT_FAILED, f"a MIKEY message of the session failed{why}")
    return None


def settle_silence(agreement: Agreement, offer: MikeyView) -> Agreement:
    """Settle an answer without MIKEY: enough where no response was asked for (MIK-10)."""
    if offer.wants_answer:
        return agreement.fail(_misfit("the answer has no MIKEY response"))
    _take_keys(agreement, offer, ())
    return agreement


def settle_mutual(agreement: Agreement, offer: MikeyView, answer: MikeyView) -> Agreement:
    """Settle an answer that brings a key of its own, for what the answerer sends."""
    agreement.view = answer
    if answer.state is State.FAILED or answer.message is None:
        finding = answer.finding or _misfit("the answer's message is of no use")
        return agreement.fail(finding)
    for ours in offer.keys:
        for theirs in answer.keys:
            if ours.key == theirs.key:
                # Two senders under one key: the two-time pad of RFC 3711 section 9.1.
                detail = "offer and answer bring the same SRTP key"
                return agreement.fail(Finding(Reason.KEY_REUSE, detail))
    if offer.message is not None and answer.message.octets == offer.message.octets:
        return agreement.fail(Finding(Reason.KEY_REUSE, "the answer is the offer's own message"))
    agreement.keyed = True
    agreement.cleartext = offer.cleartext or answer.cleartext
    if answer.state is State.UNKNOWN and answer.finding is not None:
        agreement.weaken(answer.finding)
    for finding in answer.notes:
        agreement.note(finding)
    agreement.offerer_keys = offer.keys
    agreement.answerer_keys = answer.keys
    agreement.offerer_sessions = offer.message.sessions if offer.message is not None else ()
    agreement.answerer_sessions = answer.message.sessions
    agreement.answerer_protections = answer.protections
    return agreement


def settle_response(
    agreement: Agreement, offer: MikeyView, answer: Mikey, context: Context, trust: MikeyTrust
) -> None:
    """Settle a responder's message.

    Raises:
        HostileInput: what it fails for.
    """
    offered = offer.message
    if offered is None:
        return
    _check_echo(offer, offered, answer)
    receivers = context.receiver_names()
    parties = parties_of(answer, context.sender_name(), receivers)
    _read_policies(agreement, offer, offered, answer)
    if offer.mode in (DH, DHHMAC):
        _check_dh(offer, offered, answer, parties)
    elif offer.mode == RSA_R:
        _check_rsa_r(offered, answer)
    _name_responder(agreement, offer, parties, context)
    proof = _prove(offer, offered, answer, parties, context, trust)
    if proof.note is not None:
        agreement.note(proof.note)
    if proof.state is State.FAILED and proof.finding is not None:
        agreement.fail(proof.finding)
        return
    if proof.finding is not None:
        agreement.weaken(proof.finding)
    _take_keys(agreement, offer, answer.sessions)


def _misfit(detail: str) -> Finding:
    return Finding(Reason.MIKEY_ANSWER, detail)


def _refusal(detail: str) -> HostileInput:
    return HostileInput(Reason.MIKEY_ANSWER, detail)


def _check_echo(offer: MikeyView, offered: Mikey, answer: Mikey) -> None:
    """Kind, CSB ID and time must be the offer's (MIK-10)."""
    if answer.data_type == ERROR:
        numbers = ", ".join([str(number) for number in answer.errors[:8]])
        raise _refusal(f"it reports error {numbers}" if numbers else "it reports an error")
    if answer.data_type != _RESPONSES.get(offer.mode):
        raise _refusal("not the kind of message that answers the offer's")
    stamp = check_shape(answer)
    if answer.csb_id != offered.csb_id:
        raise _refusal("it answers another exchange: the CSB ID differs")
    # Tickets have fresh times in both directions (RFC 6043 section 4.2.2.3).
    if offer.mode != TICKET and stamp != offered.stamp:
        raise _refusal("it does not repeat the offer's timestamp")


def _read_policies(agreement: Agreement, offer: MikeyView, offered: Mikey, answer: Mikey) -> None:
    """Take the chosen policy, which must be sound as well (MIK-13)."""
    chosen = protections(answer, () if offer.mode == RSA_R else offered.policies)
    if answer.policies:
        agreement.offerer_protections = agreement.answerer_protections = chosen
        first = answer.sessions[0] if answer.sessions else NO_SESSION
        protection = protection_for(first, chosen)
        agreement.suite = protection.suite if protection.is_said else b""
        agreement.key_bits = 8 * protection.key_octets


def _check_dh(offer: MikeyView, offered: Mikey, answer: Mikey, parties: Parties) -> None:
    """The responder repeats the initiator's value and identity (MIK-12)."""
    if len(answer.dhs) != (2 if offered.dhs else 0):
        raise HostileInput(Reason.MIKEY_DH, "not the responder's value and the initiator's")
    if answer.dhs:
        ours, theirs = answer.dhs
        check_dh(ours)
        if theirs != offered.dhs[0]:
            raise HostileInput(Reason.MIKEY_DH, "it repeats another value than the offer's")
        if ours == theirs:
            raise HostileInput(Reason.MIKEY_DH, "it gives the offer's own value back")
    initiator = offer.parties.initiator
    if initiator is not None and not _is_same(initiator, parties.initiator):
        raise HostileInput(Reason.MIKEY_DH, "it does not repeat the initiator's identity")


def _is_same(ours: Identity, theirs: Identity | None) -> bool:
    return theirs is not None and (ours.kind, ours.name) == (theirs.kind, theirs.name)


def _check_rsa_r(offered: Mikey, answer: Mikey) -> None:
    """RFC 4738 sections 3.6 and 3.7 (MIK-11)."""
    if bool(offered.rand) == bool(answer.rand):
        raise HostileInput(Reason.MIKEY_RSA_R, "not exactly one side sends a RAND")
    if answer.extension(CSB_ID) is not None:
        raise HostileInput(Reason.MIKEY_RSA_R, "another CSB ID, which is for groups")
    if not offered.policies:
        return
    if not answer.policies:
        raise HostileInput(Reason.MIKEY_RSA_R, "it chooses none of the policies on offer")
    for policy in answer.policies:
        if not is_subset(policy, offered.policies):
            raise HostileInput(Reason.MIKEY_RSA_R, "a security policy that was not on offer")


def _name_responder(
    agreement: Agreement, offer: MikeyView, parties: Parties, context: Context
) -> None:
    """Note who answers in place of the party that was called: a call may be forwarded."""
    responder = parties.responder
    if responder is None:
        return
    expected = offer.parties.responder
    name = name_of(responder)
    if expected is not None and name_of(expected) == name:
        return
    if expected is not None or context.sender_name() not in (b"", name):
        detail = "another party responds than the one that was called"
        agreement.note(Finding(Reason.MIKEY_IDENTITY, detail, responder.name[:128]))


def _prove(
    offer: MikeyView,
    offered: Mikey,
    answer: Mikey,
    parties: Parties,
    context: Context,
    trust: MikeyTrust,
) -> Proof:
    responder = parties.responder or offer.parties.responder
    if offer.mode == PSK:
        return _prove_verification(offer, offered, answer, responder)
    if offer.mode == DHHMAC:
        return _prove_mac(offer, answer)
    if offer.mode == RSA:
        return unchecked("only the initiator can check the response")
    if offer.mode == TICKET:
        return unchecked("only the initiator can check the response to its ticket")
    name = context.sender_name() if responder is None else name_of(responder)
    if offer.mode == RSA_R:
        return _prove_rsa_r(offer, offered, answer, (responder, name), context, trust)
    return prove_by_signature(answer, (signed_octets(answer),), name, context.now.utc_s, trust)


def _named(offer: MikeyView, offered: Mikey, responder: Identity | None) -> tuple[bytes, bool]:
    """Return IDi || IDr || T, which responses cover as well, and whether both are known.

    "Identical to those transported in the ID and T payloads" (RFC 3830 section 5.2): their
    content without lengths and types, as RFC 6043 section 5.5 puts it. Nobody says what is
    covered where they were left out.
    """
    initiator = offer.parties.initiator
    names = b"" if initiator is None else initiator.name
    names += b"" if responder is None else responder.name
    stamp = b"" if offered.stamp is None else offered.stamp.value
    return names + stamp, initiator is not None and responder is not None


def _prove_verification(
    offer: MikeyView, offered: Mikey, answer: Mikey, responder: Identity | None
) -> Proof:
    verification = answer.verification
    if verification is None or verification.algorithm == NULL:
        return Proof(State.UNKNOWN, Finding(Reason.MIKEY_CLEAR, "a response without a code"))
    if offer.shared is None:
        return unchecked("no pre-shared key to check the response with")
    named, is_complete = _named(offer, offered, responder)
    covered = answer.octets[: verification.mac_at] + named
    if offer.shared.made(verification.mac, verification.algorithm, covered):
        return Proof(State.VALID)
    if is_complete:
        return failed("the response was not made with the pre-shared key")
    return unchecked(_UNNAMED)


def _prove_mac(offer: MikeyView, answer: Mikey) -> Proof:
    kemac = answer.kemac
    if kemac is None or kemac.mac_algorithm == NULL:
        detail = "a Diffie-Hellman value without authentication code"
        return Proof(State.FAILED, Finding(Reason.MIKEY_CLEAR, detail))
    if offer.shared is None:
        return unchecked("no pre-shared key to check the response with")
    if offer.shared.made(kemac.mac, kemac.mac_algorithm, answer.octets[: kemac.mac_at]):
        return Proof(State.VALID)
    return failed("the response was not made with the pre-shared key")


def _prove_rsa_r(
    offer: MikeyView,
    offered: Mikey,
    answer: Mikey,
    signer: tuple[Identity | None, bytes],
    context: Context,
    trust: MikeyTrust,
) -> Proof:
    """Check SIGNr of RSA-R, in both readings of RFC 4738 section 3.6.

    It excludes "the SIGNr payload itself"; RFC 3830, whose rules it otherwise follows,
    excludes the signature in that payload. Both bind all that matters.
    """
    open_keys = None if answer.kemac is None else keys_travel_open(answer.kemac)
    if open_keys is not None:
        return Proof(State.FAILED, open_keys)
    signature = answer.signature
    if signature is None:
        return unchecked("no signature")
    responder, name = signer
    named, is_complete = _named(offer, offered, responder)
    covered = tuple([answer.octets[:at] + named for at in (signature.at, signature.signature_at)])
    proof = prove_by_signature(answer, covered, name, context.now.utc_s, trust)
    is_wrong = proof.finding is not None and proof.finding.reason is Reason.MIKEY_MAC
    return unchecked(_UNNAMED) if is_wrong and not is_complete else proof


def _take_keys(agreement: Agreement, offer: MikeyView, answered: tuple[CryptoSession, ...]) -> None:
    """Sort sessions and keys by who sends: the side that chose the SSRC (RFC 3830 6.1.1)."""
    agreement.keyed = True
    message = offer.message
    offered = () if message is None else message.sessions
    chosen = {one.cs_id for one in offered if one.ssrc != NOT_CHOSEN}
    theirs = {one.cs_id: one for one in offered if one.cs_id not in chosen}
    theirs.update({one.cs_id: one for one in answered if one.cs_id not in chosen})
    agreement.offerer_sessions = tuple([one for one in offered if one.cs_id in chosen])
    agreement.answerer_sessions = tuple(theirs.values())
    if not chosen:
        # Nobody says which session is whose: a key may be used by either side.
        agreement.offerer_keys = agreement.answerer_keys = offer.keys
        return
    agreement.offerer_keys = tuple([key for key in offer.keys if key.cs_id in chosen])
    agreement.answerer_keys = tuple(
        [_with_ssrc(key, theirs[key.cs_id]) for key in offer.keys if key.cs_id in theirs]
    )


def _with_ssrc(key: MediaKey, session: CryptoSession) -> MediaKey:
    return MediaKey(key.cs_id, key.suite, key.key, session.ssrc, session.roc, key.mki)
