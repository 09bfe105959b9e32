"""Handshakes of DTLS-SRTP between two ends, followed from beside (RFC 5763, 5764; DTL-4 to DTL-8).

Up to DTLS 1.2 both certificates pass in clear. Each must be the one whose fingerprint
signalling names; the packet that completes another one is refused, so that no end ever
sees it whole and the handshake cannot finish.

A handshake is followed by another only when both sides say so: the client by a hello with
another random, the server by answering it; in between nothing else passes. A liar on one
side of the gateway speaks for that side alone, and cannot make us forget what it has sent.
"""

from typing import Final, final

from sipguard.errors import HostileInput
from sipguard.media.dtls_side import Association, Origin, Settled, Side
from sipguard.media.proof import IS_QUIET, PASSES, Sight, Word
from sipguard.native import mypyc_attr
from sipguard.reason import Finding, Reason
from sipguard.wire.dtls import (
    ACK,
    ALERT,
    APPLICATION_DATA,
    CHANGE_CIPHER_SPEC,
    CIPHERTEXT_1_3,
    HANDSHAKE,
    Piece,
    Reassembly,
    Record,
    parse_pieces,
    parse_records,
)
from sipguard.wire.dtls_hello import (
    CERTIFICATE_REQUEST,
    CERTIFICATE_STATUS,
    CERTIFICATE_VERIFY,
    CLIENT_HELLO,
    CLIENT_KEY_EXCHANGE,
    HELLO_REQUEST,
    HELLO_VERIFY_REQUEST,
    NEW_SESSION_TICKET,
    SERVER_HELLO,
    SERVER_HELLO_DONE,
    SERVER_KEY_EXCHANGE,
    ClientHello,
    ServerHello,
    encrypts,
    parse_client_hello,
    parse_server_hello,
)
from sipguard.wire.sdp import Fingerprint

_REFUSE: Final = Word.REFUSE
_PASS: Final = Word.PASS
_BAD: Final = Reason.BAD_DTLS
_ONLY_CLIENTS_SEND: Final = frozenset((CLIENT_HELLO, CERTIFICATE_VERIFY, CLIENT_KEY_EXCHANGE))
_ONLY_SERVERS_SEND: Final = frozenset(
    (
        *(HELLO_REQUEST, SERVER_HELLO, HELLO_VERIFY_REQUEST, NEW_SESSION_TICKET),
        *(SERVER_KEY_EXCHANGE, CERTIFICATE_REQUEST, SERVER_HELLO_DONE, CERTIFICATE_STATUS),
    )
)
_IN_1_3: Final = "DTLS 1.3 encrypts the certificates"
_RESUMED: Final = "a resumed session shows no certificates"
_AGAIN: Final = "a handshake inside the encryption of another hides its certificates"
_CHANGE_CIPHER_SPEC: Final = (CHANGE_CIPHER_SPEC, b"\x01")


@final
@mypyc_attr(acyclic=True)
class _Hellos:
    """Puts one side's hellos together, which may be fragmented; the newest counts.

    Each is read once: a datagram could hold a hundred empty fragments of one long hello.
    """

    __slots__ = ("_answer", "_is_read", "_offer", "_pieces", "_sequence")

    def __init__(self) -> None:
        self._sequence = -1
        self._pieces: Reassembly | None = None
        self._is_read = False
        self._offer: ClientHello | None = None
        self._answer: ServerHello | None = None

    def offer(self, piece: Piece) -> ClientHello | None:
        """Return the ClientHello that this piece belongs to, once it is whole."""
        pieces = self._put(piece)
        if pieces is None:
            return self._offer
        self._offer = parse_client_hello(pieces.message())
        return self._offer

    def answer(self, piece: Piece) -> ServerHello | None:
        """Return the ServerHello that this piece belongs to, once it is whole."""
        pieces = self._put(piece)
        if pieces is None:
            return self._answer
        self._answer = parse_server_hello(pieces.message())
        return self._answer

    def _put(self, piece: Piece) -> Reassembly | None:
        """Return the message where it has just become whole."""
        pieces = self._pieces
        if pieces is None or not self._is_part_of(pieces, piece):
            pieces = Reassembly(piece.length)
            pieces.add(piece.offset, piece.octets)
            self._pieces, self._sequence, self._is_read = pieces, piece.sequence, False
            self._offer = self._answer = None
        if self._is_read and self._offer is None and self._answer is None:
            raise HostileInput(_BAD, "a hello that cannot be read, again")
        if self._is_read or not pieces.is_whole:
            return None
        self._is_read = True
        return pieces

    def _is_part_of(self, pieces: Reassembly, piece: Piece) -> bool:
        if pieces.length != piece.length or self._sequence != piece.sequence:
            return False
        try:
            pieces.add(piece.offset, piece.octets)
        except HostileInput:  # another hello, which is no contradiction
            return False
        return True


