"""Regions of the publishers' files, and the market each one is: the same metro has one slug whoever publishes it.

| region | slug |
|---|---|
| country | `united-states` |
| state | `texas` |
| metro | `dallas-tx-metro`: its first city and first state, since publishers cut the rest differently |
| county | `dallas-county-tx` |
| city | `dallas-tx` |
| ZIP code | `zip-75201` |
| neighborhood | `deep-ellum-dallas-tx` |

Two regions of a file that would share a slug both get their county, or else their publisher's id, behind it.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["country", "state", "metro", "county", "city", "zip", "neighborhood"]

ZIP_DIGITS = 5
_HYPHENATED = ("winston-salem", "wilkes-barre")
_COUNTY_WORDS = ("county", "parish", "borough", "city", "municipality", "area")


@dataclass(frozen=True, kw_only=True)
class Region:
    """One region of a file. `id` is unique in the file; `state` the first of its states, two letters."""

    id: str
    kind: Kind
    name: str
    state: str = ""
    city: str = ""
    county: str = ""


def slug(text: str) -> str:
    """Words of a-z and 0-9 joined by hyphens: `Coeur d'Alene` is `coeur-dalene`, `Doña Ana` is `dona-ana`."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower().replace("'", "")
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")


def market_slug(region: Region) -> str:
    """The slug of `region` by itself."""
    name, state = slug(region.name), slug(region.state)
    match region.kind:
        case "zip":
            return f"zip-{name.zfill(ZIP_DIGITS)}"
        case "metro":
            return "-".join(filter(None, (slug(_principal_city(region.name)), state, "metro")))
        case "county" if name.split("-")[-1] not in _COUNTY_WORDS:
            return "-".join(filter(None, (name, "parish" if state == "la" else "county", state)))
        case "city" | "county":
            return "-".join(filter(None, (name, state)))
        case "neighborhood":
            return "-".join(filter(None, (name, slug(region.city), state)))
    return name


def market_slugs(regions: Iterable[Region]) -> Mapping[str, str]:
    """The slug of each region of a file, by its id; no two are the same, whatever the order of the file."""
    known = {region.id: region for region in regions}
    slugs = {region.id: market_slug(region) for region in known.values()}
    for same in _shared(slugs):
        counties = {id_: slug(known[id_].county) for id_ in same}
        if len(set(counties.values())) == len(same) and all(counties.values()):
            slugs |= {id_: f"{slugs[id_]}-{counties[id_]}" for id_ in same}
    while shared := _shared(slugs):
        slugs |= {id_: f"{slugs[id_]}-{slug(id_)}" for same in shared for id_ in same}
    return slugs


def _shared(slugs: Mapping[str, str]) -> list[list[str]]:
    """The ids that share a slug, together."""
    ids: dict[str, list[str]] = {}
    for id_, name in slugs.items():
        ids.setdefault(name, []).append(id_)
    return [same for same in ids.values() if len(same) > 1]


def split_state(name: str) -> tuple[str, str]:
    """`Texarkana, TX-AR` as its name and first state; without a comma there is no state."""
    place, comma, states = name.rpartition(",")
    return (place.strip(), re.split(r"[-\s]", states.strip())[0]) if comma else (name.strip(), "")


def _principal_city(name: str) -> str:
    lower = name.lower()
    for city in _HYPHENATED:
        if lower.startswith(city):
            return city
    return re.split(r"[-/]", name)[0]
