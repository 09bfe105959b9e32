"""Who may come in, what guessing costs, and what each response forbids."""

from pathlib import Path

import pytest
from nights import night
from twisted.logger import globalLogPublisher
from visitor import PASSWORD, TOKEN, Visitor, inside

from sipguard.web.sessions import FREE_GUESSES, IDLE_S, LONGEST_S, MAX_SESSIONS, Sessions, Throttle

PAGES = [
    "/",
    "/blocked",
    "/live",
    "/policy",
    "/exceptions",
    "/call/last",
    "/call/last.pcap",
    "/nowhere",
]


@pytest.mark.parametrize("path", [*PAGES, "/live/events"])
def test_nobody_sees_a_page_without_logging_in(tmp_path: Path, path: str) -> None:
    """Calls are private: who called whom is not for whoever reaches the port."""
    night(tmp_path)
    reply = Visitor(tmp_path).get(path)
    if path == "/live/events":
        assert reply.status == 401
    else:
        assert (reply.status, reply.body) == (303, b"")
        assert reply.header("location").startswith("/login")


@pytest.mark.parametrize("word", [PASSWORD, TOKEN])
def test_the_password_opens_and_so_does_the_token(tmp_path: Path, word: str) -> None:
    """And the login leads to the page that was asked for."""
    night(tmp_path)
    visitor = Visitor(tmp_path)
    assert visitor.get("/blocked?rule=stray").header("location") == (
        "/login?next=/blocked%3Frule%3Dstray"
    )
    reply = visitor.enter(word, "/blocked?rule=stray&by=")
    assert (reply.status, reply.header("location")) == (303, "/blocked?rule=stray&by=")
    assert visitor.get("/blocked").status == 200


@pytest.mark.parametrize("there", ["//evil.example", "/\\evil", "https://evil", "javascript:x"])
def test_a_login_leads_nowhere_else(tmp_path: Path, there: str) -> None:
    """A link to the login must not be a link to somebody's copy of it."""
    assert Visitor(tmp_path).enter(there=there).header("location") == "/"


def test_the_token_opens_in_a_header_and_a_wrong_one_does_not(tmp_path: Path) -> None:
    """Scripts need no session."""
    night(tmp_path)
    visitor = Visitor(tmp_path)
    assert visitor.get("/blocked", Authorization=f"Bearer {TOKEN}").status == 200
    assert visitor.get("/blocked", Authorization=f"Bearer {TOKEN}x").status == 401
    assert visitor.get("/blocked", Authorization="Basic eDp5").status == 303


@pytest.mark.parametrize("is_secure", [False, True])
def test_cookies_are_for_this_page_alone(tmp_path: Path, is_secure: bool) -> None:
    """No script reads them, no other site sends them, and no clear line carries them."""
    visitor = Visitor(tmp_path, is_secure=is_secure)
    for cookie in [*visitor.get("/login").cookies, *visitor.enter().cookies]:
        flags = cookie.split("; ")
        assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(flags)
        assert ("Secure" in flags) is is_secure
        assert cookie.startswith("__Host-") is is_secure


@pytest.mark.parametrize("path", [*PAGES, "/login", "/static/live.js"])
def test_every_response_forbids_what_no_page_of_ours_does(tmp_path: Path, path: str) -> None:
    """Where escaping failed, nothing would run all the same."""
    night(tmp_path)
    reply = inside(tmp_path).get(path)
    policy = dict(
        part.partition(" ")[::2] for part in reply.header("content-security-policy").split("; ")
    )
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert reply.header("x-content-type-options") == "nosniff"
    assert reply.header("referrer-policy") == "same-origin"
    assert reply.header("cache-control") == ("no-cache" if "static" in path else "no-store")


def test_a_form_without_its_secret_does_nothing(tmp_path: Path) -> None:
    """Another site can have a browser send a form, but not read ours."""
    visitor = inside(tmp_path)
    for fields in ({}, {"csrf": ""}, {"csrf": "x" * 32}):
        assert visitor.post("/logout", fields).status == 403
    assert visitor.get("/login").status == 200
    page = visitor.get("/nowhere").text
    csrf = page.partition('name="csrf" value="')[2].partition('"')[0]
    elsewhere = {"Origin": "https://evil.example"}
    assert visitor.post("/logout", {"csrf": csrf}, **elsewhere).status == 403
    assert visitor.post("/logout", {"csrf": csrf}, Sec_Fetch_Site="cross-site").status == 403
    assert visitor.post("/logout", {"csrf": csrf}).status == 303
    assert visitor.get("/nowhere").status == 303


