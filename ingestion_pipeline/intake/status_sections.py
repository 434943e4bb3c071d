"""What a section of the status page is, and the words and tables that sections are written in. Pure.

A domain's sections are in its status.py: a statement that the intake's role may run, and a function from its rows to
HTML. Whatever comes from outside is escaped here or there; `Html` marks what already is.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from html import escape
from typing import Any, NewType

Html = NewType("Html", str)
Row = Mapping[str, Any]

NOTHING = Html('<span class="faint">&ndash;</span>')
LONGEST_TEXT = 120


@dataclass(frozen=True, kw_only=True)
class Section:
    """`query` is run in a transaction that sees everybody's rows, cut off after two seconds."""

    title: str
    query: str
    render: Callable[[Sequence[Row]], Html]


@dataclass(frozen=True)
class Column:
    """`kind` are CSS classes: `n` numbers, `any` text that may break anywhere, `wide` what a phone does without."""

    head: str
    kind: str = ""


def table(columns: Sequence[Column], rows: Sequence[Sequence[Html]]) -> Html:
    """A table that scrolls by itself where a word is too long for the page."""
    heads = "".join(f'<th scope="col"{_class(column.kind)}>{escape(column.head)}</th>' for column in columns)
    lines = "".join(f"<tr>{_cells(columns, row)}</tr>" for row in rows)
    return Html(f'<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>{lines}</tbody></table></div>')


def tile(title: str, figure: str, *more: Html) -> Html:
    """One big number with what belongs to it."""
    return Html(
        f'<div class="tile"><h3>{escape(title)}</h3><p class="figure">{escape(figure)}</p>{"".join(more)}</div>'
    )


def tiles(*them: Html) -> Html:
    return Html(f'<div class="tiles">{"".join(them)}</div>')


def say(sentence: str, kind: str = "faint") -> Html:
    return Html(f"<p{_class(kind)}>{escape(sentence)}</p>")


def text(value: object, *, longest: int = LONGEST_TEXT) -> Html:
    """What somebody wrote, shortened: it may be as long as a body."""
    if value is None or value == "":
        return NOTHING
    words = str(value)
    return Html(escape(words if len(words) <= longest else f"{words[: longest - 1]}…"))


def code(value: object) -> Html:
    return Html(f"<code>{text(value)}</code>")


def badge(status: str) -> Html:
    """A state, in its colour and in its word."""
    return Html(f'<span class="badge {escape(status)}">{escape(status)}</span>')


def number(value: float | None, digits: int = 0) -> Html:
    return NOTHING if value is None else Html(f"{value:,.{digits}f}")


def percentage(ratio: float | None) -> Html:
    """Of a ratio, with its sign: 0.01 is +1.00 %."""
    if ratio is None:
        return NOTHING
    shown = round(ratio * 100, 2)
    if not shown:
        return Html("0.00 %")
    return Html(f'<span class="{"up" if shown > 0 else "down"}">{shown:+,.2f} %</span>')


def since(instant: datetime | None, now: datetime) -> Html:
    """How long ago, and when exactly where one points at it."""
    if instant is None:
        return NOTHING
    return Html(f'<time datetime="{instant.isoformat()}" title="{minute(instant)}">{age(now - instant)} ago</time>')


def minute(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%d %H:%M UTC")


def age(length: timedelta) -> str:
    """In the largest unit that fits twice: 90 seconds, 2 min, 47 h, 2 days."""
    seconds = max(0, int(length.total_seconds()))
    for unit, name in ((86_400, "days"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds // unit:,} {name}"
    return f"{seconds} s"


def _cells(columns: Sequence[Column], row: Sequence[Html]) -> str:
    return "".join(f"<td{_class(column.kind)}>{cell}</td>" for column, cell in zip(columns, row, strict=True))


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""
