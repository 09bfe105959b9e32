"""Every cause sipguard can name: a stable code, the rule it comes from, the operator's sentence."""

from enum import Enum
from typing import NamedTuple

from sipguard.weight import Weight

_N, _M, _A = Weight.NOTE, Weight.MALFORMED, Weight.AMBIGUOUS
_O, _U = Weight.OVERSIZE, Weight.UNREADABLE


# A table reads better than a hundred wrapped tuples.
# fmt: off
class Reason(Enum):
    """A cause with its stable code (the value), RULES id, weight, usual status and sentence.

    Codes and rule ids are contracts: logs, policies (``finding in {SIP-12}``)
    and tests use them. Add, never rename.
    """

    rule: str
    weight: Weight
    status: int
    sentence: str

    def __new__(cls, code: str, rule: str, weight: Weight, status: int, sentence: str) -> "Reason":
        """Make the code the value and hang the rest on the member."""
        member = object.__new__(cls)
        member._value_ = code
        member.rule = rule
        member.weight = weight
        member.status = status
        member.sentence = sentence
        return member

    # --- outcomes without a fault
    ACCEPTED = "accepted", "", _N, 0, "A rule of the policy accepts it."
    REFUSED_BY_RULE = "refused-by-rule", "", _N, 403, "A rule of the policy refuses it."
    DEFAULT = "default", "", _N, 403, "No rule matched; the policy's default applies."
    KNOWN_CALL = "known-call", "DLG-2", _N, 0, "It belongs to a call or request that was accepted before."
    KEEP_ALIVE = "keep-alive", "SIP-3", _N, 0, "A keep-alive of CRLF or NUL octets."
    STUN_KEEP_ALIVE = "stun", "SIP-1", _N, 0, "A STUN message on a SIP port."
    RETRANSMISSION = "retransmission", "TXN-12", _N, 0, "The same octets again, in time: a retransmission."
    INTERNAL_ERROR = "internal-error", "", _U, 0, "Our own code failed on it; the packet was not judged."
    OVERLOAD = "overload", "", _N, 503, "The queue is full; the policy's on-overload applies."

    # --- wire/packet
    MALFORMED_PACKET = "malformed-packet", "SIP-21", _U, 0, "The IP or UDP headers cannot be read."
    IP_FRAGMENT = "ip-fragment", "SIP-21", _U, 0, "An IP fragment that nobody reassembled."
    NOT_UDP = "not-udp", "SIP-21", _U, 0, "Neither UDP nor a stream that sipguard judges."

    # --- wire/sip: framing
    NOT_SIP = "not-sip", "SIP-1", _U, 0, "Neither SIP, nor STUN, nor a keep-alive."
    SIGCOMP = "sigcomp", "SIP-1", _U, 0, "SigComp: compressed signalling that cannot be inspected."
    BAD_START_LINE = "bad-start-line", "SIP-4", _M, 400, "The start line is not well formed."
    BAD_REQUEST_URI = "bad-request-uri", "SIP-5", _M, 400, "The Request-URI is not well formed."
    BAD_VERSION = "bad-version", "SIP-6", _M, 505, "The SIP version is not 2.0."
    BAD_STATUS = "bad-status", "SIP-7", _U, 0, "The status code is outside 100 to 699 or malformed."
    BARE_CR = "bare-cr", "SIP-8", _A, 400, "A bare CR inside the headers."
    BARE_LF = "bare-lf", "SIP-8", _A, 400, "A bare LF inside the headers."
    CONTROL_OCTET = "control-octet", "SIP-9", _A, 400, "A control octet where none is legal."
    NO_END_OF_HEADERS = "no-end-of-headers", "SIP-8", _A, 400, "The empty line after the headers is missing."
    BAD_HEADER_LINE = "bad-header-line", "SIP-10", _M, 400, "A header line is not well formed."
    DUPLICATE_HEADER = "duplicate-header", "SIP-12", _A, 400, "A header that may stand once stands twice."
    BAD_LIST = "bad-list", "SIP-13", _M, 400, "Header rows are joined or repeated in a way that is not allowed."
    DUPLICATE_PARAMETER = "duplicate-parameter", "SIP-14", _A, 400, "A parameter stands twice in one header value."
    MISSING_HEADER = "missing-header", "SIP-15", _M, 400, "A mandatory header is missing."
    RFC2543_SENDER = "rfc2543-sender", "SIP-15", _N, 0, "Max-Forwards or the From tag is missing: an RFC 2543 sender."
    BODY_SHORT = "body-short", "SIP-16", _M, 400, "The body is shorter than Content-Length says."
    OCTETS_AFTER_BODY = "octets-after-body", "SIP-16", _A, 400, "Octets follow the body; they could hide a second message."
    BAD_CONTENT_LENGTH = "bad-content-length", "SIP-17", _A, 400, "Content-Length is not a plain number."
    NO_CONTENT_LENGTH = "no-content-length", "SIP-17", _M, 400, "Content-Length is missing on a stream."
    NO_CONTENT_TYPE = "no-content-type", "SIP-18", _M, 400, "A body without Content-Type."
    TRANSFER_ENCODING = "transfer-encoding", "SIP-19", _A, 400, "Transfer-Encoding is forbidden in SIP."
    CONTENT_ENCODING = "content-encoding", "SIP-20", _N, 415, "The body is encoded and cannot be inspected."
    TOO_LARGE = "too-large", "SIP-21", _O, 513, "The message is larger than sipguard reads."
    TOO_MANY_HEADERS = "too-many-headers", "SIP-21", _O, 400, "The message has more headers than sipguard reads."
    UNKNOWN_METHOD = "unknown-method", "SIP-23", _N, 405, "A method that no registered RFC defines."

    # --- wire/sip: fields
    BAD_CSEQ = "bad-cseq", "SIP-30", _M, 400, "CSeq is not a number and a method."
    RESPONSE_CSEQ = "response-cseq", "SIP-30", _U, 0, "A response whose CSeq cannot be one of ours."
    CSEQ_METHOD_MISMATCH = "cseq-method-mismatch", "SIP-30", _A, 400, "CSeq names another method than the start line."
    BAD_MAX_FORWARDS = "bad-max-forwards", "SIP-31", _M, 400, "Max-Forwards is not a number."
    BAD_EXPIRES = "bad-expires", "SIP-32", _N, 0, "Expires is out of range; the default applies."
    BAD_CALL_ID = "bad-call-id", "SIP-33", _M, 400, "Call-ID is not well formed."
    BAD_TAG = "bad-tag", "SIP-34", _M, 400, "A tag is not well formed."
    BAD_ADDRESS = "bad-address", "SIP-35", _M, 400, "A name-addr or addr-spec is not well formed."
    BAD_URI = "bad-uri", "SIP-36", _M, 400, "A URI is not well formed."
    BAD_VIA = "bad-via", "SIP-38", _M, 400, "A Via is not well formed."
    VIA_TRANSPORT = "via-transport", "SIP-39", _N, 400, "The top Via names another transport than the one used."
    VIA_SPOOFED_RECEIVED = "via-spoofed-received", "SIP-39", _N, 0, "The sender wrote received or rport values itself."
    BAD_BRANCH = "bad-branch", "SIP-40", _M, 400, "The branch is the magic cookie and nothing else."
    NO_COOKIE = "no-cookie", "SIP-40", _N, 0, "The branch has no magic cookie: RFC 2543 matching."
    BAD_DATE = "bad-date", "SIP-41", _N, 400, "Date is not an RFC 3261 date in GMT."
    BAD_CONTACT = "bad-contact", "SIP-42", _M, 400, "Contact is missing or not allowed in this form."
    BAD_ROUTE = "bad-route", "SIP-44", _M, 400, "Route or Record-Route is not a name-addr."
    BROADCAST_VIA = "broadcast-via", "SIP-45", _U, 0, "A response that names a broadcast or multicast hop."
    BAD_CONTENT_TYPE = "bad-content-type", "SIP-50", _M, 400, "Content-Type is not well formed."

    # --- wire/multipart
    BAD_MULTIPART = "bad-multipart", "SIP-50", _M, 400, "The multipart body has no proper boundaries."
    MULTIPART_LIMIT = "multipart-limit", "SIP-52", _O, 413, "The multipart body is nested too deep or has too many parts."
    PART_LENGTH = "part-length", "SIP-56", _N, 0, "The Content-Length of a body part does not match it; boundaries decide."
    TWO_SESSIONS = "two-sessions", "SIP-54", _A, 400, "More than one session description can be reached."

    # --- wire/sdp
    BAD_SDP = "bad-sdp", "SDP-1", _M, 488, "The session description is not well formed."
    BAD_SDP_ADDRESS = "bad-sdp-address", "SDP-3", _N, 0, "A media address that no pinhole may lead to."
    SDP_LEVEL = "sdp-level", "SDP-5", _N, 0, "A security attribute stands at the wrong level and is ignored."
    SDP_CLEAR_KEY = "sdp-clear-key", "SDP-7", _N, 0, "The obsolete k= line carries a key in clear."
    SDP_ODD = "sdp-odd", "SDP-2", _N, 0, "The session description is unusual but clear."

    # --- calls
    STRAY_RESPONSE = "stray-response", "TXN-4", _U, 0, "A response to no request that was seen."
    RESPONSE_MISMATCH = "response-mismatch", "TXN-3", _U, 0, "A response that changes Call-ID or From tag."
    RESPONSE_WRONG_WAY = "response-wrong-way", "TXN-3", _U, 0, "A response that does not come from where the request went."
    BRANCH_COLLISION = "branch-collision", "TXN-12", _U, 0, "Another message under the branch of a known transaction."
    STRAY_ACK = "stray-ack", "TXN-6", _U, 0, "An ACK that matches no answered INVITE."
    ABSORBED_ACK = "absorbed-ack", "RSP-8", _N, 0, "The ACK to a refusal of our own."
    STRAY_CANCEL = "stray-cancel", "TXN-10", _U, 0, "A CANCEL that matches no pending INVITE."
    FORGED_CANCEL = "forged-cancel", "TXN-10", _U, 0, "A CANCEL from another source than the INVITE's."
    CANCEL_TOO_LATE = "cancel-too-late", "TXN-10", _U, 0, "A CANCEL after the final response."
    STRAY_PRACK = "stray-prack", "TXN-15", _U, 0, "A PRACK that acknowledges no reliable response."
    BAD_PROVISIONAL = "bad-provisional", "TXN-14", _U, 0, "A provisional response that a non-INVITE may not have."
    UNKNOWN_DIALOG = "unknown-dialog", "DLG-2", _N, 481, "An in-dialog request of a call that is not known."
    OLD_CSEQ = "old-cseq", "DLG-2", _U, 0, "An in-dialog request with a CSeq that is not new."
    FORGED_IN_DIALOG = "forged-in-dialog", "DLG-6", _U, 0, "An in-dialog request from a host that is not on the call's path."
    REGISTER_HIJACK = "register-hijack", "DIG-26", _N, 403, "A REGISTER without credentials for a name that another address holds."
    LEARNED_DIALOG = "learned-dialog", "DLG-2", _N, 0, "A call from before the start, learned from its traffic."

    # --- replay
    REPLAY = "replay", "RPL-2", _N, 403, "A known request again with changed headers."
    REPLAY_AFTER_END = "replay-after-end", "RPL-1", _N, 403, "A known request again after it was answered."
    FORK_OR_SPIRAL = "fork-or-spiral", "RPL-3", _N, 0, "The same request on another branch: a fork or a spiral."

    # --- media
    NOT_KEYED = "not-keyed", "PIN-18", _N, 488, "No key for SRTP was negotiated."
    KEYED = "keyed", "PIN-18", _N, 0, "A key for SRTP was negotiated."
    BAD_CRYPTO = "bad-crypto", "SDE-1", _N, 488, "An a=crypto line that cannot be used."
    WEAK_CRYPTO = "weak-crypto", "SDE-3", _N, 488, "The crypto line turns encryption or authentication off."
    KEY_REUSE = "key-reuse", "SDE-4", _N, 488, "Offer and answer use the same key."
    ANSWER_CRYPTO = "answer-crypto", "SDE-5", _N, 488, "The answer does not take one of the offered crypto lines."
    CLEARTEXT_SDES = "sdes-cleartext", "SDE-9", _N, 488, "The SRTP key travels over clear signalling."
    BAD_FINGERPRINT = "bad-fingerprint", "DTL-1", _N, 488, "A certificate fingerprint that cannot be used."
    BAD_SETUP = "bad-setup", "DTL-2", _N, 488, "The a=setup roles do not pair."
    ANSWER_MISMATCH = "answer-mismatch", "PIN-6", _N, 0, "The answer does not fit the offer."
    PROFILE_DOWNGRADE = "profile-downgrade", "PIN-7", _N, 0, "The answer changes the transport profile."
    LATER_SDP_DIFFERS = "later-sdp-differs", "PIN-2", _N, 0, "Later session descriptions differ from the first; they are ignored."
    OFFER_PENDING = "offer-pending", "PIN-5", _N, 0, "An offer while another is unanswered."
    HOLE_COLLISION = "hole-collision", "SDP-9", _N, 0, "The media port already belongs to another call."
    HOLE_FORBIDDEN = "hole-forbidden", "SDP-8", _N, 0, "A media address or port that the sender may not ask for."
    HOLE_LIMIT = "hole-limit", "GEN-3", _N, 0, "More pinholes than the limit allows."
    HOLE_REFUSED = "hole-refused", "PIN-18", _N, 488, "The policy opens no pinhole for this stream."
    CALL_ENDED = "call-ended", "PIN-15", _N, 0, "The call ended."
    CALL_FAILED = "call-failed", "PIN-4", _N, 0, "The call was refused or cancelled."
    CALL_EXPIRED = "call-expired", "PIN-15", _N, 0, "The call's session timer or time limit ran out."
    RENEGOTIATED = "renegotiated", "PIN-8", _N, 0, "A new offer and answer replaced the stream."
    FORGOTTEN = "forgotten", "GEN-3", _N, 0, "The call table was full; the oldest entry went."

    # --- media: SDES, and what goes on in a call
    SDES_SAME_KEY = "sdes-same-key", "SDE-7", _N, 488, "A new media address or port with the key of the old one."
    SDES_FORKED = "sdes-forked", "SDE-10", _N, 0, "Several ends have the offer's SRTP key: the call forked."
    KEY_MIXED = "key-mixed", "KEY-2", _N, 488, "The answer takes more than one keying method."
    MEDIA_DOWNGRADE = "media-downgrade", "PIN-7", _N, 488, "A running call's media is renegotiated with less protection or another method."
    BAD_BUNDLE = "bad-bundle", "PIN-12", _N, 0, "A BUNDLE group that cannot be used."
    ENDS_AT_RELAY = "ends-at-relay", "PIN-16", _N, 0, "The key ends at a media relay, not at the other telephone."

    # --- media: ICE
    BAD_CANDIDATE = "bad-candidate", "PIN-13", _N, 0, "An ICE candidate that cannot be used."
    BAD_STUN = "bad-stun", "PIN-13", _N, 0, "A STUN message that is not well formed, or has no business in a media stream."
    ICE_INTEGRITY = "ice-integrity", "PIN-13", _N, 0, "A connectivity check whose integrity is missing or wrong."
    ICE_UNCHECKED = "ice-unchecked", "PIN-13", _N, 0, "Media on a pair of addresses before a connectivity check passed both ways."
    ICE_MISMATCH = "ice-mismatch", "PIN-17", _N, 0, "The answer says that the offer's addresses are not among its candidates."

    # --- media: the packets themselves
    UNPROVEN = "unproven", "PIN-18", _N, 0, "The stream proved nothing in time."
    OTHER_SOURCE = "other-source", "PIN-14", _N, 0, "Media from another port than the one that proved itself."
    UNKNOWN_MEDIA = "unknown-media", "DTL-7", _N, 0, "A packet in a media stream that is none of RTP, RTCP, STUN, DTLS and ZRTP."
    PLAIN_RTP = "plain-rtp", "SRT-3", _N, 0, "Clear RTP in a stream whose encryption was negotiated."
    BAD_RTP = "bad-rtp", "SRT-1", _N, 0, "An RTP packet that is not well formed or was not negotiated."
    BAD_RTCP = "bad-rtcp", "SRT-2", _N, 0, "An RTCP packet that is not well formed."
    SSRC_CHANGES = "ssrc-changes", "SRT-4", _N, 0, "A stream changes its SSRC more often than telephones do."
    SRTP_REPLAY = "srtp-replay", "SRT-5", _N, 0, "An SRTP packet that was seen before."
    SRTP_TAG = "srtp-tag", "SRT-7", _N, 0, "An SRTP packet that was not made with the negotiated key."
    MEDIA_TOO_EARLY = "media-too-early", "SRT-10", _N, 0, "Media before its key exchange was over."

    # --- media: DTLS-SRTP
    BAD_DTLS = "bad-dtls", "DTL-6", _N, 0, "A DTLS packet that is not well formed."
    DTLS_FINGERPRINT = "dtls-fingerprint", "DTL-4", _N, 0, "The DTLS certificate is not the one that signalling names."
    DTLS_NO_CERTIFICATE = "dtls-no-certificate", "DTL-4", _N, 0, "One side of the DTLS handshake shows no certificate."
    DTLS_HIDDEN = "dtls-hidden", "DTL-4", _N, 0, "DTLS 1.3 or a resumed session hides the certificates, so that nobody here can compare them."
    DTLS_NO_SRTP = "dtls-no-srtp", "DTL-5", _N, 0, "The DTLS handshake agrees on no SRTP protection."
    DTLS_ROLE = "dtls-role", "DTL-8", _N, 0, "The DTLS handshake comes from the wrong side."

    # --- media: ZRTP
    ZRTP_CRC = "zrtp-crc", "ZRT-1", _N, 0, "A ZRTP packet with a wrong checksum."
    BAD_ZRTP = "bad-zrtp", "ZRT-2", _N, 0, "A ZRTP packet that is not well formed."
    ZRTP_CHAIN = "zrtp-chain", "ZRT-3", _N, 0, "A ZRTP message that does not belong to the sender of the Hello."
    ZRTP_MAC = "zrtp-mac", "ZRT-4", _N, 0, "A ZRTP message that was changed after it was sent."
    ZRTP_HASH = "zrtp-hash", "ZRT-5", _N, 0, "The ZRTP Hello is not the one that signalling names."
    ZRTP_HVI = "zrtp-hvi", "ZRT-6", _N, 0, "The ZRTP key value is not the one that was committed to."
    ZRTP_ORDER = "zrtp-order", "ZRT-7", _N, 0, "A ZRTP message out of order."
    ZRTP_FLOOD = "zrtp-flood", "ZRT-8", _N, 0, "More ZRTP messages than its timers send."
    ZRTP_CLEAR = "zrtp-clear", "ZRT-9", _N, 0, "ZRTP asks to go on in clear."
    ZRTP_ODD = "zrtp-odd", "ZRT-10", _N, 0, "The ZRTP exchange is unusual: another version, a weak algorithm, a middle man's flag."
    ZRTP_ERROR = "zrtp-error", "ZRT-11", _N, 0, "One side of the ZRTP exchange reports an error."

    # --- media: MIKEY
    BAD_MIKEY = "bad-mikey", "MIK-1", _N, 488, "A MIKEY message that is not well formed."
    MIKEY_TIME = "mikey-time", "MIK-2", _N, 488, "A MIKEY message that was made too long ago, or in the future."
    MIKEY_REPLAY = "mikey-replay", "MIK-3", _N, 488, "The MIKEY message of another call, used again."
    MIKEY_MAC = "mikey-mac", "MIK-4", _N, 488, "The MIKEY message's authentication code or signature is wrong."
    MIKEY_SIGNER = "mikey-signer", "MIK-6", _N, 488, "The signer of the MIKEY message is not the caller in From."
    MIKEY_UNCHECKED = "mikey-unchecked", "MIK-7", _N, 0, "Nobody here has the key or certificate to check the MIKEY message with."
    MIKEY_CLEAR = "mikey-clear", "MIK-8", _N, 488, "The MIKEY message carries its keys in clear, or no authentication code."
    MIKEY_BIDDING = "mikey-bidding", "MIK-9", _N, 488, "The list of key management protocols is not the one that was authenticated."
    MIKEY_ANSWER = "mikey-answer", "MIK-10", _N, 488, "The MIKEY response is missing, reports an error or does not fit."
    MIKEY_RSA_R = "mikey-rsa-r", "MIK-11", _N, 488, "The RSA-R exchange breaks a rule of RFC 4738."
    MIKEY_DH = "mikey-dh", "MIK-12", _N, 488, "The Diffie-Hellman exchange was changed, or is too weak."
    MIKEY_POLICY = "mikey-policy", "MIK-13", _N, 488, "The MIKEY security policy turns protection off."
    MIKEY_IDENTITY = "mikey-identity", "MIK-14", _N, 0, "The MIKEY message names no responder, or another one than To."
    MIKEY_LEGACY = "mikey-legacy", "MIK-15", _N, 0, "The MIKEY message uses an algorithm that is out of date."
    KEY_MGMT_FAILED = "key-mgmt-failed", "MIK-16", _N, 488, "One key management attribute failed, and so does the whole session."

    # --- identity/smime
    BAD_SIGNED_BODY = "bad-signed-body", "SMI-2", _N, 400, "A signed body whose parts are not what S/MIME wants."
    BAD_CMS = "bad-cms", "SMI-20", _N, 400, "The signature is no well-formed CMS SignedData."
    LINE_ENDS_CHANGED = "line-ends-changed", "SMI-5", _N, 0, "The signature fits only with other line ends."
    MICALG = "micalg", "SMI-7", _N, 403, "The micalg parameter names another digest than the signature uses."
    SEVERAL_SIGNERS = "several-signers", "SMI-22", _N, 403, "The signature has no signer, or more than one."
    SIGNED_ATTRIBUTES = "signed-attributes", "SMI-23", _N, 403, "The signed attributes lack or repeat what they must have once."
    DIGEST_MISMATCH = "signed-digest", "SMI-24", _N, 403, "The signed octets were changed after signing."
    WRONG_SIGNATURE = "wrong-signature", "SMI-25", _N, 403, "The signature was not made with the certificate's key."
    SIGNING_TIME = "signing-time", "SMI-26", _N, 403, "The signing time lies outside the window."
    SIGNER_HASH = "signer-hash", "SMI-27", _N, 403, "The signature names another certificate as its signer's."
    CMS_ODD = "cms-odd", "SMI-28", _N, 0, "The signature is unusual but clear."
    WEAK_SIGNATURE = "weak-signature", "SMI-29", _N, 403, "The signature uses an algorithm or key that is too weak."
    NO_SIGNER_CERTIFICATE = "no-signer-certificate", "SMI-30", _N, 437, "The signer's certificate is neither attached nor known here."
    SIGNER_CHANGED = "signer-changed", "SMI-31", _N, 403, "Another certificate than before signs for this address."
    ENCRYPTED_BODY = "encrypted-body", "SMI-32", _N, 488, "The body is encrypted and cannot be inspected."
    PROTECTION_LOST = "protection-lost", "SMI-33", _N, 403, "What was protected before comes again, or is answered, without protection."
    INNER_DIFFERS = "inner-differs", "SMI-34", _N, 403, "The signed copy of the message differs from the message."
    SDP_DIFFERS = "sdp-differs", "SMI-35", _N, 403, "The session description is not the one that was signed."
    SDP_RELAYED = "sdp-relayed", "SMI-35", _N, 0, "A media relay that the policy names changed addresses and ports of the signed session description."

    # --- identity/trust
    BAD_CERTIFICATE = "bad-certificate", "CERT-1", _N, 437, "The certificate cannot be read."
    CERTIFICATE_EXPIRED = "certificate-expired", "CERT-1", _N, 437, "A certificate has expired."
    CERTIFICATE_NOT_YET = "certificate-not-yet", "CERT-1", _N, 437, "A certificate is not valid yet."
    UNKNOWN_ISSUER = "unknown-issuer", "CERT-1", _N, 437, "No certificate authority that the policy trusts issued it."
    BAD_CHAIN = "bad-chain", "CERT-1", _N, 437, "The certificate chain breaks a rule of RFC 5280."
    CERTIFICATE_REVOKED = "certificate-revoked", "CERT-2", _N, 437, "A certificate was revoked."
    CRL_UNUSABLE = "crl-unusable", "CERT-2", _N, 437, "The revocation list is too old or cannot be used."
    WRONG_KEY_USAGE = "wrong-key-usage", "CERT-3", _N, 437, "The certificate may not be used to sign SIP."
    WRONG_SIGNER = "wrong-signer", "CERT-4", _N, 403, "The certificate speaks for somebody else."
    WRONG_DOMAIN = "wrong-domain", "CERT-6", _N, 403, "The certificate speaks for another domain."
    SELF_SIGNED = "self-signed", "CERT-9", _N, 437, "The certificate is signed by itself and proves nobody."

    # --- identity/aib
    AIB_ABSENT = "aib-absent", "AIB-16", _N, 428, "The message carries no Authenticated Identity Body."
    AIB_BAD_FRAGMENT = "aib-bad-fragment", "AIB-2", _N, 400, "The AIB is no valid piece of a SIP message."
    AIB_INCOMPLETE = "aib-incomplete", "AIB-3", _N, 403, "The AIB lacks a header that it must have."
    AIB_THIN = "aib-thin", "AIB-3", _N, 0, "The AIB lacks To or CSeq, which protect against replay."
    AIB_UNSIGNED = "aib-unsigned", "AIB-4", _N, 403, "The AIB stands outside any signature."
    AIB_WRONG_SIGNER = "aib-wrong-signer", "AIB-5", _N, 403, "The signer does not speak for the caller in From."
    AIB_MISMATCH = "aib-mismatch", "AIB-6", _N, 403, "A header differs from its signed copy."
    AIB_UNCOMPARED = "aib-uncompared", "AIB-6", _N, 0, "Something stands in the AIB alone, or in the message alone."
    AIB_STALE = "aib-stale", "AIB-7", _N, 403, "The AIB was signed too long ago, or in the future."
    AIB_REPLAY = "aib-replay", "AIB-8", _N, 403, "The AIB of another request, used again."
    AIB_FOREIGN_CONTACT = "aib-foreign-contact", "AIB-10", _N, 0, "Contact leads to another host than the one the request came from."
    AIB_RETARGETED = "aib-retargeted", "AIB-10", _N, 0, "The request goes to another address than its signed To."
    AIB_ENCRYPTED = "aib-encrypted", "AIB-13", _N, 403, "The AIB is encrypted and its headers cannot be compared."
    AIB_SEVERAL = "aib-several", "AIB-14", _N, 403, "Several signers claim to have sent the message."

    # --- identity/stir
    STIR_ABSENT = "stir-absent", "STI-15", _N, 428, "The request carries no Identity header."
    BAD_PASSPORT = "bad-passport", "STI-1", _N, 438, "The Identity header is no well-formed PASSporT."
    PASSPORT_HEADER = "passport-header", "STI-4", _N, 438, "The PASSporT's header contradicts the Identity header, or uses a forbidden algorithm."
    PASSPORT_CLAIMS = "passport-claims", "STI-5", _N, 438, "The PASSporT's claims are missing or of the wrong form."
    PASSPORT_ORIG = "passport-orig", "STI-6", _N, 438, "The PASSporT speaks for another caller than From."
    PASSPORT_DEST = "passport-dest", "STI-9", _N, 438, "The PASSporT was made for another callee than To."
    PASSPORT_STALE = "passport-stale", "STI-10", _N, 403, "The PASSporT was made too long ago, or in the future."
    PASSPORT_SIGNATURE = "passport-signature", "STI-12", _N, 438, "The PASSporT's signature is wrong."
    PASSPORT_ODD = "passport-odd", "STI-12", _N, 0, "The PASSporT is not written as RFC 8225 section 9 wants."
    PASSPORT_KEY = "passport-key", "STI-13", _N, 438, "The PASSporT names another media key than the session description."
    PASSPORT_NO_KEY = "passport-no-key", "STI-13", _N, 0, "The session description has a fingerprint that the PASSporT does not name."
    PASSPORT_REPLAY = "passport-replay", "STI-14", _N, 403, "The PASSporT of another request, used again."
    NO_CREDENTIAL = "no-credential", "STI-15", _N, 436, "The PASSporT's certificate could not be had."
    CREDENTIAL_UNTRUSTED = "credential-untrusted", "STI-16", _N, 437, "The PASSporT's certificate is not trusted."
    NO_AUTHORITY = "no-authority", "STI-16", _N, 437, "The PASSporT's certificate has no authority over the caller."
    CLAIM_CONSTRAINT = "claim-constraint", "STI-33", _N, 438, "The certificate forbids a claim of the PASSporT."
    UNSUPPORTED_PASSPORT = "unsupported-passport", "STI-22", _N, 428, "The PASSporT is of a kind that is not supported."
    PASSPORT_SHAKEN = "passport-shaken", "STI-35", _N, 438, "The SHAKEN claims are missing or of the wrong form."
    PASSPORT_PRIORITY = "passport-priority", "STI-36", _N, 438, "The PASSporT does not allow this priority."
    PASSPORT_DIVERTED = "passport-diverted", "STI-40", _N, 438, "The chain of diversions is broken."
    OLD_IDENTITY = "old-identity", "STI-50", _N, 428, "An Identity header of the obsolete RFC 4474."

    # --- identity/digest
    DIGEST_BASIC = "digest-basic", "DIG-1", _N, 403, "Basic credentials are forbidden in SIP."
    DIGEST_NO_CHALLENGE = "digest-no-challenge", "DIG-2", _U, 0, "A 401 or 407 without a challenge."
    DIGEST_QUOTES = "digest-quotes", "DIG-3", _N, 400, "Digest parameters are not written as they must be."
    DIGEST_LENGTH = "digest-length", "DIG-4", _N, 400, "The digest response does not fit its algorithm."
    DIGEST_QOP = "digest-qop", "DIG-6", _N, 403, "Digest credentials without protection against replay."
    DIGEST_CHALLENGES = "digest-challenges", "DIG-8", _N, 0, "A challenge that RFC 8760 or RFC 3261 section 22 does not allow."
    DIGEST_USERS = "digest-users", "DIG-9", _N, 400, "Digest credentials with two user names."
    DIGEST_NONCE = "digest-nonce", "DIG-20", _N, 403, "Digest credentials for a challenge that nobody saw."
    DIGEST_ECHO = "digest-echo", "DIG-21", _N, 403, "Digest credentials that do not repeat their challenge."
    DIGEST_URI = "digest-uri", "DIG-22", _N, 400, "Digest credentials for another address than the request's."
    DIGEST_COUNT = "digest-count", "DIG-23", _N, 403, "A nonce count that was used before."
    DIGEST_REPLAY = "digest-replay", "DIG-24", _N, 403, "The digest response of another request, used again."
    DIGEST_USER = "digest-user", "DIG-25", _N, 403, "The user of the digest credentials is not the caller in From."
    DIGEST_UNCOVERED = "digest-uncovered", "DIG-26", _N, 0, "The digest covers neither From, Contact nor body."
    DIGEST_DOWNGRADE = "digest-downgrade", "DIG-28", _N, 403, "The digest is weaker than what was offered or the policy wants."
    DIGEST_WRONG = "digest-wrong", "DIG-31", _N, 403, "The digest response is wrong."

    # --- identity, all of it
    NOT_SET_UP = "not-set-up", "GEN-2", _N, 503, "The policy names nobody to trust for it, so nobody can say."
    SIGNATURE_BUDGET = "signature-budget", "GEN-3", _N, 503, "Too many bad signatures from this source; no more are verified for now."

    # --- streams: TLS
    TLS_OLD_VERSION = "tls-old-version", "TLS-22", _N, 0, "The peer offers no version of TLS that is still allowed."
    TLS_NO_CIPHER = "tls-no-cipher", "TLS-22", _N, 0, "The peer and the gateway have no cipher suite, curve or signature in common."
    TLS_ALERT = "tls-alert", "TLS-20", _N, 0, "The peer ended the TLS handshake and says why."
    TLS_GARBAGE = "tls-garbage", "TLS-20", _N, 0, "What came is not TLS, or breaks its rules."
    TLS_TIMEOUT = "tls-timeout", "TLS-20", _N, 0, "The peer did not finish the TLS handshake in time."
    TLS_HUNG_UP = "tls-hung-up", "TLS-20", _N, 0, "The peer closed the connection in the middle of the TLS handshake."
    TLS_BUSY = "tls-busy", "TLS-20", _N, 0, "Too many TLS handshakes are in progress."
    TLS_NO_CERTIFICATE = "tls-no-certificate", "TLS-20", _N, 0, "The peer showed no certificate where one is required."
    TLS_UNPROVEN = "tls-unproven", "TLS-20", _N, 403, "The certificate of the connection is not valid, or nobody verified it."
    TLS_WRONG_NAME = "tls-wrong-name", "CERT-6", _N, 0, "The server's certificate names another server."

    # --- streams: WebSocket
    WS_NOT_HTTP = "ws-not-http", "TLS-31", _N, 0, "What came to a WebSocket port, or from the server there, is no good HTTP."
    WS_NO_UPGRADE = "ws-no-upgrade", "TLS-31", _N, 0, "An HTTP request on a WebSocket port that asks for no WebSocket of version 13."
    WS_BAD_HANDSHAKE = "ws-bad-handshake", "TLS-31", _N, 0, "The opening handshake of a WebSocket breaks a rule of RFC 6455."
    WS_SUBPROTOCOL = "ws-subprotocol", "TLS-31", _N, 0, "A WebSocket for something else than SIP."
    WS_ORIGIN = "ws-origin", "TLS-31", _N, 0, "A page from another origin than the policy names asks for the WebSocket."
    WS_REFUSED = "ws-refused", "TLS-31", _N, 0, "The server refuses the WebSocket."
    WS_FRAMING = "ws-framing", "TLS-31", _N, 0, "A WebSocket frame that breaks a rule of RFC 6455."
    WS_NOT_UTF8 = "ws-not-utf8", "TLS-31", _N, 0, "A text message of a WebSocket that is no UTF-8."
    WS_TOO_LARGE = "ws-too-large", "TLS-31", _N, 0, "A WebSocket message that is larger than any SIP message may be."

    # --- SIPS and secured transports
    SIPS_IN_CLEAR = "sips-in-clear", "TLS-1", _M, 400, "A SIPS request over a transport without TLS."
    TLS_PARAMETER = "tls-parameter", "TLS-2", _N, 400, "A URI says transport=tls, which RFC 5630 deprecates; it does not mean SIPS."
    SIPS_DOWNGRADE = "sips-downgrade", "TLS-3", _M, 480, "What began as SIPS goes on in clear."
    SIPS_LOST = "sips-lost", "TLS-3", _N, 480, "What began as SIPS goes on as SIP; from the next hop on it may be clear."
    SIPS_GAINED = "sips-gained", "TLS-3", _N, 400, "What began as SIP goes on as SIPS, though it came a part of its way in clear."
    SIPS_REGISTER = "sips-register", "TLS-5", _M, 400, "A SIPS Contact is registered beside addresses that are not SIPS."
    SIPS_CONTACT = "sips-contact", "TLS-11", _M, 400, "The Contact of a SIPS request is not SIPS."
    SIPS_ANSWER = "sips-answer", "TLS-11", _N, 0, "The answer to a SIPS request leads to an address that is not SIPS."
    SIPS_ROUTE = "sips-route", "TLS-11", _N, 400, "A proxy recorded a route into a SIPS request that is not SIPS."
    SIPS_RETARGETED = "sips-retargeted", "TLS-12", _N, 400, "A SIPS request whose To is not SIPS: somebody changed the one or the other."
    SIPS_CLEAR_HOP = "sips-clear-hop", "TLS-12", _N, 400, "A Via of a SIPS request says that it came a part of its way in clear."
    PEER_DOMAIN = "tls-peer-domain", "TLS-33", _N, 403, "The certificate of the connection speaks for another domain than From."
    BAD_SEC_AGREE = "bad-sec-agree", "TLS-32", _N, 400, "A list of security mechanisms is not well formed."
    SECURITY_BID_DOWN = "security-bid-down", "TLS-32", _N, 403, "The security mechanisms that the client repeats are not those that the server offered."
    SEC_AGREE_OVER_TLS = "sec-agree-over-tls", "TLS-32", _N, 400, "Security mechanisms are negotiated where TLS is in use already."

    # --- replies and rates
    RATE_EXCEEDED = "rate-exceeded", "RSP-6", _N, 503, "More requests than the policy's rate allows."
    UNANSWERABLE = "unanswerable", "RSP-1", _N, 0, "A refusal that may not be answered; dropped instead."

    # --- streams
    STREAM_NOT_SIP = "stream-not-sip", "SIP-4", _U, 0, "A connection for SIP carries something else."
    STREAM_NO_LENGTH = "stream-no-length", "SIP-17", _U, 0, "A message of a stream has no Content-Length, so that nobody knows where the next one begins (RFC 3261 section 18.3)."
    STREAM_BAD_LENGTH = "stream-bad-length", "SIP-17", _U, 0, "The Content-Length of a message of a stream is no plain number or stands twice, so that two readers could cut the stream differently (RFC 3261 section 18.3)."
    STREAM_TOO_LARGE = "stream-too-large", "SIP-17", _U, 0, "A message of a stream is larger than sipguard reads, or does not end."
    STREAM_LINE_END = "stream-line-end", "SIP-8", _U, 0, "A line of a stream does not end with CR and LF (RFC 3261 section 7), so that two readers could see two ends of the headers."
    STREAM_LIMIT = "stream-limit", "GEN-3", _N, 0, "Too many connections, or too fast, from one source or in all."
    SLOW_STREAM = "slow-stream", "GEN-3", _N, 0, "A connection that does not send or take its messages in time."
    IDLE_STREAM = "idle-stream", "GEN-3", _N, 0, "A connection that was silent for too long."
    UNREACHABLE = "unreachable", "SIP-17", _N, 0, "The server that a connection is for does not take it."

# fmt: on


class Finding(NamedTuple):
    """One thing a check noticed: reason, detail in our own words, the octets it is about.

    *octets* are raw and capped; only a face may show them, escaped.
    """

    reason: Reason
    detail: str = ""
    octets: bytes = b""

    @property
    def rule(self) -> str:
        """The id in the rule book, such as ``SIP-12``."""
        return self.reason.rule
