"""Transactions as a firewall sees them (RFC 3261 section 17, RFC 6026, rules TXN-*).

A transaction remembers one accepted request: enough to know its
retransmissions, its responses, its ACK and its CANCEL, and to refuse
whatever merely looks like them.
"""

from enum import IntEnum
from typing import Final, final

from sipguard.calls.shared import literal, shared, shared_hosts
from sipguard.calls.table import ALL, ExpiringTable
from sipguard.native import mypyc_attr
from sipguard.wire.fields import Address
from sipguard.wire.header_bits import CREDENTIALS
from sipguard.wire.packet import Packet
from sipguard.wire.sip import Ids, Message
from sipguard.wire.start import METHODS

T1_S: Final = 0.5
LINGER_S: Final = 64 * T1_S  # timers B, F, H, J, L and M (TXN-5)
INVITE_PENDING_S: Final = 200.0  # timer C is more than 3 minutes, and a margin

DIALOG_MAKERS: Final = frozenset({b"INVITE", b"SUBSCRIBE", b"REFER"})
DEFAULT_EXPIRES_S: Final = 3600  # RFC 3261 section 10.2.1.1; SIP-32

ANY_PORT: Final = -1  # of a request that came by a connection
TO_TAGS: Final = 16  # forks of one INVITE that are told apart

# A hash of branch, sent-by and method. 64 bits keyed by the interpreter's random seed:
# 400,000 entries meet by chance once in 10^8 runs. Where PYTHONHASHSEED is fixed somebody can
# aim for it, so the book holds the Call-ID against every message that is no plain repetition.
TransactionKey = object
InviteKey = tuple[bytes, bytes, int]  # Call-ID, From tag, CSeq

_METHODS: Final = {method: method for method in METHODS}
_COOKIE: Final = b"z9hG4bK"


class TransactionState(IntEnum):
    """How far a transaction has come."""

    TRYING = 1
    PROCEEDING = 2
    ACCEPTED = 3  # a 2xx was seen
    COMPLETED = 4  # a 3xx to 6xx was seen
    CONFIRMED = 5  # and acknowledged


class TransactionEvent(IntEnum):
    """What can happen to a transaction."""

    PROVISIONAL = 1
    SUCCESS = 2
    FAILURE = 3
    ACK = 4


_S, _E = TransactionState, TransactionEvent
TRANSITIONS: Final = {
    (_S.TRYING, _E.PROVISIONAL): _S.PROCEEDING,
    (_S.TRYING, _E.SUCCESS): _S.ACCEPTED,
    (_S.TRYING, _E.FAILURE): _S.COMPLETED,
    (_S.PROCEEDING, _E.PROVISIONAL): _S.PROCEEDING,
    (_S.PROCEEDING, _E.SUCCESS): _S.ACCEPTED,
    (_S.PROCEEDING, _E.FAILURE): _S.COMPLETED,
    # RFC 6026: 2xx are retransmitted end to end, and another fork may still ring or answer.
    (_S.ACCEPTED, _E.PROVISIONAL): _S.ACCEPTED,
    (_S.ACCEPTED, _E.SUCCESS): _S.ACCEPTED,
    (_S.ACCEPTED, _E.ACK): _S.CONFIRMED,
    (_S.COMPLETED, _E.FAILURE): _S.COMPLETED,
    (_S.COMPLETED, _E.ACK): _S.CONFIRMED,
    (_S.CONFIRMED, _E.PROVISIONAL): _S.CONFIRMED,
    (_S.CONFIRMED, _E.SUCCESS): _S.CONFIRMED,
    (_S.CONFIRMED, _E.FAILURE): _S.CONFIRMED,
    (_S.CONFIRMED, _E.ACK): _S.CONFIRMED,
}
# The same as two look-ups, which is cheaper than making a pair.
_AFTER: Final = {
    state: {event: after for (before, event), after in TRANSITIONS.items() if before is state}
    for state in TransactionState
}
_TRYING: Final = TransactionState.TRYING
_PROVISIONAL: Final = TransactionEvent.PROVISIONAL
_SUCCESS: Final = TransactionEvent.SUCCESS
_FAILURE: Final = TransactionEvent.FAILURE


