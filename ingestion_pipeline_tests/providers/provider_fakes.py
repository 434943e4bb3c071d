"""Small real parts for the provider tests: a breaker, and what CoinGecko and Binance would answer for a fixed series."""

import json
import math
from datetime import UTC, datetime, timedelta
from typing import ClassVar

from werkzeug import Request, Response

from ingestion_pipeline.core.errors import CircuitOpenError

# A Wednesday inside a session of XNYS; the next day is a holiday.
NOW = datetime(2025, 6, 18, 15, 2, 30, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)
HOUR_MS = 3_600_000
FIVE_MINUTES_MS = 300_000
KEY = "CG-canary-7f3a9b"


class InProcessBreaker:
    """Opens after `threshold` failures in a row."""

    def __init__(self, threshold: int = 5) -> None:
        self.threshold = threshold
        self.failures = 0
        self.recorded: list[bool] = []

    def before_call(self, name: str) -> None:
        if self.failures >= self.threshold:
            raise CircuitOpenError(name)

    def record(self, name: str, *, ok: bool) -> None:  # noqa: ARG002 - one name is enough here
        self.recorded.append(ok)
        self.failures = 0 if ok else self.failures + 1


def price_at(milliseconds: int) -> float:
    """A smooth positive series of time, six decimals."""
    return round(100 + 20 * math.sin(milliseconds / 7e7) + 3 * math.sin(milliseconds / 3e6), 6)


def answer(body: object, status: int = 200, **headers: str) -> Response:
    return Response(json.dumps(body), status, headers, content_type="application/json")


class FakeCoinGecko:
    """Answers as H1 of FORMATS describes: hourly points 41 s past the hour, finer ones for spans under two days."""

    ids: ClassVar = {"bitcoin": "Bitcoin", "ethereum": "Ethereum"}
    lateness_ms = 41_000

    def markets(self, request: Request) -> Response:
        asked = request.args["ids"].split(",")
        return answer([{"id": it, "name": self.ids[it], "current_price": None} for it in asked if it in self.ids])

    def prices(self, request: Request) -> Response:
        known = [it for it in request.args["ids"].split(",") if it in self.ids]
        fields = {"usd": 100.0, "usd_24h_vol": 5_000.0, "usd_24h_change": -1.5, "last_updated_at": NOW_MS // 1000 + 9}
        return answer(dict.fromkeys(known, fields))

    def chart(self, request: Request) -> Response:
        coin = request.path.split("/")[-3]
        if coin not in self.ids:
            return answer({"error": "coin not found"}, 404)
        first, last = (int(request.args[name]) * 1000 for name in ("from", "to"))
        if first < NOW_MS - timedelta(days=365).total_seconds() * 1000:
            return answer({"error": {"status": {"error_code": 10012, "error_message": "exceeds the time range"}}}, 401)
        is_hourly = last - first >= timedelta(days=2).total_seconds() * 1000
        step, late = (HOUR_MS, self.lateness_ms) if is_hourly else (FIVE_MINUTES_MS, 7_000)
        times = [
            t + late for t in range(first - first % step, last + 1, step) if first <= t + late <= min(last, NOW_MS)
        ]
        if last >= NOW_MS // 1000 * 1000:
            times.append(NOW_MS)
        volumes = [[t, 24 * price_at(t) * 10] for t in times]
        return answer({"prices": [[t, price_at(t)] for t in times], "market_caps": [], "total_volumes": volumes})


class FakeBinance:
    """Answers as H2 of FORMATS describes: klines by start time, at most 1000, the last one unfinished."""

    pairs = ("BTCUSDT", "ETHUSDT")
    listed_ms = int(datetime(2025, 1, 1, tzinfo=UTC).timestamp() * 1000)
    steps: ClassVar = {"5m": FIVE_MINUTES_MS, "1d": 24 * HOUR_MS}

    def __init__(self) -> None:
        self.requests: list[dict[str, str]] = []
        self.used_weight = 10

    def klines(self, request: Request) -> Response:
        self.requests.append(dict(request.args))
        if request.args["symbol"] not in self.pairs:
            return answer({"code": -1121, "msg": "Invalid symbol."}, 400)
        step, limit = self.steps[request.args["interval"]], int(request.args.get("limit", 500))
        assert limit <= 1000
        start = max(int(request.args["startTime"]), self.listed_ms)
        end = min(int(request.args.get("endTime", NOW_MS)), NOW_MS)
        opens = range(-(-start // step) * step, end + 1, step)[:limit]
        return answer([self._row(t, step) for t in opens], **{"X-MBX-USED-WEIGHT-1M": str(self.used_weight)})

    def tickers(self, request: Request) -> Response:
        asked = json.loads(request.args["symbols"])
        if not set(asked) <= set(self.pairs):
            return answer({"code": -1121, "msg": "Invalid symbol."}, 400)
        fields = {
            "lastPrice": "101.50000000",
            "priceChangePercent": "-2.500",
            "volume": "1234.5",
            "closeTime": NOW_MS + 4,
        }
        return answer([{"symbol": it, **fields} for it in reversed(asked)])

    def _row(self, t: int, step: int) -> list[object]:
        first, last = price_at(t), price_at(t + step)
        prices = (first, max(first, last) + 0.5, min(first, last) - 0.5, last)
        return [t, *(f"{price:.8f}" for price in prices), "12.50000000", t + step - 1, "1250", 7, "6.0", "600", "0"]
