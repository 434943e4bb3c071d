"""Scores of rules and authors: what each kind of event is worth, and how its worth fades. Pure; docs/scoring.md.

Belongs here: weights, points, decay. Does not belong here: which events count (abuse.py), counting them (rollups.py).
"""

from collections.abc import Mapping
from datetime import date

VIEW, COPY, SAVE, FORK, VOTE = "VIEW", "COPY", "SAVE", "FORK", "VOTE"
KINDS = (VIEW, COPY, SAVE, FORK, VOTE)
VIEW_WEIGHT, COPY_WEIGHT, SAVE_WEIGHT, FORK_WEIGHT, VOTE_WEIGHT = 1, 3, 4, 5, 2
WEIGHTS: Mapping[str, int] = {
    VIEW: VIEW_WEIGHT,
    COPY: COPY_WEIGHT,
    SAVE: SAVE_WEIGHT,
    FORK: FORK_WEIGHT,
    VOTE: VOTE_WEIGHT,
}
"""Of a vote that is up; one that is down has the weight less than nothing."""
HOURS_PER_DAY = 24


def points(*, views: int, copies: int, saves: int, forks: int, votes_up: int, votes_down: int) -> int:
    """What the counted events of a rule are worth while nothing fades."""
    return (
        VIEW_WEIGHT * views
        + COPY_WEIGHT * copies
        + SAVE_WEIGHT * saves
        + FORK_WEIGHT * forks
        + VOTE_WEIGHT * (votes_up - votes_down)
    )


def decay(hours: float, half_life_hours: float) -> float:
    """What is left after `hours`, as a ratio."""
    return float(2.0 ** (-hours / half_life_hours))


def trending(scores: Mapping[date, float], on: date, half_life_hours: float) -> float:
    """The trending score at the end of the day `on`, from the `trending_score` of that day and of days before it."""
    return sum(
        score * decay(HOURS_PER_DAY * (on - day).days, half_life_hours) for day, score in scores.items() if day <= on
    )
