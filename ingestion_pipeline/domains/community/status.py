"""What the status page says of the community: the first five rules of the newest day's boards, by title. Pure.

The page is public: no ids, and nothing of persons.
"""

from collections.abc import Sequence

from ingestion_pipeline.domains.community.leaderboard_tables import Period
from ingestion_pipeline.intake.status_sections import Column, Html, Row, Section, number, say, table, text

PLACES = 5
PERIODS: dict[Period, str] = {"DAILY": "of the day", "ALL_TIME": "of all time"}
ELSEWHERE = "Authors, and the boards of tags and models: GET /api/leaderboards, with a token."
UNTITLED = Html('<span class="faint">no title</span>')

_BOARDS = f"""
select
    boards.day, boards.period, boards.rank, left(rules.title, 200) as title, boards.points, boards.views,
    boards.rank_change
from community.leaderboard_snapshots as boards
left join community.rules as rules
    on boards.subject_id = rules.rule_id and rules.status = 'published'
where
    boards.day = (select max(newest.day) from community.leaderboard_snapshots as newest)
    and boards.period in ({", ".join(f"'{period}'" for period in PERIODS)})
    and boards.kind = 'RULE' and boards.scope = 'GLOBAL' and boards.scope_value = '' and boards.rank <= {PLACES}
order by boards.rank
"""


def leaderboards(rows: Sequence[Row]) -> Html:
    """Boards beside each other; one that nobody is on says so."""
    if not rows:
        return say("There are no leaderboards yet: they are built after the first day with events of rules.")
    boards = "".join(
        f"<div><h3>Rules {words}</h3>{_board([row for row in rows if row['period'] == period])}</div>"
        for period, words in PERIODS.items()
    )
    day = rows[0]["day"]
    return Html(f'{say(f"As of {day}, UTC.")}<div class="pair">{boards}</div>{say(ELSEWHERE)}')


def _board(rows: Sequence[Row]) -> Html:
    if not rows:
        return say("No rule is on it.")
    columns = (
        Column("#", "n"),
        Column("Title", "any"),
        Column("Points", "n"),
        Column("Views", "n"),
        Column("Change", "n"),
    )
    lines = [
        [
            number(row["rank"]),
            Html(text(row["title"], longest=80) if row["title"] else UNTITLED),
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
