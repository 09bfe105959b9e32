"""Zones: where a message came from, by the interface or the IPsec peer it came through (IPS-1).

IPsec proves a site, a hop or a domain, and never the caller (RFC 3261 section
26.2.1): a zone is a place that rules may ask for, and nothing in ``identity``
knows of it.

An interface and a request id stand in one zone at most, so no order among
zones matters but this: a request id goes before the interface, since the
kernel hands on what it decrypted by the interface that the ESP came in by.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple, final

from sipguard.policy.field import Field, TextField
from sipguard.policy.fields import FIELDS
from sipguard.policy.problems import Problems, Wrong, suggest
from sipguard.policy.syntax import Braced, Place, Word, ZoneDefinition
from sipguard.wire.channel import CLEAR, Channel

MAX_ZONES: Final = 32
MAX_IPSEC_ZONES: Final = 7  # with request ids: three bits of a packet's mark tell them apart
MAX_WAYS: Final = 64  # interfaces and request ids of one zone
MAX_REQID: Final = 0xFFFFFFFF  # 0 stands for none (xfrm(8))

_USAGE: Final = "write interface NAME, interface NAME ipsec, or ipsec reqid NUMBER"
_ZONE_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,31}")
_INTERFACE_NAME: Final = re.compile(r"[A-Za-z0-9_.@:][A-Za-z0-9_.@:-]{0,14}")


class ZoneInterface(NamedTuple):
    """An interface of a zone; ``ipsec``: what comes in by it was decrypted by this machine."""

    name: str
    ipsec: bool = False


class Zone(NamedTuple):
    """One zone as written."""

    name: str
    interfaces: tuple[ZoneInterface, ...] = ()
    reqids: tuple[int, ...] = ()

    @property
    def has_ipsec(self) -> bool:
        """Whether anything in it comes through IPsec."""
        return bool(self.reqids) or any(interface.ipsec for interface in self.interfaces)


@final
class Zones:
    """Every zone of a policy, and what a packet of each came through.

    Zones with request ids are numbered from 1, in their order: the mark that
    the kernel gives their packets says the number.
    """

    __slots__ = ("_by_interface", "_by_number", "zones")

    def __init__(self, zones: tuple[Zone, ...]) -> None:
        self.zones = zones
        self._by_interface = {
            interface.name: Channel(zone=zone.name, ipsec=interface.ipsec)
            for zone in zones
            for interface in zone.interfaces
        }
        by_ipsec = (Channel(zone=zone.name, ipsec=True) for zone in zones if zone.reqids)
        self._by_number = (CLEAR, *by_ipsec)

    @property
    def reqids(self) -> tuple[tuple[int, ...], ...]:
        """The request ids of each zone that has any, zone 1 first."""
        return tuple(zone.reqids for zone in self.zones if zone.reqids)

    def channel(self, interface: str, number: int) -> Channel:
        """Return what a packet came through, always one of a few shared values.

        Args:
            interface: what it came in by; empty where nobody knows, and then neither
                zone nor IPsec is known: packets of this machine keep whatever
                number a program gave them.
            number: the zone's number by its mark, 0 for none.
        """
        if not interface:
            return CLEAR
        if 0 < number < len(self._by_number):
            return self._by_number[number]
        return self._by_interface.get(interface, CLEAR)


class ZoneReader:
    """Reads the zones of one policy, and notes which of them its rules ask for."""

    def __init__(self, definitions: Iterable[ZoneDefinition], problems: Problems) -> None:
        self._ways: dict[str | int, Place] = {}
        self._places: dict[str, Word] = {}
        self._used: set[str] = set()
        self._asks_ipsec = False
        self.zones: tuple[Zone, ...] = ()
        for definition in definitions:
            try:
                self.zones += (self._zone(definition),)
            except Wrong as wrong:
                problems.add(wrong)

    # --- reading

    def _zone(self, definition: ZoneDefinition) -> Zone:
        name = definition.name
        self._check_name(name)
        self._places[name.text] = name
        words = list(_words(definition.body))
        interfaces: list[ZoneInterface] = []
        reqids: list[int] = []
        while words:
            word = words.pop(0)
            if word.text == "interface":
                interfaces.append(self._interface(word, words))
            elif word.text == "ipsec":
                reqids.append(self._reqid(word, words))
            else:
                hint = suggest(word.text, ("interface", "ipsec")) or _USAGE
                raise Wrong(word.at, f"expected interface or ipsec, found {word.text}", hint)
        if not interfaces and not reqids:
            raise Wrong(name.at, f"zone {name.text} names no interface and no IPsec", _USAGE)
        if len(interfaces) + len(reqids) > MAX_WAYS:
            raise Wrong(name.at, f"zone {name.text} names more than {MAX_WAYS} ways in")
        if reqids and sum(bool(zone.reqids) for zone in self.zones) >= MAX_IPSEC_ZONES:
            hint = "one zone may name several request ids"
            raise Wrong(name.at, f"more than {MAX_IPSEC_ZONES} zones name request ids", hint)
        return Zone(name.text, tuple(interfaces), tuple(reqids))

    def _check_name(self, name: Word) -> None:
        if name.text in self._places:
            first = _first(self._places[name.text].at)
            raise Wrong(name.at, f"zone {name.text} stands twice", first)
        if not _ZONE_NAME.fullmatch(name.text):
            hint = "a letter, then letters, digits, dots, - and _; 32 at most"
            raise Wrong(name.at, f"no zone can be called {name.text}", hint)
        if name.text in FIELDS:
            raise Wrong(name.at, f"no zone can be called {name.text}", "a field has this name")
        if len(self._places) >= MAX_ZONES:
            raise Wrong(name.at, f"more than {MAX_ZONES} zones")

    def _interface(self, keyword: Word, words: list[Word]) -> ZoneInterface:
        name = _next(keyword, words, "the name of an interface")
        if not _INTERFACE_NAME.fullmatch(name.text):
            raise Wrong(name.at, f"{name.text} is not the name of a network interface")
        self._claim(name.text, name.at, f"interface {name.text}")
        # "ipsec reqid" behind it is a way of its own.
        decrypted = bool(words) and words[0].text == "ipsec"
        if decrypted and not (len(words) > 1 and words[1].text == "reqid"):
            words.pop(0)
            return ZoneInterface(name.text, ipsec=True)
        return ZoneInterface(name.text)

    def _reqid(self, keyword: Word, words: list[Word]) -> int:
        reqid = _next(keyword, words, "reqid")
        if reqid.text != "reqid":
            hint = suggest(reqid.text, ("reqid",)) or _USAGE
            raise Wrong(reqid.at, f"expected reqid, found {reqid.text}", hint)
        word = _next(reqid, words, "a request id")
        digits = word.text if word.text.isascii() and word.text.isdigit() else ""
        number = int(digits) if 0 < len(digits) <= 10 else 0
        if not 1 <= number <= MAX_REQID:
            raise Wrong(word.at, f"{word.text} is no request id", f"a number, 1 to {MAX_REQID}")
        self._claim(number, word.at, f"request id {number}")
        return number

    def _claim(self, way: str | int, at: Place, what: str) -> None:
        earlier = self._ways.setdefault(way, at)
        if earlier is not at:
            raise Wrong(at, f"{what} is in a zone already", _first(earlier))

    # --- what rules ask

    def field(self, field: Field, at: Place) -> Field:
        """Return *field* as this policy has it: ``zone`` is never but one of its zones.

        Raises:
            Wrong: no zone could ever make it true.
        """
        if field.name == "ipsec":
            if not any(zone.has_ipsec for zone in self.zones):
                hint = "zone NAME { ipsec reqid 42 } or { interface ipsec0 ipsec }"
                raise Wrong(at, "ipsec is never true: no zone comes through IPsec", hint)
            self._asks_ipsec = True
        elif field.name == "zone" and isinstance(field, TextField):
            if not self.zones:
                hint = "write zone NAME { interface eth0 }"
                raise Wrong(at, "zone is always empty: the policy names none", hint)
            words = tuple(zone.name for zone in self.zones)
            return TextField(field.name, field.doc, field.read, field.scope, words=words)
        return field

    def use(self, *names: str) -> None:
        """Note that rules ask for these zones; for none by name: for every zone."""
        self._used.update(names or self._places)

    def unused(self) -> list[Word]:
        """Return the names that no rule asks for; ``ipsec`` asks for every zone that has it."""
        asked = set(self._used)
        if self._asks_ipsec:
            asked.update(zone.name for zone in self.zones if zone.has_ipsec)
        return [self._places[zone.name] for zone in self.zones if zone.name not in asked]


def _words(body: Braced) -> Iterator[Word]:
    for member in body.members:
        if isinstance(member, Braced):
            raise Wrong(member.at, "braces inside braces", _USAGE)
        yield member


def _next(before: Word, words: list[Word], what: str) -> Word:
    if not words:
        raise Wrong(before.at, f"expected {what} after {before.text}", _USAGE)
    return words.pop(0)


def _first(at: Place) -> str:
    return f"first at {at.file}:{at.line}"
