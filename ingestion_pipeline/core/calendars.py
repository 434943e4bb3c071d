"""When a market trades: exchange sessions in UTC, from the exchange_calendars library.

`24/7` is one session a UTC day. Other names are ISO 10383 market codes such as XNYS.
"""

import warnings
from datetime import date, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

from ingestion_pipeline.core.windows import Window

if TYPE_CHECKING:
    import pandas as pd
    from exchange_calendars import ExchangeCalendar

ALWAYS_OPEN = "24/7"
FIRST_KNOWN_DAY = date(1990, 1, 2)


def trading_sessions(calendar: str, window: Window) -> "pd.DataFrame":
    """The sessions whose UTC day lies in `window`.

    Returns:
        Columns `day` (date), `open_at`, `close_at` (UTC timestamps, half-open); ascending; empty where nothing trades
        and before the first day that the calendar knows.
    """
    import pandas as pd

    days = window.days()
    if calendar == ALWAYS_OPEN:
        opens = pd.DatetimeIndex(pd.to_datetime(days, utc=True)).as_unit("us")
        return pd.DataFrame({"day": days, "open_at": opens, "close_at": opens + pd.Timedelta(days=1)})
    schedule = _calendar(calendar, max(window.last_day, FIRST_KNOWN_DAY).year + 1).schedule
    schedule = schedule.loc[str(days[0]) : str(days[-1])] if days else schedule.iloc[:0]
    return pd.DataFrame(
        {
            "day": [instant.date() for instant in schedule.index],
            "open_at": pd.DatetimeIndex(schedule["open"]).as_unit("us"),
            "close_at": pd.DatetimeIndex(schedule["close"]).as_unit("us"),
        }
    )


@lru_cache(maxsize=8)
def _calendar(name: str, last_year: int) -> "ExchangeCalendar":
    import exchange_calendars
    from pandas.errors import Pandas4Warning

    end = date(last_year, 1, 1) - timedelta(days=1)
    with warnings.catch_warnings():
        # exchange_calendars 4.13 reads Series.values of time stamps, which pandas 3.1 deprecates.
        warnings.simplefilter("ignore", Pandas4Warning)
        try:
            return exchange_calendars.get_calendar(name, start=str(FIRST_KNOWN_DAY), end=str(end))
        except ValueError:
            # some exchanges' holidays are not recorded that far back: the library's own first day, up to 20 years ago
            return exchange_calendars.get_calendar(name, end=str(end))
