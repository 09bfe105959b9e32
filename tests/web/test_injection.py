"""What strangers put into their messages, on every page: shown as text, cut, and never obeyed."""

import json
import re
import sqlite3
import unicodedata
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hostile import everywhere
from hostile_octets import CORPUS
from nights import NOON
from visitor import Visitor, inside

from sipguard.edge.control import FeedState, RuleHits, StatusReport, write_status
from sipguard.edge.exemptions import AUDIT_NAME, ExemptionFile
from sipguard.edge.store import FILE_NAME
from sipguard.policy.exemptions import ALLOW, Exemption
from sipguard.web.paper import FOLDER, MAX_CHARACTERS

PAGES = (
    *("/", "/?since=7d", "/blocked?all=1", "/blocked?all=1&by=caller", "/blocked?all=1&by=rule"),
    *("/live?all=1", "/policy", "/exceptions", "/call/{id}", "/call/last"),
)
# All that our templates are made of. What is not here came from somewhere else.
ELEMENTS = frozenset(
    re.findall(
        r"\w+",
        "html head meta title link body a header img nav form input button main footer section "
        "h1 h2 h3 p b span small bdi code mark div details summary dl dt dd ul ol li table thead "
        "tbody tr th td svg g rect line text path polygon defs pattern label select option "
        "datalist pre br noscript script template fieldset legend",
    )
)
ADDRESSES = ("href", "src", "action", "data-events", "data-here")
SCRIPTS = {f"/static/{name}.js" for name in ("live", "overview")}


