"""What each fault of a stream means to the person who reviews, and what to do about it."""

from typing import Final

from sipguard.reason import Reason

_BY_VOICE: Final = (
    "Have both people compare the short authentication string by voice: if it differs, somebody "
    "is between them."
)

_NEGOTIATED: Final = {
    Reason.SDES_SAME_KEY: (
        "A new address or port needs a new key (RFC 4568 section 7.1.4): the packet counter "
        "begins anew, and two packets under one keystream can be read. Update the telephone, or "
        "let it use DTLS-SRTP."
    ),
    Reason.SDES_FORKED: (
        "Every telephone that rang was given the caller's key and could listen in. One that "
        "offers again after the answer, with a new key, ends that; DTLS-SRTP and ZRTP do not "
        "have this weakness."
    ),
    Reason.KEY_MIXED: (
        "An answer takes one way to a key, and this one takes several (RFC 8643 section 3). "
        "Leave one of SDES, DTLS-SRTP and ZRTP on at the telephone that answered."
    ),
    Reason.MEDIA_DOWNGRADE: (
        "Somebody tries to take the protection off a running call, or it was transferred to a "
        "telephone that has less. To refuse such offers, in chain media: "
        "NAME reject 488 if media.downgraded"
    ),
    Reason.BAD_BUNDLE: (
        "The streams are opened as if nobody had bundled them (RFC 9143). If media is missing, "
        "turn bundling off at the telephone or update it."
    ),
    Reason.ENDS_AT_RELAY: (
        "The relay has the key and hears the call. If it is yours, that is how it works; for "
        "encryption from one telephone to the other use DTLS-SRTP or ZRTP, which pass through it."
    ),
    Reason.BAD_CANDIDATE: (
        "This address of the offer opens nothing; the others may. Names, such as the .local ones "
        "of browsers, cannot be used: have the client offer addresses."
    ),
    Reason.ICE_MISMATCH: (
        "Something between the telephones rewrote the addresses of the offer and left its "
        "candidates as they were: a router's SIP helper (ALG), most often. Turn it off there."
    ),
    Reason.BAD_MIKEY: (
        "What cannot be read opens nothing. Update the telephone, or let it use DTLS-SRTP."
    ),
    Reason.MIKEY_TIME: (
        "The telephone's clock and this gateway's differ, or an old message is used again: "
        "compare both clocks with a time server."
    ),
    Reason.MIKEY_REPLAY: (
        "Each call needs a MIKEY message of its own. Somebody recorded this one, or the telephone "
        "sends the same every time: look for the earlier call."
    ),
    Reason.MIKEY_MAC: (
        "The message was changed on its way, or both sides have different keys: compare the "
        "pre-shared key, or the certificate, at both ends."
    ),
    Reason.MIKEY_SIGNER: (
        "If the certificate is right, From is not: have the telephone send the address that its "
        "certificate is made out to, or have the certificate made out to this one."
    ),
    Reason.MIKEY_UNCHECKED: (
        "It may be in order: nobody here could say. Chain media decides, by mikey.state == unknown."
    ),
    Reason.MIKEY_CLEAR: (
        "Whoever sees the message has the keys. Turn on encryption and authentication of MIKEY "
        "at the telephone."
    ),
    Reason.MIKEY_BIDDING: (
        "The list was changed so that a weaker protocol is taken, or a proxy rewrites it. If it "
        "is a proxy of yours, have it leave a=key-mgmt lines alone."
    ),
    Reason.MIKEY_ANSWER: (
        "Without the right response there is no key. See the detail: the telephone that answered "
        "may lack the pre-shared key or certificate, or the mode."
    ),
    Reason.MIKEY_RSA_R: "Update the telephones, or let them use another mode of MIKEY.",
    Reason.MIKEY_DH: (
        "If the group is too weak, choose a larger one at the telephones. If the value was "
        "changed, somebody is between them."
    ),
    Reason.MIKEY_POLICY: (
        "The telephones agreed on SRTP that does not protect: choose encryption and "
        "authentication tags in their security policy."
    ),
    Reason.MIKEY_IDENTITY: (
        "Without the responder's name the message can be led to somebody else (RFC 3830 section "
        "9.5). Have the telephone name it; a proxy that retargets calls looks the same."
    ),
    Reason.MIKEY_LEGACY: "It passes. Newer telephones have better algorithms.",
    Reason.KEY_MGMT_FAILED: (
        "One attribute that fails ends the session (RFC 4567 section 4.1.2): the other findings "
        "say which, and why."
    ),
}