def key_of(ids: Ids, method: bytes) -> TransactionKey:
    """Return what names a transaction: its branch, or for an old sender the call's own names.

    A branch without the cookie need not be unique: kamailio pings all its
    phones with ``branch=0``, and RFC 2543 knew none at all (TXN-2).
    """
    branch = ids.branch
    if not branch.startswith(_COOKIE):
        branch = b"%b %b %b %d" % (branch, ids.call_id, ids.from_tag, ids.cseq)
    return hash((branch, ids.sent_by, method))


def event_of_status(status: int) -> TransactionEvent:
    """Return what a response of *status* (100 to 699) means to its transaction."""
    if status < 200:
        return _PROVISIONAL
    return _SUCCESS if status < 300 else _FAILURE


@final
@mypyc_attr(acyclic=True)
class Transaction:
    """One accepted request and what became of it. Mutable; owned by :class:`Transactions`."""

    __slots__ = (
        "answers",
        "binds_for_s",
        "call_id",
        "copies",
        "cseq",
        "destination",
        "expires_at_s",
        "final_status",
        "final_to_tag",
        "first_to_tag",
        "from_caller",
        "from_tag",
        "hosts",
        "key",
        "method",
        "octets_hash",
        "other_to_tags",
        "proven",
        "secured",
        "source",
        "source_port",
        "state",
        "to_tag",
        "uri_hash",
    )

    def __init__(self, message: Message, ids: Ids, packet: Packet, from_caller: bool) -> None:
        method = message.method
        self.key: TransactionKey = key_of(ids, method)
        self.method = _METHODS.get(method, method)  # one object for all
        self.call_id = ids.call_id
        self.from_tag = ids.from_tag
        self.to_tag = ids.to_tag
        self.cseq = ids.cseq
        self.source = shared(packet.src)
        self.source_port = _port_of(packet)
        self.destination = shared(packet.dst)
        # Keyed by the interpreter's random seed, so nobody outside can aim for a collision.
        # Without its last bit a hash needs no object of its own in a compiled class.
        self.octets_hash = hash(message.raw) >> 1
        self.uri_hash = hash(message.uri) >> 1
        self.state = _TRYING
        self.final_status = 0
        self.final_to_tag = b""
        self.copies = 0  # retransmissions seen
        self.answers = 0  # responses, and ACKs to a refusal
        self.first_to_tag = b""  # of its early dialogs and its answers
        self.other_to_tags: tuple[bytes, ...] = ()
        self.expires_at_s = 0.0
        # What only some requests need later: the hosts that may speak for the
        # caller of a new dialog, and for how long a REGISTER binds (None: it does not).
        self.hosts: tuple[bytes, ...] = ()
        self.binds_for_s: int | None = None
        self.from_caller = from_caller
        self.proven = message.has(CREDENTIALS)
        self.secured = message.uri[:5].lower() == b"sips:"
        if method == b"REGISTER":
            self.binds_for_s = _binds_for_s(message)
        elif not ids.to_tag and method in DIALOG_MAKERS:
            self.hosts = shared_hosts((self.source, *contact_hosts(message)))

    @property
    def in_dialog(self) -> bool:
        """Whether the request carried a To tag."""
        return self.to_tag != b""

    @property
    def to_tags(self) -> tuple[bytes, ...]:
        """The To tags of its answers, one for each fork."""
        return (self.first_to_tag, *self.other_to_tags) if self.first_to_tag else ()

    def saw_to_tag(self, to_tag: bytes) -> None:
        """Remember one more fork."""
        if to_tag == self.first_to_tag:
            return
        if not self.first_to_tag:
            self.first_to_tag = to_tag
        elif len(self.other_to_tags) < TO_TAGS - 1 and to_tag not in self.other_to_tags:
            self.other_to_tags = (*self.other_to_tags, to_tag)

    def same_octets(self, message: Message, packet: Packet) -> bool:
        """Whether *message* is this request again, from the host that sent it (TXN-12)."""
        return (
            self.octets_hash == hash(message.raw) >> 1
            and self.source == packet.src
            and self.destination == packet.dst
        )

    def is_from_hop(self, packet: Packet) -> bool:
        """Whether *packet* comes from the hop that sent this request (TXN-10)."""
        return self.source == packet.src and self.source_port == _port_of(packet)

    def is_target_of_cancel(self, message: Message, ids: Ids) -> bool:
        """Whether a CANCEL repeats this INVITE's identifiers (TXN-9)."""
        return (
            self.call_id == ids.call_id
            and self.from_tag == ids.from_tag
            and self.to_tag == ids.to_tag
            and self.cseq == ids.cseq
            and self.uri_hash == hash(message.uri) >> 1
        )

    def step(self, event: TransactionEvent) -> bool:
        """Move on; return whether *event* may happen in the state it was in."""
        after = _AFTER[self.state].get(event)
        if after is None:
            return False
        self.state = after
        return True