class Reader(HTMLParser):
    """Collects elements and their attributes, and all text."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    return reader


def check(page: str, path: str) -> None:
    """No element, attribute or address that is not ours; nothing invisible; no endless line."""
    reader = read(page)
    for tag, attributes in reader.elements:
        assert tag in ELEMENTS, (path, tag)
        for name, value in attributes.items():
            assert not name.startswith("on"), (path, tag, name)
            assert name != "style", (path, tag)
            if name in ADDRESSES:
                assert value is not None
                assert re.match(r"(/(?![/\\])|#)", value), (path, tag, value)
        if tag == "script":
            assert attributes.pop("src", None) in SCRIPTS
            assert attributes == {"defer": None}
        if tag == "img":
            assert attributes["src"] == "/static/shield.svg"
        if tag == "meta" and "http-equiv" in attributes:
            assert attributes == {"http-equiv": "refresh", "content": "10"}
    for text in reader.text:
        assert len(text) <= MAX_CHARACTERS + 100
        for char in text:
            assert char in "\n\t " or unicodedata.category(char) not in {
                *("Cc", "Cf", "Cs", "Co", "Zl", "Zp"),
            }, (path, repr(text[:200]))


@pytest.mark.parametrize("name", CORPUS)
def test_every_page(tmp_path: Path, name: str) -> None:
    """A caller's name becomes text on the reviewer's page, wherever it is shown."""
    identifier = everywhere(tmp_path, CORPUS[name])
    report = StatusReport(pid=1, written_s=NOON + 3600, started_s=NOON, mode="shadow")
    report.policy_file = str(tmp_path / "gateway.policy")
    report.last_reload = "refused: <b>x</b>\u202e"
    words = CORPUS[name].decode("utf-8", "replace")[:200]  # a receiver's certificate is quoted, too
    report.feeds = [FeedState(f"webhook {words}", 1, 2, 3, words)]
    report.rules = [RuleHits("request", "<i>r</i>", f"{tmp_path}/gateway.policy:9", 1, NOON)]
    write_status(tmp_path, report)
    visitor = inside(tmp_path)
    for path in PAGES:
        reply = visitor.get(path.replace("{id}", identifier))
        assert reply.status == 200, path
        assert len(reply.body) < 400_000, path
        check(reply.text, path)


@pytest.mark.parametrize("name", CORPUS)
def test_exceptions_and_their_audit_show_text_alone(tmp_path: Path, name: str) -> None:
    """Reviewers type reasons and names, and whoever edits the audit writes what he likes."""
    hostile = CORPUS[name].decode("utf-8", "replace")
    everywhere(tmp_path, b"x")
    typed = "".join(char for char in hostile if char.isprintable())[:200] or "x"
    names = ("reason", "rule", "by")
    wanted = Exemption(0, ALLOW, 0.0, 3600.0, "192.0.2.7", **dict.fromkeys(names, typed))
    ExemptionFile(tmp_path, lambda: NOON + 3600).add(wanted, typed)
    line = dict.fromkeys(
        ("time", "by", "what", "kind", "source", "rule", "reason", "from"), hostile
    )
    with (tmp_path / AUDIT_NAME).open("ab") as audit:
        audit.write(json.dumps({**line, "number": hostile}).encode() + b"\n")
        audit.write(CORPUS[name] + b"\n")
    reply = inside(tmp_path).get("/exceptions")
    assert reply.status == 200
    check(reply.text, "/exceptions")


@pytest.mark.parametrize("name", ["html", "attribute", "braces", "quotes", "shell"])
def test_a_form_that_comes_back_shows_what_was_typed_as_text(tmp_path: Path, name: str) -> None:
    """A mistake is told with the form as it was filled in, by whomever."""
    identifier = everywhere(tmp_path, CORPUS[name])
    visitor = inside(tmp_path)
    csrf = re.search(r'name="csrf" value="([^"]+)"', visitor.get("/exceptions").text)
    assert csrf is not None
    typed = "".join(char for char in CORPUS[name].decode() if char.isprintable())
    for ask in ("make", "end", typed):
        fields = dict.fromkeys(("kind", "lasts", "why", "by", "number", "on-source"), typed)
        fields |= {"csrf": csrf[1], "ask": ask, "call": identifier}
        reply = visitor.post("/exceptions", fields)
        assert reply.status == 400
        check(reply.text, "/exceptions")


def test_the_check_sees_what_it_is_for() -> None:
    """A check that cannot fail is none."""
    for page in (
        *("<script>x</script>", "<iframe>", "<p onclick=x>", "<a href='javascript:x'>"),
        *("<a href='//evil'>", "<p style='x'>", "<p>\u202ex</p>", "<base href='/'>"),
    ):
        with pytest.raises(AssertionError):
            check(page, "")


def test_html_is_shown_as_it_was_sent(tmp_path: Path) -> None:
    """Escaped is not left out."""
    identifier = everywhere(tmp_path, CORPUS["html"])
    page = inside(tmp_path).get(f"/call/{identifier}").text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<script>alert" in "".join(read(page).text)


def test_a_store_that_somebody_edited_is_escaped_as_well(tmp_path: Path) -> None:
    """Records are escaped when they are made; a page does not rely on that."""
    identifier = everywhere(tmp_path, b"x")
    evil = "<img src=x onerror=alert(1)>\u202e\x1b[2J" + "A" * 100_000
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        for number, line in connection.execute("SELECT number, json FROM records").fetchall():
            told = {k: evil if isinstance(v, str) and k != "id" else v
                    for k, v in json.loads(line).items()}  # fmt: skip
            connection.execute(
                "UPDATE records SET json = ?, caller = ?, rule = ? WHERE number = ?",
                (json.dumps(told), evil, evil, number),
            )
    visitor = inside(tmp_path)
    for path in PAGES:
        if path != "/policy":
            reply = visitor.get(path.replace("{id}", identifier))
            assert reply.status == 200
            check(reply.text, path)


@pytest.mark.parametrize(
    "typed",
    ["%22%3E%3Cscript%3Ealert(1)%3C/script%3E", "'%20onfocus=alert(1)%20'", "{{1234567*3}}"],
)
def test_what_a_link_puts_into_the_form_stays_in_it(tmp_path: Path, typed: str) -> None:
    """A reviewer who follows somebody's link runs nothing of it."""
    everywhere(tmp_path, b"x")
    visitor = inside(tmp_path)
    for path in (f"/blocked?rule={typed}", f"/blocked?since={typed}", f"/live?rule={typed}",
                 f"/{typed}", f"/call/{typed}", f"/?since={typed}"):  # fmt: skip
        check(visitor.get(path).text, path)
    check(Visitor(tmp_path).get(f"/login?next={typed}").text, "/login")
    assert "3703701" not in visitor.get(f"/blocked?rule={typed}").text


def test_every_template_escapes() -> None:
    """None switches it off."""
    templates = list(FOLDER.glob("*.html"))
    assert len(templates) > 5
    for path in templates:
        assert "safe" not in path.read_text()
        assert "autoescape" not in path.read_text()