_PACKETS: Final = {
    Reason.UNPROVEN: (
        "Signalling promised a key, and no packet used it in time: a handshake that never ended, "
        "or a telephone that does not encrypt after all. Media above says how far it came. If it "
        "only takes longer, raise the setting media-proof within 10s."
    ),
    Reason.OTHER_SOURCE: (
        "One port of each host carries a stream, and {src} sends from another one, too: a second "
        "program there, or an address translation that changes ports. A telephone that moves "
        "must say so by a new offer, or be silent for a while first."
    ),
    Reason.UNKNOWN_MEDIA: (
        "A tunnel, or a protocol that has no place on a media port (RFC 7983). See what sends "
        "at {src}."
    ),
    Reason.PLAIN_RTP: (
        "The call was signalled as encrypted, and {src} sends in clear: a telephone or relay that "
        "ignores its own offer, or somebody who talks into the call. Set SRTP there to mandatory, "
        "not optional. Where ZRTP begins in clear and that is wanted, there is the setting "
        "zrtp-grace."
    ),
    Reason.BAD_RTP: (
        "A payload type that nobody offered, or a broken packet. A telephone that changes its "
        "codec must offer it first; otherwise this is noise or a probe."
    ),
    Reason.BAD_RTCP: "Noise or a probe, or a telephone that should be updated.",
    Reason.SSRC_CHANGES: (
        "A transfer or a hold changes the SSRC once. Again and again, it is a relay that passes "
        "many senders on as they are, or somebody who mixes packets in."
    ),
    Reason.SRTP_REPLAY: (
        "A network that doubles packets does that now and then. Many of them: somebody recorded "
        "the call and plays it back."
    ),
    Reason.SRTP_TAG: (
        "{src} does not use the key of the signalling. A telephone that goes on with its old key "
        "after a transfer, or a relay with a key of its own that it does not write into the "
        "session description; otherwise the packets are forged."
    ),
    Reason.MEDIA_TOO_EARLY: (
        "A little media before the keys is usual; this was more. If the exchange never ends, "
        "Media above says where it stopped."
    ),
    Reason.BAD_STUN: (
        "A client of something else that has the wrong port, or a tunnel dressed as STUN. See "
        "what sends at {src}."
    ),
    Reason.ICE_INTEGRITY: (
        "Who sent it does not know the passwords of this call: a late check of an earlier one, or "
        "somebody who wants to steer the media. If every call of a telephone shows this, look for "
        "what rewrites a=ice-ufrag or a=ice-pwd on the way."
    ),
    Reason.ICE_UNCHECKED: (
        "Both sides agreed to check their paths first. {src} did not wait, or the checks of one "
        "side are lost on the way: see whether STUN gets through, or turn ICE off."
    ),
    Reason.BAD_DTLS: "Noise or a probe, or a network that damages packets.",
    Reason.DTLS_FINGERPRINT: (
        "Whoever shook hands is not whom signalling named: do not trust this call. If a relay or "
        "border controller of yours stands between, it must write the fingerprint of its own "
        "certificate into the session description."
    ),
    Reason.DTLS_NO_CERTIFICATE: (
        "Both sides must show a certificate (RFC 5763 section 5). Turn on mutual authentication "
        "at the side that shows none, or update it."
    ),
    Reason.DTLS_HIDDEN: (
        "Have the telephones use DTLS 1.2. Or say `dtls13 accept` in the policy: then nobody here "
        "compares certificates, and only the telephones do."
    ),
    Reason.DTLS_NO_SRTP: (
        "A handshake without an SRTP profile, or with one that does not encrypt, protects no "
        "media (RFC 5764 section 4.1). Choose SRTP profiles at the telephone."
    ),
    Reason.DTLS_ROLE: (
        "Signalling says who begins (a=setup), and the other side did: an old telephone, or "
        "somebody who races the right one. See who {src} is, and update it."
    ),
    Reason.ZRTP_CRC: (
        "Damaged on its way; ZRTP sends it again. Many of them: a bad link, or something that "
        "changes packets."
    ),
    Reason.BAD_ZRTP: "Noise or a probe, or a telephone that should be updated.",
    Reason.ZRTP_CHAIN: f"It comes from somebody else than the Hello did. {_BY_VOICE}",
    Reason.ZRTP_MAC: f"It was changed on its way. {_BY_VOICE}",
    Reason.ZRTP_HASH: (
        "Whoever said Hello is not whom signalling named by a=zrtp-hash: do not trust this call. "
        "A telephone exchange that speaks ZRTP itself must write its own hash."
    ),
    Reason.ZRTP_HVI: f"Somebody chose his key after he saw the other one. {_BY_VOICE}",
    Reason.ZRTP_ORDER: (
        "A fork that was answered twice or a restarted telephone does that for a moment. If the "
        "call stays silent, Media above says which message was due."
    ),
    Reason.ZRTP_FLOOD: (
        "More than the timers of RFC 6189 send: a telephone in a loop, or somebody who floods the "
        "media port. See what sends at {src}."
    ),
    Reason.ZRTP_CLEAR: (
        "One side wants the encryption of a running call off. What it sends in clear after that "
        "is refused."
    ),
    Reason.ZRTP_ODD: (
        "It passes. An old version or a weak algorithm: update the telephone. A middle man's "
        "flag is right only for a telephone exchange of yours."
    ),
    Reason.ZRTP_ERROR: (
        "The telephones gave up by themselves; the detail has their error code (RFC 6189 section "
        "5.9). No common algorithm, or a wrong secret of an earlier call."
    ),
}

BY_MEDIA: Final = {**_NEGOTIATED, **_PACKETS}
