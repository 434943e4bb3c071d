"""What kinds of deliveries there are: the name of an event type and the shape of its data. No behaviour."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec


@dataclass(frozen=True, kw_only=True)
class DeliveryType:
    """One kind of delivery.

    Args:
        name: As in `event_type`.
        summary: Shown in the API's description.
        data_type: The struct (or union) that its `data` must fit.
        needs_market: It must name the market that it is about.
        source: The one that sends it, to an endpoint of its own: nobody else's secret speaks for it. None: anybody.
        kept: What is kept of its data, right or wrong; None: all of it.
    """

    name: str
    summary: str
    data_type: Any
    needs_market: bool = True
    source: str | None = None
    kept: Callable[[Any], Any] | None = None

    def data_of(self, data: Any) -> Any:
        """`data` as `data_type`.

        Raises:
            msgspec.ValidationError: it does not fit.
        """
        return msgspec.convert(data, self.data_type)
