"""Numbers, times and widths in words, as every face that a person reads has them."""

import unicodedata


def width(text: str) -> int:
    """Return how many columns a terminal needs for *text*."""
    if text.isascii():
        return len(text)
    return sum(_columns(char) for char in text)


def cut(text: str, columns: int) -> str:
    """Return what fits in so many columns, with an ellipsis if that is not all."""
    if width(text) <= columns:
        return text
    kept, used = [], 1
    for char in text:
        used += _columns(char)
        if used > columns:
            break
        kept.append(char)
    return "".join(kept) + "…"


def show_span(seconds: float) -> str:
    """Return a duration as people say it: ``45 s``, ``3 min 20 s``, ``2 h 5 min``, ``3 d 4 h``."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"


def show_time(iso: str) -> str:
    """Return a record's time for a table: ``2026-01-31 08:30:00``."""
    return iso.partition(".")[0].replace("T", " ")


def many(count: int, noun: str) -> str:
    """Return ``1 record`` or ``4,212 records``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _columns(char: str) -> int:
    if unicodedata.category(char) in {"Mn", "Me"}:
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
