"""The pages in a real browser, headless Chromium: what it shows, runs and refuses."""

import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlencode

import pytest
from browsing import document, needs_browser, picture, way_in
from hostile import everywhere
from hostile_octets import CORPUS
from nights import NOON, B, X, keep, night
from tab import tab

from sipguard.journal.ledger import id_of
from sipguard.journal.observation import Observation
from sipguard.journal.record import record_of
from sipguard.reason import Reason
from sipguard.verdict import Action

ROOT = Path(__file__).parents[2]
ADDRESS = "http://127.0.0.1:5081"
TOKEN = "browser-browser-browser-browser"
pytestmark = needs_browser


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A night, and a call whose every field is hostile."""
    directory = tmp_path_factory.mktemp("state")
    night(directory)
    everywhere(directory, b"<script>document.title='owned'</script>" + CORPUS["attribute"])
    return directory


@pytest.fixture(scope="module")
def served(state: Path) -> Iterator[tuple[str, str]]:
    """The page as twistd runs it, in a process of its own: its address, and a cookie."""
    token = state / "token"
    token.touch(mode=0o600)
    token.write_text(TOKEN)
    code = "import sys; from twisted.scripts.twistd import run; sys.exit(run())"
    command = [
        *(sys.executable, "-c", code, "-n", "--pidfile=", "sipguard-web"),
        *(
            "--state-dir",
            str(state),
            "--token-file",
            str(token),
            "--listen",
            ADDRESS.removeprefix("http://"),
        ),
    ]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        try:
            yield ADDRESS, _logged_in(ADDRESS)
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def page(served: tuple[str, str]) -> Iterator[str]:
    """The address of a way in."""
    with way_in(*served) as address:
        yield address


def _logged_in(address: str) -> str:
    jar = CookieJar()
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
    deadline_s = time.monotonic() + 20
    while True:
        try:
            form = opener.open(f"{address}/login").read().decode()
            break
        except URLError:
            assert time.monotonic() < deadline_s
            time.sleep(0.1)
    field = re.search(r'name="form" value="(\w+)"', form)
    assert field is not None
    fields = urlencode({"form": field[1], "word": TOKEN}).encode()
    opener.open(f"{address}/login", fields).read()
    return next(f"{cookie.name}={cookie.value}" for cookie in jar if cookie.name == "sipguard")


@pytest.mark.parametrize("path", ["/", "/blocked?all=1", "/blocked?all=1&by=caller", "/live?all=1"])
def test_nothing_of_a_strangers_runs(page: str, path: str) -> None:
    """In a browser, where it would."""
    shown = document(page + path)
    assert "<title>owned" not in shown
    assert re.search(r"<title>[\w ]+ · sipguard", shown)


def test_one_call_shows_hostile_text_and_runs_none(page: str) -> None:
    """All of it on one page: sentence, ladder, facts, message."""
    rows = document(f"{page}/blocked?all=1&rule=spoofed")
    for identifier in set(re.findall(r'href="/call/(\w+)"', rows)):
        shown = document(f"{page}/call/{identifier}")
        assert "<title>owned" not in shown
    assert "&lt;script&gt;document.title" in rows


def test_the_live_page_is_told_of_new_records(served: tuple[str, str], state: Path) -> None:
    """By its script, from the stream of events, while nobody does anything; and it can pause."""
    with tab() as browser:
        browser.size(1280)
        browser.log_in(served[0], TOKEN)
        browser.open(f"{served[0]}/live?rule=later")
        browser.wait_for("document.getElementById('live').textContent.startsWith('Live: new')")
        many_more(state)
        browser.wait_for("document.querySelectorAll('tr.new').length === 3")
        assert "Live: the last one came at" in browser.text("document.body.textContent")
        browser.tab_to("e.id === 'pause'")
        browser.press(" ")
        many_more(state, 3000)
        browser.wait_for("document.getElementById('live').textContent === 'Paused; 3 waiting.'")
        assert browser.evaluate("document.querySelectorAll('tr.new').length") == 3
        browser.press("Enter")
        browser.wait_for("document.querySelectorAll('tr.new').length === 6")


def test_the_overview_follows_what_happens(served: tuple[str, str], state: Path) -> None:
    """By its script, which asks for the page when it is told to; nobody loads it anew."""
    with tab() as browser:
        browser.log_in(served[0], TOKEN)
        browser.open(f"{served[0]}/?since=7d")
        browser.wait_for(
            "document.getElementById('live').textContent.startsWith('Live: this page follows')"
        )
        just_now(state)
        browser.wait_for(
            "[...document.querySelectorAll('bdi')].filter(e => e.textContent === 'just-<b>now')"
            ".length === 1"
        )
        assert browser.text("document.querySelector('a.number b').textContent") == "1"


def test_what_is_open_stays_open_while_the_page_follows(
    served: tuple[str, str], state: Path
) -> None:
    """A reader's place is his: only what has changed is changed."""
    with way_in(*served) as address, tab() as opened:
        opened.open(f"{address}/?since=30d")
        opened.wait_for("document.getElementById('live').textContent.startsWith('Live')")
        opened.evaluate(
            "document.querySelectorAll('#overview details')[1].open = true;"
            "window.kept = document.querySelector('#overview details[open] summary');"
            "window.kept.focus()"
        )
        before = opened.evaluate("document.querySelector('a.number b').textContent")
        just_now(state, 2001)
        opened.wait_for(f"document.querySelector('a.number b').textContent != {before!r}")
        assert opened.evaluate("document.activeElement === window.kept && window.kept.isConnected")
        assert opened.evaluate("window.kept.parentNode.open")
        assert opened.said() == []


def just_now(state: Path, number: int = 2000) -> None:
    """Store a record of this moment."""
    seen = Observation(
        utc_s=time.time(), action=Action.DROP, judged=Action.DROP, reason=Reason.NOT_SIP,
        src=X, dst=B, rule="just-<b>now", method=b"INVITE", raw=b"x",
    )  # fmt: skip
    keep(state, [record_of(seen, id_of(number))])


def many_more(state: Path, first: int = 1000) -> None:
    """Store three records of a rule that had none."""
    seen = Observation(
        utc_s=NOON, action=Action.DROP, judged=Action.DROP, reason=Reason.NOT_SIP, src=X, dst=B,
        rule="later", method=b"<b>INVITE", raw=b"x",
    )  # fmt: skip
    keep(state, [record_of(seen, id_of(first + n)) for n in range(3)])


def test_pictures_are_not_blank(page: str, tmp_path: Path) -> None:
    """Light and dark differ, and a telephone's page is no wider than the telephone."""
    rows = document(f"{page}/blocked?rule=stray")
    found = re.search(r'href="/call/(\w+)"', rows)
    assert found is not None
    for name, size, dark in (("light", (1280, 1400), False), ("dark", (1280, 1400), True),
                             ("telephone", (400, 1400), False)):  # fmt: skip
        picture(f"{page}/call/{found[1]}", tmp_path / f"{name}.png", size, dark=dark)
    sizes = {path.stem: path.stat().st_size for path in tmp_path.glob("*.png")}
    assert min(sizes.values()) > 20_000
    light, dark_ = (tmp_path / f"{name}.png" for name in ("light", "dark"))
    assert light.read_bytes() != dark_.read_bytes()
