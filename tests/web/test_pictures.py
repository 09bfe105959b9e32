"""The README's pictures show the pages as they are: made here, from records and a clock of ours.

``make pictures`` (or SIPGUARD_PICTURES=refresh) makes them anew. Each has the digest of
the page that it was taken of within, so what it shows is compared without a
browser, and whatever fonts a machine has: any other text, markup or style is
another digest. That the picture really is one of that page is compared in a
browser, coarsely: other fonts move a picture by a few shades, and another page
or scheme by many.
"""

import base64
import hashlib
import os
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from browsing import needs_browser
from shown import shown
from tab import Tab, tab
from visitor import PASSWORD, Visitor

import demo.web
from sipguard.web.site import STATIC

ROOT = Path(__file__).parents[2]
NOW_S = 1_767_268_800.0 + 3600.0  # the visitor's clock
REFRESH = os.environ.get("SIPGUARD_PICTURES") == "refresh"
WIDTH = 1280
KEY = b"sipguard-page"
# What a script says of the live connection is a part of the picture.
HEARD = "!document.querySelector('#live') || document.querySelector('#live').textContent"
SHADES = 4.0  # of 255, on average: what other fonts make of it, and not what another page does


class Wanted(NamedTuple):
    """What a picture is to show."""

    name: str
    path: str
    height: int
    dark: bool

    @property
    def file(self) -> Path:
        return ROOT / "docs" / f"{self.name}.png"


@pytest.fixture(scope="module")
def visitor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visitor]:
    """Who is logged in, at a gateway that judged the demo's calls; no path of this machine's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setattr(demo.web, "STRICT", Path("policies/strict.policy"))
        patch.setattr(demo.web, "SIGNED_FOLDER", Path("demo/signed"))
        state = tmp_path_factory.mktemp("state")
        demo.web.fill(state, NOW_S)
        made = Visitor(state)
        assert made.enter().status == 303
        yield made


@pytest.fixture(scope="module")
def pictures(visitor: Visitor) -> list[Wanted]:
    """The first page, and the call whose BYE a stranger forged."""
    found = re.search(r'href="(/call/\w+)"', visitor.get("/blocked?rule=stray").text)
    assert found is not None
    return [
        Wanted("web-overview", "/", 1000, dark=False),
        Wanted("web-call", found[1], 1260, dark=True),
    ]


@pytest.fixture(scope="module")
def browser(visitor: Visitor) -> Iterator[tuple[Tab, str]]:
    """A browser that is logged in, and where."""
    with shown(visitor) as address, tab() as opened:
        opened.log_in(address, PASSWORD)
        yield opened, address


def digest_of(visitor: Visitor, wanted: Wanted) -> bytes:
    """Return what tells a page from every other, the secret of its forms apart."""
    page = re.sub(r'name="csrf" value="[^"]*"', "", visitor.get(wanted.path).text)
    style = (STATIC / "sipguard.css").read_text()
    how = f"{WIDTH}x{wanted.height} {'dark' if wanted.dark else 'light'}"
    return hashlib.sha256(f"{how}\n{style}\n{page}".encode()).hexdigest().encode()


def chunks(picture: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield kind and octets of each part of a PNG."""
    at = 8
    while at < len(picture):
        (size,) = struct.unpack(">L", picture[at : at + 4])
        yield picture[at + 4 : at + 8], picture[at + 8 : at + 8 + size]
        at += 12 + size


def signed(picture: bytes, digest: bytes) -> bytes:
    """Return a PNG with a digest within."""
    parts = [picture[:8]]
    for kind, octets in chunks(picture):
        parts.append(chunk(kind, octets))
        if kind == b"IHDR":
            parts.append(chunk(b"tEXt", KEY + b"\0" + digest))
    return b"".join(parts)


def chunk(kind: bytes, octets: bytes) -> bytes:
    check = struct.pack(">L", zlib.crc32(kind + octets))
    return struct.pack(">L", len(octets)) + kind + octets + check


def digest_in(picture: bytes) -> bytes:
    """Return the digest of the page that a PNG was taken of; empty if it does not say."""
    said = (octets.partition(b"\0") for kind, octets in chunks(picture) if kind == b"tEXt")
    return next((digest for key, _, digest in said if key == KEY), b"")


