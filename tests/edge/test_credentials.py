"""Certificates by URL: what comes, what must not be asked, and servers that mean us no good."""

from collections.abc import Iterator, Sequence

import pytest
from authority import Holder
from https_server import (
    ALICE,
    HOST,
    OTHER_PUBLIC,
    PUBLIC,
    ROOT,
    STRANGER,
    URL,
    Act,
    Serving,
    Web,
    answer,
    certificate,
)
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import DNSLookupError
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import capturedLogs
from twisted.web.http_headers import Headers

from sipguard.edge import credentials as room
from sipguard.edge.credentials import Terms, resolver_of
from sipguard.edge.https import MAX_BODY_OCTETS, MAX_WIRE_OCTETS, fresh_s_of


@pytest.fixture
def web() -> Iterator[Web]:
    made = Web()
    made.serve()
    yield made
    made.close()


# --- what comes


def test_a_certificate_is_fetched(web: Web) -> None:
    """STI-15: over https, from the address that was looked up, and kept for the guard."""
    fetcher = web.fetcher()
    assert web.fetch(fetcher=fetcher) == (ALICE.der,)
    assert (web.looked_up, web.dialed) == ([HOST], [(PUBLIC, 443)])
    (request,) = web.requests
    assert request.startswith(b"GET /alice.pem HTTP/1.1\r\n")
    assert b"Host: cr.example.com\r\n" in request
    assert (fetcher.counts.fetched, fetcher.counts.failed, fetcher.under_way) == (1, 0, 0)
    assert web.until(lambda: web.closed == 1), "the connection is not kept"


def test_the_other_port_is_allowed(web: Web) -> None:
    """STI-15: 8443 is the second of two."""
    assert web.fetch("https://cr.example.com:8443/a.pem") == (ALICE.der,)
    assert web.dialed == [(PUBLIC, 8443)]


def test_one_fetch_of_a_url_serves_all_who_wait(web: Web) -> None:
    """A hundred calls with one certificate are one request."""
    fetcher = web.fetcher()
    waiting = [fetcher.fetch(URL) for _ in range(100)]
    assert web.until(lambda: all(waiter.called for waiter in waiting))
    assert len(web.requests) == 1


@pytest.mark.parametrize(
    ("headers", "kept_s"),
    [
        (["Cache-Control: max-age=300"], 300),
        (["Cache-Control: public, Max-Age=\"300\""], 300),
        (["Cache-Control: max-age=300", "Age: 100"], 200),
        (["Cache-Control: max-age=5"], room.LEAST_S),
        (["Cache-Control: no-store, max-age=300"], room.LEAST_S),
        (["Cache-Control: max-age=999999999"], room.MOST_S),
        (["Cache-Control: max-age=99999999999999999999"], room.MOST_S),
        (["Expires: 0"], room.LEAST_S),
        (["Expires: Mon, 21 Sep 2026 14:33:20 GMT", "Date: Mon, 21 Sep 2026 14:13:20 GMT"], 1200),
        ([], room.SILENT_S),
    ],
)  # fmt: skip
def test_it_is_kept_as_long_as_the_response_says(
    web: Web, headers: list[str], kept_s: float
) -> None:
    """STI-15: with the response's own lifetime, within bounds."""
    web.act = answer(ALICE.pem, *headers)
    assert web.fetch() == (ALICE.der,)
    web.now_s += kept_s - 1
    assert web.known() == (ALICE.der,)
    web.now_s += 1
    assert web.known() == ""


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_no_header_of_a_lifetime_raises(control: bytes, expires: bytes) -> None:
    """Dates and numbers are the server's."""
    headers = Headers({b"cache-control": [control], b"expires": [expires], b"date": [expires]})
    fresh_s = fresh_s_of(headers)
    assert fresh_s is None or fresh_s >= 0


def test_a_failure_is_remembered_for_a_while(web: Web) -> None:
    """So that each INVITE of a flood does not ask again; and then it is forgotten."""
    web.act = answer(b"", status="404 Not Found")
    fetcher = web.fetcher()
    assert web.fetch(fetcher=fetcher) == "the server answers 404"
    assert fetcher.counts.failed == 1
    web.now_s += room.FAILED_S - 1
    assert web.known()
    web.now_s += 1
    assert web.known() == ""


def test_what_is_no_certificate_is_a_failure(web: Web) -> None:
    """A page that says sorry with 200."""
    web.act = answer(b"<html>sorry</html>")
    assert isinstance(web.fetch(), str)


def test_the_next_address_is_tried_where_one_does_not_answer(web: Web) -> None:
    """A gateway without IPv6 meets names that have it."""
    web.names[HOST] = (OTHER_PUBLIC, PUBLIC)
    web.unreachable = {OTHER_PUBLIC}
    assert web.fetch() == (ALICE.der,)


