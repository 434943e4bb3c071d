"""What does not count: reasons, in the order in which they are asked, and the limits that settings give. Pure.

Flags are applied when a day is rolled up and are stored nowhere on events: rolled up again, a day of any age is judged
by the limits of now. Belongs here: limits and reasons. Does not belong here: finding the events (rollups.py).
"""

from dataclasses import dataclass
from typing import Final

from ingestion_pipeline.settings import Settings

NO_RULE: Final = "no_rule"
REPEAT_VIEW: Final = "repeat_view"
BOT: Final = "bot"
ADDRESS_RATE: Final = "address_rate"
SELF_VOTE: Final = "self_vote"
VIEW_CAP: Final = "view_cap"
REPEAT_VOTE: Final = "repeat_vote"
WITHDRAWN_VOTE: Final = "withdrawn_vote"
REASONS = (NO_RULE, REPEAT_VIEW, BOT, ADDRESS_RATE, SELF_VOTE, VIEW_CAP, REPEAT_VOTE, WITHDRAWN_VOTE)
"""An event has the first that holds."""

VIEWS_PER_ADDRESS = 5
"""Views that count, of one address on one rule and day (seed S4)."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """By what a day is judged.

    Attributes:
        user_agents: texts; an event whose user agent holds one of them, in whatever case, is a bot's.
        events_per_address: an address with more events of rules on a day is nobody's whose events count.
        half_life_hours: after how long an event is worth half in the trending score.
    """

    user_agents: tuple[str, ...]
    events_per_address: int
    half_life_hours: float


def limits_of(settings: Settings) -> Limits:
    """The limits that the environment gives."""
    return Limits(
        user_agents=settings.abuse_user_agents,
        events_per_address=settings.abuse_events_per_address,
        half_life_hours=settings.trending_half_life_hours,
    )