@final
class Transactions:
    """The bounded table of transactions; the oldest go first when it is full."""

    def __init__(self, capacity: int) -> None:
        # Looked at as soon as an answered one may be due, and no entry waits much longer.
        self._table: ExpiringTable[TransactionKey, Transaction] = ExpiringTable(
            capacity, horizon_s=LINGER_S
        )
        self._refused: ExpiringTable[InviteKey, Transaction] = ExpiringTable(capacity)

    def __len__(self) -> int:
        return len(self._table)

    @property
    def forgotten(self) -> int:
        """How many were dropped because the table was full."""
        return self._table.forgotten

    def of_request(self, ids: Ids, method: bytes) -> Transaction | None:
        """Return the transaction that a request of *method* belongs to (TXN-1)."""
        return self._table.get(key_of(ids, method))

    def of_response(self, ids: Ids) -> Transaction | None:
        """Return the transaction that a response answers (TXN-3)."""
        return self._table.get(key_of(ids, ids.method))

    def refused_invite(self, ids: Ids) -> Transaction | None:
        """Return the refused INVITE whose ACK came under a branch of its own.

        RFC 3261 section 17.1.1.3 wants the INVITE's branch; some clients make
        a new one, as for a 2xx. Everything else must fit (TXN-2).
        """
        if not len(self._refused):
            return None
        transaction = self._refused.get((ids.call_id, ids.from_tag, ids.cseq))
        if transaction is None or transaction.final_to_tag != ids.to_tag:
            return None
        return transaction

    def add(self, transaction: Transaction, now_s: float) -> None:
        """Remember an accepted request."""
        life_s = INVITE_PENDING_S if transaction.method == b"INVITE" else LINGER_S
        transaction.expires_at_s = now_s + life_s
        self._table.put(transaction.key, transaction, now_s)

    def answered(self, transaction: Transaction, status: int, to_tag: bytes, now_s: float) -> None:
        """Note a response; a final one leaves the transaction 64*T1 to linger (TXN-4)."""
        if status >= 200:
            if not transaction.final_status:
                transaction.final_status = status
                transaction.expires_at_s = now_s + LINGER_S
                if status >= 300 and transaction.method == b"INVITE":
                    transaction.final_to_tag = to_tag
                    key = (transaction.call_id, transaction.from_tag, transaction.cseq)
                    self._refused.put(key, transaction, now_s)
        elif transaction.method == b"INVITE" and not transaction.final_status:
            # RFC 3261 section 16.7: every provisional but 100 starts timer C anew.
            transaction.expires_at_s = now_s + INVITE_PENDING_S

    def expire(self, now_s: float, most: int = ALL) -> list[Transaction]:
        """Remove and return what has outlived its timers; see ``ExpiringTable``."""
        self._refused.expire(now_s, most)
        return self._table.expire(now_s, most)


def contact_hosts(message: Message) -> tuple[bytes, ...]:
    """Return the IP addresses that a message's Contacts name literally."""
    return hosts_of(message.contacts)


def hosts_of(addresses: tuple[Address, ...]) -> tuple[bytes, ...]:
    """Return the IP addresses among the hosts of the first few *addresses*."""
    if not addresses:
        return ()
    if len(addresses) == 1:  # nearly always
        return literal(addresses[0].uri.host)
    return tuple([host for address in addresses[:4] for host in literal(address.uri.host)])


def _port_of(packet: Packet) -> int:
    """Return what tells senders of one host apart; on connections its ports do not.

    A client whose connection broke takes another port for the next one (RFC 3261 section
    18.1.1), and whoever answers packets at an address has it, unlike with UDP.
    """
    return packet.sport if packet.transport == "udp" else ANY_PORT


def _binds_for_s(message: Message) -> int | None:
    if message.header(b"contact") is None:
        return None
    expires_s = message.expires
    for contact in message.contacts:
        for name, value in contact.params:
            if name == b"expires" and value.isdigit() and len(value) <= 10:
                return int(value)
    return DEFAULT_EXPIRES_S if expires_s is None else expires_s
