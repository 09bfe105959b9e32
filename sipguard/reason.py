"""Every cause sipguard can name: a stable code, the rule it comes from, the operator's sentence."""

from enum import Enum
from typing import NamedTuple


class Weight(Enum):
    """How much a finding matters before any policy is asked."""

    NOTE = "note"  # passes; recorded
    MALFORMED = "malformed"  # no sane sender writes this: 400 where a reply is allowed, else drop
    AMBIGUOUS = "ambiguous"  # two sane parsers could read it differently (GEN-1)
    OVERSIZE = "oversize"
    UNREADABLE = "unreadable"  # not even enough to say which call it belongs to: always drop


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

    # --- replies and rates
    RATE_EXCEEDED = "rate-exceeded", "RSP-6", _N, 503, "More requests than the policy's rate allows."
    UNANSWERABLE = "unanswerable", "RSP-1", _N, 0, "A refusal that may not be answered; dropped instead."

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