# --- what must not be asked


@pytest.mark.parametrize(
    "url",
    [
        "http://cr.example.com/a.pem",
        "https://cr.example.com:22/a.pem",
        "https://cr.example.com:0/a.pem",
        "https://user@cr.example.com/a.pem",
        "https://127.0.0.1/a.pem",
        "https://[::1]/a.pem",
        "https://[::ffff:10.0.0.1]/a.pem",
        "https://localhost/a.pem",
        "https:///a.pem",
        "ftp://cr.example.com/a.pem",
        "https://cr.example.com/\r\nX: y",
        "https://[/",
        "",
    ],
)
def test_urls_that_lead_elsewhere_are_refused(web: Web, url: str) -> None:
    """STI-15: https, two ports, no private address; nothing is looked up for others."""
    fetcher = web.fetcher()
    assert isinstance(web.fetch(url, fetcher), str)
    assert (web.looked_up, web.dialed, web.requests) == ([], [], [])
    assert (fetcher.counts.refused, fetcher.under_way) == (1, 0)


@pytest.mark.parametrize(
    "addresses",
    [
        ("127.0.0.1",), ("10.1.2.3",), ("169.254.169.254",), ("::1",), ("fe80::1%eth0",),
        ("::ffff:192.168.0.1",), ("64:ff9b::a00:1",), ("0.0.0.0",), (PUBLIC, "10.0.0.1"), ("x",),
    ],
)  # fmt: skip
def test_names_that_lead_into_our_network_are_refused(web: Web, addresses: Sequence[str]) -> None:
    """STI-15: one private address among public ones is enough; nothing is connected."""
    web.names[HOST] = addresses
    fetcher = web.fetcher()
    why = "the server's name leads to an address that is not public"
    assert web.fetch(fetcher=fetcher) == why
    assert (web.dialed, web.requests, fetcher.counts.refused) == ([], [], 1)


def test_the_name_is_looked_up_once(web: Web) -> None:
    """STI-15: a name that leads elsewhere the second time leads nowhere."""

    def rebinding(host: str) -> Deferred[Sequence[str]]:
        web.looked_up.append(host)
        return succeed((PUBLIC,) if len(web.looked_up) == 1 else ("127.0.0.1",))

    fetcher = web.fetcher()
    fetcher._resolve = rebinding
    assert web.fetch(fetcher=fetcher) == (ALICE.der,)
    assert (web.looked_up, web.dialed) == ([HOST], [(PUBLIC, 443)])


def test_a_name_without_address_is_a_failure(web: Web) -> None:
    """And says so."""
    web.names[HOST] = None
    assert web.fetch() == "the server's name cannot be resolved"


def test_private_servers_are_asked_where_the_policy_says_so(web: Web) -> None:
    """``fetch any``: a network of one's own."""
    web.names["pki.lan"] = ("10.1.2.3",)
    web.serve(certificate("pki.lan", ROOT, dns=["pki.lan"]))
    fetcher = web.fetcher(Terms(anywhere=True, authorities=(ROOT.der,)))
    assert web.fetch("https://pki.lan/alice.pem", fetcher) == (ALICE.der,)
    assert web.dialed == [("10.1.2.3", 443)]


@pytest.mark.parametrize(
    "url", ["http://pki.lan/", "https://pki.lan:22/", "https://u@pki.lan/", "https://[/", ""]
)
def test_even_there_it_is_https_or_nothing(web: Web, url: str) -> None:
    """``fetch any`` is about addresses."""
    fetcher = web.fetcher(Terms(anywhere=True, authorities=(ROOT.der,)))
    assert isinstance(web.fetch(url, fetcher), str)
    assert web.looked_up == []


# --- servers that mean us no good


@pytest.mark.parametrize(
    ("holder", "why"),
    [
        (
            certificate("cr.example.net", ROOT, dns=["cr.example.net"]),
            "the server's certificate is for another name",
        ),
        (
            certificate(HOST + " of a stranger", STRANGER, dns=[HOST]),
            "there is no trusted TLS connection with the server",
        ),
    ],
)
def test_a_server_must_be_who_it_says(web: Web, holder: Holder, why: str) -> None:
    """STI-15: the name in its certificate, and an authority that is trusted; no request before."""
    web.serve(holder)
    assert web.fetch() == why
    assert web.requests == []


def test_by_default_the_authorities_are_the_machines(web: Web) -> None:
    """The test's own is not among them."""
    assert web.fetch(fetcher=web.fetcher(Terms())) == (
        "there is no trusted TLS connection with the server"
    )


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Go", "308 Go"])
def test_redirects_are_not_followed(web: Web, status: str) -> None:
    """STI-15: they could lead anywhere, and the check of the first address would be for nothing."""
    web.act = answer(b"", "Location: https://127.0.0.1/", status=status)
    why = web.fetch()
    assert isinstance(why, str)
    assert "redirects are not followed" in why
    assert len(web.requests) == 1