def taken(browser: tuple[Tab, str], wanted: Wanted, more: str = "") -> bytes:
    """Take the picture now; *more* is a script that changes the page before."""
    opened, address = browser
    opened.size(WIDTH, wanted.height, dark=wanted.dark)
    opened.open(address + wanted.path)
    opened.wait_for(HEARD)
    if more:
        opened.evaluate(more)
    return opened.picture(wanted.height)


def shades_apart(browser: tuple[Tab, str], one: bytes, other: bytes) -> float:
    """Return how far two pictures are apart: the mean difference of light of coarse pixels."""
    opened, _ = browser
    opened.open("data:text/html,<p>x")
    sources = [f"data:image/png;base64,{base64.b64encode(p).decode()}" for p in (one, other)]
    script = """(async sources => {
      const lights = [];
      for (const source of sources) {
        const image = new Image();
        image.src = source;
        await image.decode();
        const canvas = document.createElement("canvas");
        [canvas.width, canvas.height] = [48, 48];
        const context = canvas.getContext("2d");
        context.imageSmoothingQuality = "high";
        context.drawImage(image, 0, 0, 48, 48);
        const octets = context.getImageData(0, 0, 48, 48).data, light = [];
        for (let n = 0; n < octets.length; n += 4) {
          light.push(.299 * octets[n] + .587 * octets[n + 1] + .114 * octets[n + 2]);
        }
        lights.push(light);
      }
      return lights[0].reduce((all, v, n) => all + Math.abs(v - lights[1][n]), 0) / (48 * 48);
    })"""
    apart = opened.evaluate(f"{script}({sources!r})")
    assert isinstance(apart, int | float)
    return float(apart)


@needs_browser
def test_pictures_are_made(
    browser: tuple[Tab, str], visitor: Visitor, pictures: list[Wanted]
) -> None:
    """With SIPGUARD_PICTURES=refresh they are committed; without, they can be made all the same."""
    for wanted in pictures:
        picture = signed(taken(browser, wanted), digest_of(visitor, wanted))
        size = struct.unpack(">LL", dict(chunks(picture))[b"IHDR"][:8])
        assert size == (WIDTH, wanted.height)
        if REFRESH:
            wanted.file.write_bytes(picture)


def test_the_pictures_are_of_the_pages_as_they_are(
    visitor: Visitor, pictures: list[Wanted]
) -> None:
    """The README shows what a reader will see. After a change of a page: make pictures."""
    old = [
        one.name for one in pictures if digest_in(one.file.read_bytes()) != digest_of(visitor, one)
    ]
    assert old == [], "another page than now: run `make pictures`, look at them, commit them"


@needs_browser
def test_the_pictures_look_like_the_pages(browser: tuple[Tab, str], pictures: list[Wanted]) -> None:
    """A digest can be put into any picture: coarsely it must be this one, in any fonts."""
    serif = "document.documentElement.style.cssText = 'font-family: serif; letter-spacing: .03em'"
    for wanted in pictures:
        committed = wanted.file.read_bytes()
        assert shades_apart(browser, committed, taken(browser, wanted)) < SHADES
        assert shades_apart(browser, committed, taken(browser, wanted, serif)) < SHADES


@needs_browser
def test_another_page_is_told_apart(browser: tuple[Tab, str], pictures: list[Wanted]) -> None:
    """Another scheme, another page, or one without its style: the check can fail."""
    plain = "document.querySelector('link[rel=stylesheet]').disabled = true"
    for wanted in pictures:
        committed = wanted.file.read_bytes()
        for other in (
            taken(browser, wanted._replace(dark=not wanted.dark)),
            taken(browser, wanted._replace(path="/policy")),
            taken(browser, wanted, plain),
        ):
            assert shades_apart(browser, committed, other) > SHADES


def test_any_change_of_a_page_is_another_digest(visitor: Visitor, pictures: list[Wanted]) -> None:
    """And the same page is the same, whoever is logged in."""
    first, second = pictures
    assert digest_of(visitor, first) != digest_of(visitor, second)
    assert digest_of(visitor, first) != digest_of(visitor, first._replace(dark=True))
    assert digest_of(visitor, first) == digest_of(visitor, first)
    assert visitor.enter().status == 303
    assert digest_of(visitor, first) == digest_of(visitor, pictures[0])