def test_a_login_form_of_another_page_is_none(tmp_path: Path) -> None:
    """Or somebody could have a reviewer work in a session that is not the reviewer's."""
    visitor = Visitor(tmp_path)
    assert visitor.post("/login", {"word": PASSWORD}).status == 403
    visitor.get("/login")
    assert visitor.post("/login", {"word": PASSWORD, "form": "0" * 64}).status == 403


def test_guessing_takes_longer_and_longer_and_is_told(tmp_path: Path) -> None:
    """A line in the log for each, with who and without what was tried."""
    events: list[str] = []

    def observe(event: dict[str, object]) -> None:
        events.append(f"{event.get('log_format')} {event.get('source')} {event.get('what')}")

    globalLogPublisher.addObserver(observe)  # type: ignore[arg-type] # an interface
    try:
        visitor = Visitor(tmp_path, source="192.0.2.9")
        for _ in range(FREE_GUESSES):
            assert visitor.enter("wrong wrong").status == 403
        reply = visitor.enter(PASSWORD)
        assert (reply.status, reply.header("retry-after")) == (429, "2")
        visitor.clock.advance(1.1)
        assert visitor.enter(PASSWORD).status == 303
    finally:
        globalLogPublisher.removeObserver(observe)  # type: ignore[arg-type] # an interface
    failures = [line for line in events if "login failed" in line]
    assert len(failures) == FREE_GUESSES
    assert all("192.0.2.9" in line and "wrong wrong" not in line for line in failures)


def test_waiting_doubles_up_to_a_bound_and_one_ipv6_network_is_one_guesser() -> None:
    """A /64 has more addresses than anybody can count."""
    throttle = Throttle()
    waits = []
    now_s = 1000.0
    for n in range(FREE_GUESSES + 12):
        throttle.failed(f"2001:db8::{n:x}", now_s)
        waits.append(throttle.wait_s("2001:db8::ffff", now_s))
    assert waits[:5] == [0.0, 0.0, 1.0, 2.0, 4.0]
    assert waits[-1] == 300.0
    assert throttle.wait_s("2001:db8:0:1::1", now_s) == 0.0
    assert throttle.wait_s("2001:db8::1", now_s + 3601) == 0.0


def test_a_session_ends_when_nobody_is_there_and_at_the_end_of_a_day() -> None:
    """A forgotten browser is no open door."""
    sessions = Sessions()
    secret, _ = sessions.open(0.0)
    assert sessions.find(secret, IDLE_S) is not None
    assert sessions.find(secret, 2 * IDLE_S + 1) is None
    secret, _ = sessions.open(0.0)
    at_s = 0.0
    while at_s <= LONGEST_S:
        assert sessions.find(secret, at_s) is not None
        at_s += IDLE_S
    assert sessions.find(secret, at_s) is None
    assert sessions.find("", 0.0) is None


def test_sessions_are_bounded() -> None:
    """The one idle longest gives way."""
    sessions = Sessions()
    secrets = [sessions.open(float(n))[0] for n in range(MAX_SESSIONS)]
    assert sessions.find(secrets[0], 100.0) is not None
    sessions.open(100.0)
    assert sessions.find(secrets[0], 100.0) is not None
    assert sessions.find(secrets[1], 100.0) is None


def test_a_large_body_is_not_read(tmp_path: Path) -> None:
    """No form of ours is as large."""
    for head in (b"Content-Length: 100000", b"Transfer-Encoding: chunked"):
        transport = Visitor(tmp_path).send(b"POST /login HTTP/1.1\r\nHost: x\r\n%b\r\n\r\n" % head)
        assert transport.value().startswith(b"HTTP/1.1 413")
        assert not transport.connected


@pytest.mark.parametrize("method", ["PUT", "DELETE", "TRACE", "PROPFIND"])
def test_other_methods_do_nothing(tmp_path: Path, method: str) -> None:
    """There is nothing to change here."""
    assert inside(tmp_path).ask(method, "/blocked").status == 405
