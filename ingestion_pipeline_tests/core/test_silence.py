"""How long a source may be silent, as WEBHOOK_SILENCE spells it."""

from datetime import timedelta

import pytest

from ingestion_pipeline.core.silence import parse_silence


@pytest.mark.parametrize(
    ("text", "source", "allowed"),
    [
        ("24h", "acme", timedelta(hours=24)),
        ("90m", "acme", timedelta(minutes=90)),
        ("24h,acme=1h", "acme", timedelta(hours=1)),
        ("24h,acme=1h", "other", timedelta(hours=24)),
        ("acme=7d", "acme", timedelta(days=7)),
        ("acme=7d", "other", timedelta(hours=24)),
        ("24h,acme=off", "acme", None),
        ("24h,acme=off", "other", timedelta(hours=24)),
        ("off", "acme", None),
        ("2d, a=b=1h", "a=b", timedelta(hours=1)),
    ],
)
def test_a_source_may_be_silent_for_its_own_time_or_everybodys(
    text: str, source: str, allowed: timedelta | None
) -> None:
    assert allowed == parse_silence(text).of(source)


@pytest.mark.parametrize(
    "text", ["", "24", "0h", "1w", "h", "24h,,1h", "=1h", "acme=", "-1h", "1234567h", "=off", "OFF"]
)
def test_another_spelling_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="24h,acme=1h"):
        parse_silence(text)