def test_a_huge_document_is_cut_off(web: Web) -> None:
    """STI-15: at 64 KiB, whether it says its length or not."""
    web.act = answer(bytes(MAX_BODY_OCTETS + 1))
    assert web.fetch() == "the document is longer than 64 KiB"
    assert web.until(lambda: web.closed == 1)


def test_interim_responses_are_the_end(web: Web) -> None:
    """A thousand times 100 Continue would be a thousand lines in the log."""
    web.act = lambda connection: connection.send(b"HTTP/1.1 100 Go\r\n\r\n" * 1000)
    with capturedLogs() as events:
        assert web.fetch() == "the server sends other responses before its answer"
    assert web.until(lambda: web.closed == 1)
    assert len(events) < 5


@pytest.mark.parametrize(
    ("start", "more"),
    [
        (b"HTTP/1.1 200 OK\r\n", b"X-Filler: " + b"y" * 1000 + b"\r\n"),
        (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 100),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"1;" + b"e" * 99 + b"\r\nx\r\n",
        ),
        (b"", b"x" * 1000),
    ],
    ids=["long headers", "many headers", "chunk extensions", "no status"],
)
def test_what_never_ends_is_cut_off(web: Web, start: bytes, more: bytes) -> None:
    """Headers without end, chunks of nothing: counted before anybody reads them."""
    sent = 0

    def act(connection: Serving) -> None:
        nonlocal sent
        connection.send(start)

        def more_of_it() -> None:
            nonlocal sent
            if connection.connected and sent < 4 * MAX_WIRE_OCTETS:
                connection.send(more * 40)
                sent += 40 * len(more)
                web.reactor.callLater(0.001, more_of_it)

        more_of_it()

    web.act = act
    assert isinstance(web.fetch(), str)
    assert web.until(lambda: web.closed == 1)
    assert sent < 3 * MAX_WIRE_OCTETS, "some lies in buffers between"


@pytest.mark.parametrize(
    "act",
    [
        lambda _: None,
        lambda connection: connection.send(b"HTTP/1.1 200 OK\r\n"),
        answer(ALICE.pem[:100], length=len(ALICE.pem)),
    ],
    ids=["silence", "half the headers", "half the body"],
)
def test_a_slow_server_is_left(web: Web, act: Act, monkeypatch: pytest.MonkeyPatch) -> None:
    """STI-15: after a time it is a failure, and the connection is closed, not waited for."""
    monkeypatch.setattr(room, "FETCH_S", 0.3)
    web.act = act
    assert web.fetch() == "the server takes longer than 0.3 s"
    assert web.until(lambda: web.closed == 1, 1.0)


