"""The list of blocked calls: filters, groups and pages, all of it in the address."""

from typing import Final

from sipguard.edge.archive import Archive
from sipguard.journal.limits import limits_of, looks_on_at
from sipguard.journal.query import GroupBy, QueryError, parse_group
from sipguard.reason import Reason
from sipguard.verdict import Action
from sipguard.web.asked import Answer, Question
from sipguard.web.overview import SENTENCES
from sipguard.web.paper import Paper, when
from sipguard.web.rows import FILTERS, fixed, link, page_of, query_of

_GROUPS: Final = (
    ("", "one by one"),
    ("rule", "by rule"),
    ("reason", "by reason"),
    ("source", "by source"),
    ("caller", "by caller (as claimed)"),
)
_FILTER_OF: Final = {
    GroupBy.SRC: "source",
    GroupBy.CALLER: "caller",
    GroupBy.RULE: "rule",
    GroupBy.REASON: "reason",
}
_REASONS: Final = sorted(reason.value for reason in Reason)
_VERDICTS: Final = [action.value for action in Action if action is not Action.HOLD]
_SIMPLE: Final = ("since", "source", "caller", "rule")


def blocked(archive: Archive, question: Question, paper: Paper) -> Answer:
    """Return the page; a filter that is not understood is told beside the form."""
    try:
        return _list(archive, question, paper)
    except QueryError as error:
        return _page(question, paper, status=400, mistake=str(error))


def _list(archive: Archive, question: Question, paper: Paper) -> Answer:
    fields = {name: question.text(name) for name in (*FILTERS, "all", "by") if question.text(name)}
    query = query_of(question.fields, question.now_s)
    share = link("/blocked", fixed(fields, question.now_s))
    if question.text("by"):
        by = parse_group(question.text("by"))
        counts = archive.tally(query, by)
        told = [f"{words[:1].upper()}{words[1:]}." for words in limits_of(counts, query)]
        return _page(
            question,
            paper,
            share=share,
            groups=[
                (
                    count,
                    link("/blocked", fields, by="", **{_FILTER_OF[by]: count.key}),
                    SENTENCES.get(count.key, "") if by is GroupBy.REASON else "",
                )
                for count in counts.groups
            ],
            group_name=_FILTER_OF[by],
            note=" ".join(told),
            advice=archive.advice,
        )
    page = page_of(archive, query, question.text("after"))
    note, further = "", ""
    if page.searched_to_s is not None:
        note = f"Looked back to {when(page.searched_to_s)} UTC."
        further = link("/blocked", fields, until=looks_on_at(page.searched_to_s))
    return _page(
        question,
        paper,
        share=share,
        rows=page.rows,
        older=link("/blocked", fields, after=page.older) if page.older else "",
        newest=link("/blocked", fields) if question.text("after") else "",
        note=note,
        further=further,
        advice=archive.advice,
    )


def _page(question: Question, paper: Paper, status: int = 200, **values: object) -> Answer:
    empty: dict[str, object] = {
        "rows": [],
        "groups": None,
        "group_name": "",
        "older": "",
        "newest": "",
        "note": "",
        "further": "",
        "advice": "",
        "share": "",
        "mistake": "",
    }
    asked = {name: question.text(name) for name in (*FILTERS, "all", "by")}
    return paper.page(
        "blocked.html",
        question,
        title="Blocked calls",
        status=status,
        asked=asked,
        is_more=any(asked[name] for name in FILTERS if name not in _SIMPLE) or bool(asked["all"]),
        reasons=_REASONS,
        verdicts=_VERDICTS,
        group_choices=_GROUPS,
        told={**empty, **values},
    )
