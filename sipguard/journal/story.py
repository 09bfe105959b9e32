"""One record as a person is told it: the sentence, when, which way, which rule, what was found."""

from collections.abc import Iterator

from sipguard.journal import told
from sipguard.journal.because import because
from sipguard.journal.media_told import tell_packets
from sipguard.journal.words import show_time
from sipguard.reason import Reason


def sentence(record: told.Told) -> str:
    """Return the story in one sentence: what, from whom, what became of it, and why."""
    if told.is_media(record):
        return tell_packets(record)
    verdict = told.verdict(record)
    done = {
        "accept": "was accepted",
        "drop": "was dropped",
        "reject": f"was refused with {told.number(record, 'code')}",
        "would drop": "would have been dropped (shadow mode: it passed)",
        "would reject": (
            f"would have been refused with {told.number(record, 'code')} (shadow mode: it passed)"
        ),
    }.get(verdict, verdict)
    subject = told.subject(record)
    subject = subject[:1].upper() + subject[1:]
    return f"{subject} from {told.text(record, 'src')} {done}{because(record)}"


def span_of(record: told.Told) -> str:
    """Return when it happened, first to last."""
    first, last = told.text(record, "first_time"), told.text(record, "last_time")
    if first == last:
        return f"{show_time(first)} UTC"
    return f"{show_time(first)} to {show_time(last)} UTC"


def path_of(record: told.Told) -> str:
    """Return which way it came: both ends, transport, interface and zone."""
    interface = told.text(record, "interface")
    on = f" on {interface}" if interface else ""
    if zone := told.text(record, "zone"):
        on += f" (zone {zone}{', by IPsec' if record.get('ipsec') is True else ''})"
    return (
        f"{told.end(record, 'src')} to {told.end(record, 'dst')},"
        f" {told.text(record, 'transport').upper()}{on}"
    )


def rule_of(record: told.Told) -> str:
    """Return which rule decided, and where it stands."""
    rule, place = told.text(record, "rule"), told.text(record, "place")
    if told.is_media(record):
        return f"{rule}, the setting of that name{f' in {place}' if place else ''}"
    if place:
        return f"{rule}, {place}"
    return f"{rule} (decided by sipguard itself, before any rule of the policy)" if rule else ""


def tell_findings(record: told.Told) -> Iterator[str]:
    """Yield a line for each thing found on the message."""
    sentences = {reason.value: reason.sentence for reason in Reason}
    for finding in told.parts(record, "findings"):
        code = told.text(finding, "reason")
        detail, octets = told.text(finding, "detail"), told.text(finding, "octets")
        words = [sentences.get(code, ""), detail, f"“{octets}”" if octets else ""]
        yield f"{told.text(finding, 'rule'):<7} {code}: {' '.join(word for word in words if word)}"
