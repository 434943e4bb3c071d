"""What kinds of deliveries there are: the name of an event type and the shape of its data. No behaviour."""

from dataclasses import dataclass
from typing import Any

import msgspec


@dataclass(frozen=True, kw_only=True)
class DeliveryType:
    """One kind of delivery: `name` as in `event_type`, `data_type` the struct (or union) that its `data` must fit."""

    name: str
    summary: str
    data_type: Any
    needs_market: bool = True

    def data_of(self, data: Any) -> Any:
        """`data` as `data_type`.

        Raises:
            msgspec.ValidationError: it does not fit.
        """
        return msgspec.convert(data, self.data_type)
