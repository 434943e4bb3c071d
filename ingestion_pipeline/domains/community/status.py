"""What the status page says of the community: the first five rules and authors of the newest day's boards. Pure."""

from collections.abc import Sequence

from ingestion_pipeline.domains.community.leaderboard_tables import Kind, Period
from ingestion_pipeline.intake.status_sections import Column, Html, Row, Section, number, say, table, text

PLACES = 5
PERIODS: dict[Period, str] = {"DAILY": "of the day", "ALL_TIME": "of all time"}
_KINDS: dict[Kind, str] = {"RULE": "Rules", "AUTHOR": "Authors"}

_BOARDS = f"""
select
    boards.day, boards.period, boards.kind, boards.rank, left(boards.subject_id, 200) as subject_id,
    left(rules.title, 200) as title, boards.points, boards.views, boards.rank_change
from community.leaderboard_snapshots as boards
left join community.rules as rules
    on boards.kind = 'RULE' and boards.subject_id = rules.rule_id and rules.status = 'published'
where
    boards.day = (select max(newest.day) from community.leaderboard_snapshots as newest)
    and boards.period in ({", ".join(f"'{period}'" for period in PERIODS)})
    and boards.scope = 'GLOBAL' and boards.scope_value = '' and boards.rank <= {PLACES}
order by boards.rank
"""


def leaderboards(rows: Sequence[Row]) -> Html:
    """Boards beside each other; one that nobody is on says so."""
    if not rows:
        return say("There are no leaderboards yet: they are built after the first day with events of rules.")
    boards = "".join(
        f"<div><h3>{name} {words}</h3>{_board([row for row in rows if (row['kind'], row['period']) == (kind, period)])}"
        "</div>"
        for period, words in PERIODS.items()
        for kind, name in _KINDS.items()
    )
    day = rows[0]["day"]
    return Html(f'{say(f"As of {day}, UTC.")}<div class="pair">{boards}</div>')


def _board(rows: Sequence[Row]) -> Html:
    if not rows:
        return say("Nobody is on it.")
    columns = (
        Column("#", "n"),
        Column("Name", "any"),
        Column("Points", "n"),
        Column("Views", "n"),
        Column("Change", "n"),
    )
    lines = [
        [
            number(row["rank"]),
            text(row["title"] or row["subject_id"], longest=80),
            number(row["points"]),
            number(row["views"]),
            _change(row["rank_change"]),
        ]
        for row in rows
    ]
    return table(columns, lines)


def _change(places: int | None) -> Html:
    if places is None:
        return Html('<span class="faint">new</span>')
    if not places:
        return Html('<span class="faint">=</span>')
    return Html(f'<span class="{"up" if places > 0 else "down"}">{"▲" if places > 0 else "▼"} {abs(places)}</span>')


LEADERBOARDS = Section(title="Leaderboards", query=_BOARDS, render=leaderboards)
