"""EVENTS_FUNNELS as people write it."""

import pytest

from ingestion_pipeline.core.funnels import Funnel, parse_funnels


def test_funnels_are_names_with_steps() -> None:
    """Spaces and a last semicolon harm nothing; a type may hold a colon."""
    expected = (Funnel("hiring", ("project.created", "milestone.approved")), Funnel("b", ("x:y", "VIEW", "COPY")))
    assert expected == parse_funnels(" hiring: project.created > milestone.approved; b:x:y>VIEW>COPY ; ")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", ""),
        (" ; ", ""),
        ("project.created>milestone.approved", "'project.created>milestone.approved' has not"),
        (":a>b", "':a>b' has not"),
        ("one:a", "'one:a' has not"),
        ("one:a>", "'one:a>' has not"),
        ("one:a>>b", "'one:a>>b' has not"),
        ("one:a>b>a", "'one' repeats one"),
        ("one:a>b;one:c>d", "'one' is there twice"),
    ],
)
def test_a_funnel_that_means_nothing_is_refused(text: str, problem: str) -> None:
    """With an example, and the part that is wrong."""
    with pytest.raises(ValueError, match=r"^expected funnels such as hiring:project\.created>") as refused:
        parse_funnels(text)
    assert str(refused.value).endswith(problem)
