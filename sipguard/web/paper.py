"""Templates: every value is escaped, cut and without invisible characters, whoever wrote it."""

from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from sipguard.journal.escape import safe_text
from sipguard.journal.record import iso_time
from sipguard.journal.words import many, show_span, show_time
from sipguard.web.asked import Answer, Question
from sipguard.web.rows import link

FOLDER: Final = Path(__file__).parent / "templates"
MAX_CHARACTERS: Final = 12_000  # of one value; the longest line of a stored message
NAVIGATION: Final = (
    ("/", "Overview"),
    ("/blocked", "Blocked calls"),
    ("/live", "Live"),
    ("/policy", "Policy"),
    ("/exceptions", "Exceptions"),
)
VERDICT_WORDS: Final = {
    "drop": "dropped",
    "reject": "refused",
    "accept": "accepted",
    "would drop": "would be dropped",
    "would reject": "would be refused",
}


def _visible(value: object) -> object:
    """Keep what no record's text should hold out of a page, whatever the store says.

    Records are escaped when they are made. A store that somebody edited, a
    policy's text and file names are not.
    """
    if not isinstance(value, str) or isinstance(value, Markup):  # a macro's, made of such values
        return value
    if len(value) > MAX_CHARACTERS:
        value = f"{value[:MAX_CHARACTERS]}… (+{len(value) - MAX_CHARACTERS} characters)"
    if value.isprintable():
        return value
    return "".join(
        char if char.isprintable() or char in "\n\t" else safe_text(char) for char in value
    )


def when(utc_s: float) -> str:
    """Return a POSIX time for a person, in UTC."""
    return show_time(iso_time(utc_s))


class Paper:
    """Makes answers of templates."""

    def __init__(self) -> None:
        self._made = Environment(
            loader=FileSystemLoader(FOLDER),
            autoescape=True,
            undefined=StrictUndefined,
            finalize=_visible,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._made.globals.update(
            link=link, many=many, span=show_span, when=when, verdict_words=VERDICT_WORDS
        )

    def page(
        self,
        template: str,
        question: Question,
        *,
        title: str,
        status: int = 200,
        headers: tuple[tuple[str, str], ...] = (),
        **values: object,
    ) -> Answer:
        """Return a page; *values* are what its template names."""
        text = self._made.get_template(template).render(
            title=title,
            path=question.path,
            csrf=question.csrf,
            fields=dict(question.fields),
            navigation=NAVIGATION,
            **values,
        )
        return Answer(status, text.encode("utf-8", "backslashreplace"), headers=headers)

    def problem(
        self,
        question: Question,
        status: int,
        title: str,
        sentence: str,
        advice: str = "",
        headers: tuple[tuple[str, str], ...] = (),
    ) -> Answer:
        """Return a page that says in a sentence what is wrong, and what to do."""
        return self.page(
            "problem.html",
            question,
            title=title,
            status=status,
            headers=headers,
            sentence=sentence,
            advice=advice,
        )