def test_a_dripping_server_is_left(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    """One octet now and then does not prolong it."""
    monkeypatch.setattr(room, "FETCH_S", 0.3)

    def act(connection: Serving) -> None:
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")

        def drip() -> None:
            if connection.connected:
                connection.send(b"-")
                web.reactor.callLater(0.05, drip)

        drip()

    web.act = act
    assert web.fetch() == "the server takes longer than 0.3 s"


def test_a_server_that_says_nothing_in_tls_is_left(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A port that takes connections and keeps them."""
    monkeypatch.setattr(room, "FETCH_S", 0.3)
    web.listen(Factory.forProtocol(Protocol))
    assert web.fetch() == "the server takes longer than 0.3 s"


@pytest.mark.parametrize(
    "octets", [b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 400 plain HTTP\r\n\r\n", bytes(500)]
)
def test_what_speaks_no_tls_is_a_failure(web: Web, octets: bytes) -> None:
    """Whatever listens there."""

    class Other(Protocol):
        def connectionMade(self) -> None:  # noqa: N802
            self.transport.write(octets)  # type: ignore[union-attr,call-arg,misc] # zope's

    web.listen(Factory.forProtocol(Other))
    assert web.fetch() == "there is no trusted TLS connection with the server"


def test_a_document_that_breaks_off_is_a_failure(web: Web) -> None:
    """Half a chain is none."""

    def act(connection: Serving) -> None:
        answer(ALICE.pem[:100], length=len(ALICE.pem))(connection)
        connection.abort()

    web.act = act
    assert web.fetch() in ("the document breaks off", "the server's answer cannot be read")


def test_nobody_there_is_a_failure(web: Web) -> None:
    """At none of its addresses."""
    web.unreachable = {PUBLIC}
    assert web.fetch() == "the server cannot be reached"


# --- few at once


def test_few_are_fetched_at_once(web: Web) -> None:
    """GEN-3: eight, two from one host; the others wait for room, a bounded number of them."""
    silent: list[Serving] = []
    web.act = silent.append
    hosts = [f"h{number}.example.com" for number in range(10)]
    web.names = dict.fromkeys(hosts, (PUBLIC,))
    everyone = certificate("everyone", ROOT, dns=[*hosts, HOST])
    web.serve(everyone)
    fetcher = web.fetcher()
    first = [fetcher.fetch(f"https://{hosts[0]}/{number}.pem") for number in range(4)]
    assert web.until(lambda: len(silent) == 2)
    others = [fetcher.fetch(f"https://{host}/a.pem") for host in hosts[1:]]
    assert web.until(lambda: len(silent) == room.MAX_AT_ONCE)
    for _ in range(20):
        web.turn()
    assert len(silent) == room.MAX_AT_ONCE
    web.act = answer()
    for connection in silent:
        answer()(connection)
    assert web.until(lambda: all(waiter.called for waiter in (*first, *others)))
    assert fetcher.counts.fetched == 13


def test_what_finds_no_room_is_not_held_against_its_url(web: Web) -> None:
    """GEN-3: a flood of URLs fills the room, and a good one that meets it is not called bad."""
    web.act = lambda _: None
    fetcher = web.fetcher()
    for number in range(room.MAX_AT_ONCE + room.MAX_WAITING):
        assert not fetcher.fetch(f"https://cr.example.com/{number}.pem").called
    assert fetcher.fetch(URL).called
    assert (fetcher.counts.busy, web.known()) == (1, "")


def test_look_ups_that_hang_take_room(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread cannot be ended: no more of them than the reactor has, whoever gave up waiting."""
    monkeypatch.setattr(room, "FETCH_S", 0.1)
    hanging: list[Deferred[Sequence[str]]] = []

    def hang(_host: str) -> Deferred[Sequence[str]]:
        hanging.append(Deferred())
        return hanging[-1]

    fetcher = web.fetcher()
    fetcher._resolve = hang
    waiting = [fetcher.fetch(f"https://h{number}.example.com/") for number in range(12)]
    assert web.until(lambda: sum(waiter.called for waiter in waiting) == room.MAX_AT_ONCE)
    assert len(hanging) == room.MAX_AT_ONCE
    hanging[0].callback((PUBLIC,))
    hanging[1].errback(DNSLookupError())
    assert len(hanging) == room.MAX_AT_ONCE + 2


def test_closing_ends_everything_and_blames_nobody(web: Web) -> None:
    """A reload: whoever waits hears of it, and the URL may be asked by the next."""
    web.act = lambda _: None
    fetcher = web.fetcher()
    waiting = [fetcher.fetch(f"https://cr.example.com/{number}.pem") for number in range(5)]
    assert web.until(lambda: len(web.requests) == room.MAX_OF_HOST)
    fetcher.close()
    assert all(waiter.called for waiter in waiting)
    assert web.until(lambda: web.closed == room.MAX_OF_HOST)
    assert (len(web.credentials), fetcher.counts.failed, fetcher.under_way) == (0, 0, 0)
    assert fetcher.fetch(URL).called


def test_a_fault_of_our_own_is_a_failure(web: Web) -> None:
    """It is logged, and whoever waits is not left waiting."""

    def broken(_host: str) -> Deferred[Sequence[str]]:
        raise ZeroDivisionError("for this test")

    fetcher = web.fetcher()
    fetcher._resolve = broken
    assert web.fetch(fetcher=fetcher) == "a fault of our own"
    assert fetcher._lookups == 0


# --- the machine's resolver


class Names:
    """What ``reactor.nameResolver`` is."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses

    @property
    def nameResolver(self) -> "Names":  # noqa: N802
        return self

    def resolveHostName(self, receiver: object, host: str) -> None:  # noqa: N802
        receiver.resolutionBegan(None)  # type: ignore[attr-defined] # zope's
        for address in self.addresses:
            found = type("Address", (), {"host": address})()
            receiver.addressResolved(found)  # type: ignore[attr-defined] # zope's
        receiver.resolutionComplete()  # type: ignore[attr-defined] # zope's


def test_the_machines_resolver_is_asked() -> None:
    """Each address once, a bounded number of them; none at all is a failure."""
    found: list[Sequence[str]] = []
    resolver_of(Names(PUBLIC, PUBLIC, OTHER_PUBLIC))(HOST).addCallback(found.append)
    resolver_of(Names(*map(str, range(99))))(HOST).addCallback(found.append)
    assert found[0] == [PUBLIC, OTHER_PUBLIC]
    assert len(found[1]) == room.MAX_ADDRESSES
    failures: list[object] = []
    resolver_of(Names())(HOST).addErrback(failures.append)
    assert len(failures) == 1
