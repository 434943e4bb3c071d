"""Funnels: named sequences of event types, as EVENTS_FUNNELS writes them."""

from dataclasses import dataclass

_FEWEST_STEPS = 2
_EXAMPLE = "expected funnels such as hiring:project.created>proposal.submitted>milestone.approved"


@dataclass(frozen=True)
class Funnel:
    name: str
    steps: tuple[str, ...]


def parse_funnels(text: str) -> tuple[Funnel, ...]:
    """The funnels in `name:type>type>type;name:type>type`.

    Raises:
        ValueError: one has no name, fewer than two steps or a step twice, or two have the same name.
    """
    funnels = tuple(_funnel(part) for part in text.split(";") if part.strip())
    names = [funnel.name for funnel in funnels]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{_EXAMPLE}, each name once; {repeated[0]!r} is there twice")
    if not funnels:
        raise ValueError(_EXAMPLE)
    return funnels


def _funnel(text: str) -> Funnel:
    name, _, path = text.partition(":")
    funnel = Funnel(name.strip(), tuple(step.strip() for step in path.split(">")))
    if not funnel.name or not all(funnel.steps) or len(funnel.steps) < _FEWEST_STEPS:
        raise ValueError(f"{_EXAMPLE}, with a name and at least two event types; {text.strip()!r} has not")
    if len(set(funnel.steps)) != len(funnel.steps):
        raise ValueError(f"{_EXAMPLE}, each event type once; {funnel.name!r} repeats one")
    return funnel
