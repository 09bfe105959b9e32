"""A reviewer's morning in a real browser: by the keyboard alone, on a telephone, light and dark."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from browsing import needs_browser
from exemption_ends import open_desk
from hostile import everywhere
from hostile_octets import CORPUS
from nights import NOON, night
from shown import shown
from tab import Tab, tab
from visitor import PASSWORD, Visitor

from sipguard.edge.control import RuleHits, StatusReport, write_status
from sipguard.edge.exemptions import AUDIT_NAME, ExemptionFile
from sipguard.policy.exemptions import ALLOW, Exemption

pytestmark = needs_browser
PAGES = ("/", "/blocked", "/blocked?by=rule", "/live", "/policy", "/exceptions", "/call/last")
# Text that is too faint for its background (WCAG 2.2, 1.4.3), and what it says.
_FAINT = """(() => {
  const number = c => (c.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => {
    const part = v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
    return .2126 * part(r / 255) + .7152 * part(g / 255) + .0722 * part(b / 255);
  };
  const behind = e => {
    for (; e; e = e.parentElement) {
      const c = number(getComputedStyle(e).backgroundColor);
      if (c.length === 3 || c[3] > 0) { return c; }
    }
    return [255, 255, 255];
  };
  const faint = [];
  for (const e of document.querySelectorAll("body *")) {
    const says = [...e.childNodes].filter(n => n.nodeType === 3).map(n => n.data.trim()).join("");
    if (!says || !e.getClientRects().length || e.closest(".hidden, .skip, template")) { continue; }
    const style = getComputedStyle(e), size = parseFloat(style.fontSize);
    const ink = number(e instanceof SVGElement ? style.fill : style.color);
    const [a, b] = [light(ink), light(behind(e))].sort((x, y) => y - x);
    const isLarge = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    if ((a + .05) / (b + .05) < (isLarge ? 3 : 4.5)) {
      faint.push(`${says.slice(0, 40)}: ${((a + .05) / (b + .05)).toFixed(2)}`);
    }
  }
  return JSON.stringify(faint);
})()"""
# What can be used and has no name, and what the tabulator would reach out of its place.
_NAMELESS = """JSON.stringify(
  [...document.querySelectorAll("a[href], button, input:not([type=hidden]), select, summary")]
  .filter(e => !(e.textContent.trim() || e.getAttribute("aria-label")
    || [...(e.labels || [])].some(l => l.textContent.trim()))).map(e => e.outerHTML.slice(0, 80))
  .concat([...document.querySelectorAll("[tabindex]")].filter(e => e.tabIndex > 0)
    .map(e => "out of order: " + e.outerHTML.slice(0, 80)))
  .concat([...document.querySelectorAll("table")].filter(t => !t.querySelector("th[scope]"))
    .map(t => "no heads: " + t.outerHTML.slice(0, 80)))
  .concat(new Set([...document.querySelectorAll("[id]")].map(e => e.id)).size ===
    document.querySelectorAll("[id]").length ? [] : ["an id stands twice"]))"""


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A night with a status beside, one exception, and a service that takes more."""
    directory = tmp_path_factory.mktemp("s")
    night(directory)
    report = StatusReport(pid=1, written_s=NOON + 3599, started_s=NOON - 600, mode="enforce")
    report.policy_file = str(directory / "gateway.policy")
    report.policy_loaded_s = NOON - 600
    place = f"{directory}/gateway.policy"
    report.rules = [
        RuleHits("parse", "ambiguous", f"{place}:6", 1, NOON),
        RuleHits("request", "spoofed", f"{place}:10", 1, NOON),
    ]
    write_status(directory, report)
    ExemptionFile(directory, lambda: NOON + 3600).add(
        Exemption(0, ALLOW, 0.0, 3600.0, source="192.0.2.7", reason="trunk moves", by="root")
    )
    with open_desk(directory, "root"):
        yield directory


@pytest.fixture(scope="module")
def browser() -> Iterator[Tab]:
    """One browser for all of it."""
    with tab() as opened:
        yield opened


@pytest.fixture(scope="module")
def address(state: Path, browser: Tab) -> Iterator[str]:
    """The pages, the browser logged in."""
    with shown(Visitor(state)) as there:
        log_in(browser, there)
        yield there


def log_in(browser: Tab, there: str) -> None:
    browser.size(1280)
    browser.log_in(there, PASSWORD)
    assert browser.text("document.title") == "Overview · sipguard"


def test_a_morning_by_the_keyboard_alone(state: Path, browser: Tab, address: str) -> None:
    """From the overview to the call that should have passed, to an exception and its end."""
    browser.open(address)
    browser.press("Tab")
    assert browser.text("document.activeElement.textContent") == "Skip to the content"
    browser.tab_to("e.getAttribute('href') === '/blocked'")
    browser.leave("Enter")
    assert browser.evaluate("document.querySelectorAll('#rows tr').length") == 5
    browser.tab_to("e.name === 'rule'")
    browser.write("spoofed")
    browser.leave("Enter")
    assert "rule=spoofed" in browser.text("location.search")
    browser.tab_to("(e.getAttribute('href') || '').startsWith('/call/')")
    browser.leave("Enter")
    assert "was refused with 403" in browser.text("document.querySelector('h1').textContent")
    browser.tab_to("e.tagName === 'SUMMARY' && e.textContent.startsWith('Allow this')")
    browser.press("Enter")
    browser.tab_to("e.id === 'on-caller'")
    browser.press(" ")
    browser.tab_to("e.id === 'f-why'")
    browser.write("the trunk moves today")
    browser.press("Tab")
    browser.write("anna")
    browser.tab_to("e.tagName === 'BUTTON' && e.textContent === 'Make the exception'")
    browser.leave("Enter")
    assert "Exception 2 is made" in browser.text(
        "document.querySelector('[role=status]').textContent"
    )
    one = ExemptionFile(state).read()[1][-1]
    assert (one.source, one.caller, one.rule, one.reason) == (
        "203.0.113.66", "", "spoofed", "the trunk moves today",
    )  # fmt: skip
    browser.tab_to("e.getAttribute('aria-label') === 'End exception 2 now'")
    browser.leave("Enter")
    assert "Exception 2 is not in force" in browser.text("document.body.textContent")
    lines = [json.loads(line) for line in (state / AUDIT_NAME).read_text().splitlines()[-2:]]
    assert [(line["what"], line["by"]) for line in lines] == [
        ("add", "anna on the page"), ("remove", "anna on the page"),
    ]  # fmt: skip
    assert "127.0.0.1" in lines[0]["from"]


def test_the_browser_asks_for_what_is_missing(browser: Tab, address: str) -> None:
    """No exception without a why and a name, before anything is sent."""
    browser.open(f"{address}/blocked?rule=spoofed")
    browser.open(address + browser.text("document.querySelector('#rows a').getAttribute('href')"))
    browser.evaluate("document.querySelector('.except').requestSubmit()")
    assert browser.text("document.activeElement.id") == ""
    browser.evaluate("document.querySelector('.except').closest('details').open = true")
    browser.evaluate("document.querySelector('.except').requestSubmit()")
    assert browser.text("document.activeElement.id") == "f-why"
    assert browser.text("location.pathname").startswith("/call/")


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_stands_out_from_what_is_behind_it(
    browser: Tab, address: str, path: str, dark: bool
) -> None:
    """Everywhere, with all that can be opened open; and the browser has nothing to complain of."""
    browser.size(1280, dark=dark)
    browser.open(address + path)
    browser.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    assert json.loads(browser.text(_FAINT)) == []
    assert browser.said() == []


@pytest.mark.parametrize("path", [*PAGES, "/login", "/nowhere", "/blocked?since=x"])
def test_everything_has_a_name_and_its_place(browser: Tab, address: str, path: str) -> None:
    """For who hears the page, or goes through it with the tabulator."""
    browser.open(address + path)
    assert json.loads(browser.text(_NAMELESS)) == []


def test_the_checks_see_what_they_are_for(browser: Tab, address: str) -> None:
    """A check that cannot fail is none."""
    browser.size(1280)
    browser.open(f"{address}/policy")
    browser.evaluate("document.querySelector('h1').style.color = '#ccc'")
    assert json.loads(browser.text(_FAINT)) == ["Policy: 1.49"]
    browser.evaluate("document.querySelector('button').textContent = ''")
    assert len(json.loads(browser.text(_NAMELESS))) == 1


@pytest.mark.parametrize("path", [*PAGES, "/login"])
@pytest.mark.parametrize("width", [320, 390])
def test_a_telephone_needs_no_scrolling_sideways(
    browser: Tab, address: str, path: str, width: int
) -> None:
    """All of a page fits its width; a wide drawing scrolls by itself."""
    browser.size(width, 800)
    browser.open(address + path)
    browser.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    assert browser.evaluate("document.documentElement.scrollWidth") == width


def test_the_focus_is_seen(browser: Tab, address: str) -> None:
    """Wherever the tabulator leads."""
    browser.size(1280)
    browser.open(f"{address}/exceptions")
    seen = set()
    for _ in range(40):
        browser.press("Tab")
        seen.add(
            browser.text(
                "(s => s.outlineStyle + s.outlineWidth)(getComputedStyle(document.activeElement))"
                " + (document.activeElement === document.body ? ' body' : '')"
            )
        )
    assert "solid3px" in seen
    assert {one for one in seen if not one.endswith(" body")} == {"solid3px"}


def test_nothing_hostile_runs_or_hides(
    browser: Tab, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """On a call's page with its rule and its exception, and on the list of exceptions."""
    directory = tmp_path_factory.mktemp("h")
    evil = b"<script>document.title='owned'</script>" + CORPUS["attribute"]
    identifier = everywhere(directory, evil)
    html = "<script>document.title='owned'</script><img src=x onerror=document.title='owned'>"
    ExemptionFile(directory, lambda: NOON + 3600).add(
        Exemption(0, ALLOW, 0.0, 3600.0, source="192.0.2.7", rule=html, reason=html, by=html)
    )
    with shown(Visitor(directory)) as there:
        log_in(browser, there)
        for path in ("/exceptions", f"/call/{identifier}"):
            browser.open(there + path)
            assert browser.text("document.title").endswith("· sipguard")
            assert "owned" not in browser.text("document.title")
            assert "<script>document.title" in browser.text("document.body.textContent")
