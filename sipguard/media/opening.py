"""From a planned line to its holes in the book, all of them or none."""

from typing import Final

from sipguard.media.holebook import Use
from sipguard.media.line import Line
from sipguard.media.room import Room
from sipguard.reason import Finding, Reason
from sipguard.verdict import Hole, OpenPinhole

_FAILURES: Final = {
    Use.COLLISION: Finding(Reason.HOLE_COLLISION, "another call's peer already sends there"),
    Use.FULL: Finding(Reason.HOLE_LIMIT, "too many pinholes"),
}


def open_line(room: Room, line: Line, idle_s: int) -> bool:
    """Use every hole of *line* or none of them."""
    report, book = room.report, room.book
    opened = book.claim(line, room.left)
    if opened:
        room.left -= opened
        report.effects += _openings(line.holes(), line, idle_s)
        return True
    holes = line.holes()
    standing = book.users_at(holes[0]) if holes else ()
    if standing and _is_taken(room, line, standing[-1]):
        report.find(_FAILURES[Use.COLLISION])
        return False
    before = book.share(line)
    if before is not None:
        report.effects += room.gate.succeed(line, before, room.now_s)
        report.renewed += _openings(line.holes(), line, idle_s)
        return True
    return _open_one_by_one(room, line, idle_s)


def _open_one_by_one(room: Room, line: Line, idle_s: int) -> bool:
    report, book = room.report, room.book
    opens: list[Hole] = []
    renewed: list[Hole] = []
    before: Line | None = None
    holes = line.holes()
    ours = room.used | set(holes)  # with ICE, several of its own lead to one end
    for hole in holes:
        held = book.line_at(hole.source, hole.destination, hole.port)
        if held is not None and _is_taken(room, line, held):
            use = Use.COLLISION
        else:
            use = book.use(hole, ours.__contains__, line)
        if use is Use.OPENED and len(opens) >= room.left:
            book.release(hole, line)
            use = Use.FULL
        if use in _FAILURES:
            for mine in (*opens, *renewed):
                book.release(mine, line)
            report.find(_FAILURES[use])
            return False
        if use is Use.OPENED:
            opens.append(hole)
        else:
            renewed.append(hole)
            before = before or held
    if before is not None:
        report.effects += room.gate.succeed(line, before, room.now_s)
    room.left -= len(opens)
    report.effects += _openings(opens, line, idle_s)
    report.renewed += _openings(renewed, line, idle_s)
    return True


def _is_taken(room: Room, line: Line, held: Line) -> bool:
    """Report whether another call's media runs there under other keys (SDP-9).

    It would have to prove itself under these. A stream that is silent gives way: its
    telephone may have come up again, and call from the same ports.
    """
    keys, theirs = line.keys, held.keys
    if held.call_id == line.call_id or keys is None or theirs is None:
        return False
    is_same = keys.same_as(theirs) and keys.same_ice(theirs)
    return not is_same and room.gate.is_running(held, room.now_s)


def _openings(holes: list[Hole], line: Line, idle_s: int) -> tuple[OpenPinhole, ...]:
    method, call_id = line.method, line.call_id
    return tuple([OpenPinhole(hole, method, idle_s, call_id) for hole in holes])
