"""Metrics, rules and authors for leaderboards, and the boards that a slow and plain computation makes of them."""

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import psycopg

HALF_LIFE = 48.0
DAY = date(2026, 3, 31)
LENGTHS = {"DAILY": 1, "WEEKLY": 7, "MONTHLY": 30}

Board = tuple[str, str, str, str]
Place = tuple[str, float, float, int]


@dataclass(frozen=True)
class Rule:
    rule_id: str
    author_id: str | None = "ada"
    tags: tuple[str, ...] = ()
    model: str | None = None
    is_deleted: bool = False


@dataclass(frozen=True)
class Metric:
    """Of one rule on one day. `copies` are worth three points."""

    rule_id: str
    day: date = DAY
    views: int = 0
    copies: int = 0
    votes_down: int = 0
    fading: float = 0.0

    @property
    def points(self) -> int:
        return self.views + 3 * self.copies - 2 * self.votes_down


def some_rules(count: int, seed: int = 1) -> list[Rule]:
    """Rules of few authors, with few tags and models; some deleted, some without author."""
    chosen = random.Random(seed)
    return [
        Rule(
            f"rule-{number}",
            chosen.choice([None, "ada", "grace", "edsger"]),
            tuple(chosen.sample(["sql", "rust", "zürich", "a,b", 'q"'], chosen.randint(0, 3))),
            chosen.choice([None, "opus", "gpt"]),
            chosen.random() < 0.1,
        )
        for number in range(count)
    ]


def some_metrics(rules: Iterable[Rule], days: int = 45, seed: int = 2) -> list[Metric]:
    """Metrics of the days until DAY, with many ties, and of a rule that nobody knows."""
    chosen = random.Random(seed)
    return [
        Metric(
            rule_id,
            DAY - timedelta(days=age),
            views := chosen.randint(0, 3),
            copies := chosen.randint(0, 1),
            chosen.randint(0, 1),
            (views + 3 * copies) * chosen.choice([0.25, 0.5, 1 / 3]),
        )
        for rule_id in [*(rule.rule_id for rule in rules), "unknown"]
        for age in range(days)
        if chosen.random() < 0.4
    ]


def of_authors(metrics: Iterable[Metric], rules: Iterable[Rule]) -> dict[tuple[date, str], Metric]:
    """The metrics of authors, by day and author, as the rollup of authors has them."""
    authors = {rule.rule_id: rule.author_id for rule in rules}
    found: dict[tuple[date, str], Metric] = {}
    for it in metrics:
        author = authors.get(it.rule_id)
        if author is not None:
            of = found.get((it.day, author), Metric(author, it.day))
            found[it.day, author] = Metric(
                author,
                it.day,
                of.views + it.views,
                of.copies + it.copies,
                of.votes_down + it.votes_down,
                of.fading + it.fading,
            )
    return found


def expected_boards(rules: Sequence[Rule], metrics: Sequence[Metric], day: date = DAY) -> dict[Board, list[Place]]:
    """Every board of `day`, place by place, added up row by row."""
    known = {rule.rule_id: rule for rule in rules}
    score: dict[Board, Counter[str]] = defaultdict(Counter)
    points: dict[Board, Counter[str]] = defaultdict(Counter)
    views: dict[Board, Counter[str]] = defaultdict(Counter)
    for it in metrics:
        rule, age = known.get(it.rule_id, Rule(it.rule_id, None)), (day - it.day).days
        scopes = [("GLOBAL", ""), *(("TAG", tag) for tag in rule.tags), *[("MODEL", m) for m in [rule.model] if m]]
        for period, length in [*LENGTHS.items(), ("ALL_TIME", 10**6)]:
            if not 0 <= age < length:
                continue
            fading = period in ("WEEKLY", "MONTHLY")
            worth: Any = (
                Decimal(it.fading * 2 ** (-24 * age / HALF_LIFE)).quantize(Decimal("1e-9")) if fading else it.points
            )
            for scope, value in scopes:
                for kind, subject in (("RULE", None if rule.is_deleted else it.rule_id), ("AUTHOR", rule.author_id)):
                    if subject is not None:
                        board = (period, kind, scope, value)
                        score[board][subject] += worth
                        points[board][subject] += it.points
                        views[board][subject] += it.views
    places = {
        board: [
            (subject, float(worth), float(points[board][subject]), views[board][subject])
            for subject, worth in sorted(
                scores.items(), key=lambda one: (-one[1], -views[board][one[0]], one[0].encode())
            )
            if worth > 0
        ][:100]
        for board, scores in score.items()
    }
    return {board: rows for board, rows in places.items() if rows}


def boards_of(rows: Iterable[dict[str, Any]]) -> dict[Board, list[Place]]:
    """Stored or computed rows, in the shape of `expected_boards`; ranks must be 1 to n in this order."""
    found: dict[Board, list[Place]] = defaultdict(list)
    for row in rows:
        board = (row["period"], row["kind"], row["scope"], row["scope_value"])
        found[board].append((row["subject_id"], row["score"], row["points"], row["views"]))
        assert len(found[board]) == row["rank"]
    return dict(found)


def store_rules(connection: psycopg.Connection[Any], rules: Iterable[Rule]) -> None:
    for rule in rules:
        connection.execute(
            "insert into community.rules (rule_id, author_id, title, body, tags, model, status, published_at, updated_at, "
            "event_id) values (%s, %s, %s, '', to_jsonb(%s::text[]), %s, %s, '2026-01-01Z', '2026-01-01Z', %s) "
            "on conflict (rule_id) do update set author_id = excluded.author_id, tags = excluded.tags, "
            "model = excluded.model, status = excluded.status",
            [
                rule.rule_id,
                rule.author_id,
                f"Title of {rule.rule_id}",
                list(rule.tags),
                rule.model,
                "deleted" if rule.is_deleted else "published",
                f"00000000-0000-7000-8000-{abs(hash(rule.rule_id)) % 10**12:012}",
            ],
        )


def store_metrics(
    connection: psycopg.Connection[Any], metrics: Sequence[Metric], rules: Sequence[Rule], donations: int = 0
) -> None:
    """The rows of both rollups."""
    for it in metrics:
        connection.execute(
            "insert into community.rule_metrics_daily values "
            "(%s, %s, null, %s, %s, 0, 0, 0, %s, 0, %s, %s, 0) on conflict (day, rule_id) do update set "
            "views = excluded.views, copies = excluded.copies, votes_down = excluded.votes_down, "
            "points = excluded.points, trending_score = excluded.trending_score",
            [it.day, it.rule_id, it.views, it.copies, it.votes_down, it.points, it.fading],
        )
    for (day, author), it in of_authors(metrics, rules).items():
        connection.execute(
            "insert into community.author_metrics_daily values "
            "(%s, %s, 1, %s, %s, 0, 0, 0, %s, %s, %s, %s, %s) on conflict (day, author_id) do update set "
            "views = excluded.views, copies = excluded.copies, votes_down = excluded.votes_down, "
            "points = excluded.points, trending_score = excluded.trending_score, donations = excluded.donations, "
            "donations_net = excluded.donations_net",
            [
                *(day, author, it.views, it.copies, it.votes_down, it.points, it.fading, donations),
                '{"USD": "1"}' if donations else "{}",
            ],
        )