@final
@mypyc_attr(acyclic=True)
class Handshakes:
    """Follows what passes between one pair of ports: a handshake, its repetitions, the next one.

    ``settled`` is what the last one led to that came to its end, and is valid until the next
    one does: no stray hello ends a running association (RFC 6347 section 4.2.8).
    """

    __slots__ = (
        *("_accepts_hidden", "_client_hellos", "_client_prints", "_is_asked", "_offer"),
        *("_offer_end", "_server_hellos", "_server_prints", "_settles", "current", "settled"),
    )

    def __init__(
        self,
        client_prints: tuple[Fingerprint, ...],
        server_prints: tuple[Fingerprint, ...],
        accepts_hidden: bool,
    ) -> None:
        """Expect certificates with these fingerprints, the active side being the client."""
        self._client_prints: Final = client_prints
        self._server_prints: Final = server_prints
        self._accepts_hidden: Final = accepts_hidden
        self._client_hellos = _Hellos()
        self._server_hellos = _Hellos()
        self._offer: ClientHello | None = None  # the newest
        self._offer_end = 0  # the number of the message after it
        self._is_asked = False  # it begins another handshake, which the server has not answered
        self.current = Association(client_prints, server_prints)
        self._settles: Association | None = None
        self.settled: Settled | None = None

    def hear(self, payload: bytes, by_client: bool, origin: Origin) -> Sight:
        """Judge one datagram with DTLS in it."""
        said = PASSES
        try:
            records = parse_records(payload, self._connection_id_octets(by_client))
            pieces = [
                parse_pieces(record.octets) if _is_clear_handshake(record) else []
                for record in records
            ]
            for at, record in enumerate(records):
                sight = self._hear(record, pieces[at], by_client, origin)
                if sight.word is not _PASS:  # to drop one record is to drop them all
                    return sight
                if sight.finding is not None:
                    said = sight
        except HostileInput as error:
            return Sight(_REFUSE, error.finding())
        if self._settles is not self.current and self.current.is_secured:
            self._settles = self.current
            self.settled = self.current.settle()
        return said

    @property
    def is_over(self) -> bool:
        """Whether nothing goes on, and no later record needs what the hellos said.

        In the middle of the next handshake half a certificate must not be forgotten.
        """
        return (
            self._settles is self.current
            and not self._is_asked
            and not self._connection_id_octets(True)
            and not self._connection_id_octets(False)
        )

    def _connection_id_octets(self, by_client: bool) -> int:
        client_hello, server_hello = self.current.client_hello, self.current.server_hello
        if client_hello is None or server_hello is None:
            return 0
        to_client = client_hello.extensions.connection_id_octets
        to_server = server_hello.extensions.connection_id_octets
        if to_client < 0 or to_server < 0:
            return 0
        return to_server if by_client else to_client

    def _hear(self, record: Record, pieces: list[Piece], by_client: bool, origin: Origin) -> Sight:
        content = record.content
        if content == CIPHERTEXT_1_3:
            return self._hear_1_3(by_client, origin)
        if content == APPLICATION_DATA:
            raise HostileInput(_BAD, "application data where SRTP alone was negotiated")
        if content in (ALERT, ACK):  # in clear they bind nobody, and others cannot be read
            return PASSES
        if not pieces:
            return self._hear_sealed(record, by_client, origin)
        said = PASSES
        for piece in pieces:
            sight = self._hear_piece(piece, by_client, origin)
            if sight.word is not _PASS:
                return sight
            if sight.finding is not None:
                said = sight
        return said

    def _hear_1_3(self, by_client: bool, origin: Origin) -> Sight:
        """An encrypted record of DTLS 1.3: whatever it is, nobody here can read it."""
        if not self._accepts_hidden:
            return Sight(_REFUSE, Finding(Reason.DTLS_HIDDEN, _IN_1_3))
        association = self.current
        hello = association.server_hello
        if hello is None:
            return PASSES
        if not hello.hides_certificates:
            raise HostileInput(_BAD, "a record of DTLS 1.3 under an older version")
        self._seal(association.client if by_client else association.server, origin)
        return PASSES

    def _hear_sealed(self, record: Record, by_client: bool, origin: Origin) -> Sight:
        """ChangeCipherSpec, or what follows it."""
        association = self.current
        side = association.client if by_client else association.server
        if not record.epoch and (record.content, record.octets) != _CHANGE_CIPHER_SPEC:
            raise HostileInput(_BAD, "a record in clear that belongs behind encryption")
        if side.refusal is not None:
            return Sight(_REFUSE, side.refusal)
        said = PASSES
        if record.epoch > 1:
            said = self._hide(_AGAIN)
        elif not (side.is_matched or association.hidden or association.server_hello is None):
            if by_client:
                # Perhaps its certificate is still on its way. Without one it must not finish.
                return IS_QUIET
            # A server that has asked for nothing more is done only where a session goes on.
            said = self._hide(_RESUMED)
        if said.word is _PASS and record.epoch:
            self._seal(side, origin)
        return said

    def _seal(self, side: Side, origin: Origin) -> None:
        side.is_sealed = True
        if self.current.hidden:
            side.show(origin)

    def _hide(self, why: str) -> Sight:
        """Certificates that cannot be compared are neither right nor wrong: policy decides."""
        finding = Finding(Reason.DTLS_HIDDEN, why)
        if not self._accepts_hidden:
            self.current.doubt = finding
            return Sight(_REFUSE, finding)
        if self.current.hidden:
            return PASSES
        self.current.hidden = why
        return Sight(_PASS, finding)

    def _hear_piece(self, piece: Piece, by_client: bool, origin: Origin) -> Sight:
        kind = piece.kind
        if kind in (_ONLY_SERVERS_SEND if by_client else _ONLY_CLIENTS_SEND):
            who = "active" if by_client else "passive"
            detail = f"the {who} side sends handshake messages of the other"
            return Sight(_REFUSE, Finding(Reason.DTLS_ROLE, detail))
        if kind == CLIENT_HELLO:
            return self._hear_offer(piece)
        if kind == SERVER_HELLO:
            return self._hear_answer(piece)
        if kind in (HELLO_REQUEST, HELLO_VERIFY_REQUEST):
            # They stand outside the numbers of a handshake, so no fragment may pass as one.
            if not piece.is_whole:
                raise HostileInput(_BAD, "a fragmented HelloVerifyRequest")
            return PASSES
        if self._is_asked:
            # Of the old handshake the client wants no more, and the new one has not begun.
            return IS_QUIET
        side = self.current.client if by_client else self.current.server
        refusal = side.hear(piece, origin)
        return PASSES if refusal is None else Sight(_REFUSE, refusal)

    def _hear_offer(self, piece: Piece) -> Sight:
        """A ClientHello begins this handshake, or another; without SRTP it goes nowhere (DTL-5)."""
        association = self.current
        if not association.is_secured:
            association.client.note_hello(piece)
        offer = self._client_hellos.offer(piece)
        if offer is None:
            return PASSES
        if not any(map(encrypts, offer.extensions.profiles)):
            detail = "the ClientHello offers no SRTP profile that encrypts"
            return Sight(_REFUSE, Finding(Reason.DTLS_NO_SRTP, detail))
        self._offer, self._offer_end = offer, piece.sequence + 1
        known = association.client_hello
        if association.is_fresh if known is None else known.random == offer.random:
            association.client_hello = offer  # the second time with a cookie
            association.client.end_hello(piece.sequence + 1)
        else:
            self._is_asked = True
        return PASSES

    def _hear_answer(self, piece: Piece) -> Sight:
        """A ServerHello says which handshake it is, and what became of the offer."""
        if not self.current.is_secured:
            self.current.server.note_hello(piece)
        answer = self._server_hellos.answer(piece)
        if answer is None:
            return PASSES
        association = self._association_of(answer, piece)
        association.server.end_hello(piece.sequence + 1)
        self._is_asked = False
        refusal = association.choose(answer)
        if refusal is not None:
            return Sight(_REFUSE, refusal)
        return self._hide(_IN_1_3) if answer.hides_certificates else PASSES

    def _association_of(self, hello: ServerHello, piece: Piece) -> Association:
        association = self.current
        known = association.server_hello
        if known is not None and known.random == hello.random:
            return association
        if not self._is_asked:
            # Of DTLS 1.3 it may be the second one, after a HelloRetryRequest.
            if known is None or (known.hides_certificates and hello.hides_certificates):
                return association
            raise HostileInput(_BAD, "another ServerHello to the same ClientHello")
        association = Association(self._client_prints, self._server_prints)
        association.client_hello = self._offer
        association.client.end_hello(self._offer_end)
        association.server.note_hello(piece)
        self.current = association
        return association


def _is_clear_handshake(record: Record) -> bool:
    return record.content == HANDSHAKE and not record.epoch
