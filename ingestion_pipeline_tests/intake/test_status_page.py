"""The status page of a real intake: what it shows, that it escapes, what it costs, and how it looks in Chromium."""

import asyncio
import os
import re
import signal
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from ingestion_pipeline.intake.status_page import FRESH_SECONDS
from ingestion_pipeline.settings import PROJECT_ROOT
from ingestion_pipeline.storage import embedded
from ingestion_pipeline.storage.migrate import ensure_database, migrate
from ingestion_pipeline_tests.command import eventually
from ingestion_pipeline_tests.intake.browser import REQUIRED, Browser, chromium
from ingestion_pipeline_tests.intake.process import REAL, Intake, running
from ingestion_pipeline_tests.intake.status_figures import HOSTILE, LONG_WORD, SERVICES, fill

TITLES = ["Health", "Queues", "Intake", "Freshness", "Leaderboards", "Markets", "Requests of the last hour"]
VOID = {"meta", "br", "img", "link", "input"}
DRAWN = {"circle", "g", "polygon", "polyline", "rect", "svg"}
WRITTEN = {
    *("a", "b", "body", "br", "code", "details", "div", "h1", "h2", "h3", "head", "header", "html", "li", "main"),
    *("meta", "nav", "p", "section", "span", "style", "summary", "table", "tbody", "td", "th", "thead", "time"),
    *("title", "tr", "ul"),
}
# of every text: how it contrasts with what is behind it (WCAG 2.2, 1.4.3); and what reaches out of the screen
CONTRASTS = """(() => {
  const parts = colour => colour.match(/[\\d.]+/g).map(Number)
  const light = colour => parts(colour).slice(0, 3).map(it => it / 255)
    .map(it => it <= .04045 ? it / 12.92 : ((it + .055) / 1.055) ** 2.4)
    .reduce((sum, it, place) => sum + it * [.2126, .7152, .0722][place], 0)
  const behind = node => {
    const colour = getComputedStyle(node).backgroundColor
    return !node.parentElement || (parts(colour)[3] ?? 1) === 1 ? colour : behind(node.parentElement)
  }
  return [...document.body.querySelectorAll('*')]
    .filter(node => [...node.childNodes].some(it => it.nodeType === 3 && it.data.trim()) && node.checkVisibility())
    .filter(node => !node.closest('svg'))
    .map(node => {
      const [a, b] = [light(getComputedStyle(node).color), light(behind(node))].sort().reverse()
      return [(a + .05) / (b + .05), node.outerHTML.slice(0, 100)]
    })
})()"""
TOO_WIDE = """[...document.body.querySelectorAll('*')]
  .filter(node => !node.closest('svg') && node.getBoundingClientRect().right > innerWidth + 0.5)
  .map(node => node.outerHTML.slice(0, 100))"""


@dataclass
class Served:
    """A running intake with a busy day behind it. `fresh` is what its page said before that."""

    intake: Intake
    database: psycopg.Connection[Any]
    fresh: str

    def page(self) -> str:
        answer = self.intake.get("/")
        assert 200 == answer.status_code
        return answer.text


@pytest.fixture(scope="module")
def served(intake_database: str, intake_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with (
        running(intake_url, tmp_path_factory.mktemp("status"), REAL) as intake,
        psycopg.connect(intake_database, autocommit=True) as database,
    ):
        fresh = eventually(lambda: "Leaderboards" in (page := intake.get("/").text) and page)
        fill(database)
        found = Served(intake, database, fresh)
        eventually(lambda: "BTC-USD" in found.page())
        yield found


@dataclass
class Outage:
    """The page of a busy day before PostgreSQL was killed, while it was away, and after it was back."""

    before: str
    during: str
    after: str


@pytest.fixture(scope="module")
def outage() -> Iterator[Outage]:
    with tempfile.TemporaryDirectory(prefix="status-", ignore_cleanup_errors=True) as folder:
        home, store = Path(folder), Path(folder) / "postgres"
        server = embedded.start(store)
        try:
            ensure_database(server.url(), embedded.DATABASE)
            migrate(server.url())
            with psycopg.connect(server.url(), autocommit=True) as database:
                fill(database)
            with running(server.url(role="pipeline_intake"), home, REAL) as intake:
                before = eventually(lambda: "BTC-USD" in (page := intake.get("/").text) and page)
                read = _instant(before)
                os.kill(int((store / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)
                eventually(lambda: intake.get("/health").status_code == 503)
                during = intake.get("/").text
                embedded.start(store)
                after = eventually(
                    lambda: "PostgreSQL answers" in (page := intake.get("/").text) and _instant(page) > read and page
                )
            yield Outage(before, during, after)
        finally:
            embedded.start(store)
            embedded.stop_when_unused(store)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("chromium")) as found:
        yield found


class Elements(HTMLParser):
    """What is on a page; every element is closed where it should be."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.open: list[str] = []
        self.feed(page)
        assert [] == self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_endtag(self, tag: str) -> None:
        assert tag == self.open.pop(), self.getpos()


def section(page: str, title: str) -> str:
    found = re.search(rf"<section><h2>{title}.*?</section>", page)
    assert found, page
    return found[0]


def test_a_fresh_install_says_in_words_what_is_not_there_yet(served: Served) -> None:
    """Each section is there, and none is an empty table."""
    assert TITLES == [title for title in TITLES if section(served.fresh, title)]
    for sentence in (
        "health has not been evaluated yet",
        "nothing waits",
        "no events in the last hour",
        "No asset has been looked at yet",
        "There are no leaderboards yet",
        "There are no markets yet",
    ):
        assert sentence in served.fresh
    assert "<tbody></tbody>" not in served.fresh
    assert "None" not in served.fresh


def test_health_is_what_the_endpoint_says(served: Served) -> None:
    """The same statuses, with the reasons; the worst service first."""
    document = served.intake.get("/api/health/data").json()
    said = section(served.page(), "Health")
    whole, *services = re.findall(r'class="badge (\w+)"', said)
    assert document["status"] == whole
    assert ["RED", "YELLOW", "GREEN", "GREEN"] == services
    for name, (status, reasons) in SERVICES.items():
        if name != "overall":
            assert status == document["services"][name]["status"]
            assert all(escape(reason)[:200] in said for reason in reasons)


def test_queues_freshness_leaderboards_and_markets_have_their_figures(served: Served) -> None:
    page = served.page()
    assert re.search(r'Jobs due</h3><p class="figure">3</p><p class="faint">the oldest for \d+ min', page)
    fresh = section(page, "Freshness")
    assert {"1 PASS", "2 PASS, 1 WARN", "1 PASS, 1 FAIL", "1 UNKNOWN"} == set(re.findall(r">(\d [A-Z0-9, ]+)<", fresh))
    assert "not materialized for 27 h" in fresh
    boards = section(page, "Leaderboards")
    assert "As of 2026-03-31" in boards
    assert 5 + 5 == boards.count("</tr>") - boards.count("</thead>")
    markets = section(page, "Markets")
    assert 3 == markets.count('<svg class="spark')
    assert "0.0000123" in markets
    assert "no price yet" in markets


def test_the_public_page_has_no_ids_and_no_authors(served: Served) -> None:
    """A rule is there by its title; it says where the authors are."""
    boards = section(served.page(), "Leaderboards")
    assert "Review a pull request" in boards
    assert "rule-" not in boards
    assert "author " not in boards
    assert "GET /api/leaderboards" in boards


def test_nothing_that_strangers_wrote_becomes_html(served: Served) -> None:
    """Titles, authors and reasons with tags in them are text; nothing on the page can run or load anything."""
    page = served.page()
    elements = Elements(page)
    assert elements.tags <= WRITTEN | DRAWN
    assert not {name for name in elements.attributes if name.startswith("on") or name in ("src", "style", "srcset")}
    assert HOSTILE not in page
    assert page.count(escape(HOSTILE)) >= 3
    assert LONG_WORD not in section(page, "Leaderboards")
    assert "default-src 'none'" in served.intake.get("/").headers["content-security-policy"]


def test_rates_are_of_what_really_came(served: Served) -> None:
    """Every request and every event counts in its minute."""

    def counted(name: str) -> float:
        row = served.database.execute(
            "select coalesce(sum(value), 0) from operations.metric_minutes where name = %s", [name]
        ).fetchone()
        assert row
        return float(row[0])

    events, requests = counted("events_received_total"), counted("http_requests_total")
    body = b'{"events": [{"type": "VIEW", "ruleId": "r1"}, {"type": "no such type"}]}'
    assert 202 == served.intake.post("/ingest/events", body).status_code
    eventually(lambda: counted("events_received_total") == events + 2)
    eventually(lambda: counted("http_requests_total") > requests)
    chart = section(served.page(), "Intake")
    assert 2 == chart.count('<svg class="bars"')
    assert 120 == chart.count("<title>")


def test_the_figures_are_read_once_however_many_readers(served: Served) -> None:
    """Hundreds of readers at once see the readings of a few moments, no more than time allows."""

    async def read() -> list[str]:
        limits = httpx.Limits(max_connections=40)
        base = f"http://127.0.0.1:{served.intake.port}"
        async with httpx.AsyncClient(base_url=base, timeout=60, trust_env=False, limits=limits) as client:
            return [answer.text for answer in await asyncio.gather(*(client.get("/") for _ in range(400)))]

    started = time.monotonic()
    pages = asyncio.run(read())
    readings = {re.search(r"As of ([\d: -]+) UTC", page)[1] for page in pages}  # type: ignore[index]
    assert len(readings) <= (time.monotonic() - started) / FRESH_SECONDS + 2
    assert 400 == sum("BTC-USD" in page for page in pages)


def test_a_section_that_cannot_be_read_leaves_the_others(served: Served) -> None:
    """It says so, and is there again when it can be."""
    served.database.execute("revoke select on market.markets from pipeline_intake")
    eventually(lambda: "cannot be read now" in section(served.page(), "Markets"))
    page = served.page()
    assert "Review a pull request" in section(page, "Leaderboards")
    assert "/health" in section(page, "Requests of the last hour")
    served.database.execute("grant select on market.markets to pipeline_intake")
    eventually(lambda: "BTC-USD" in section(served.page(), "Markets"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 390, 768, 1280])
def test_it_fits_the_screen_and_is_readable(served: Served, browser: Browser, width: int, scheme: str) -> None:
    """Nothing reaches out of the screen, everything contrasts, charts are seen, nothing is loaded from elsewhere."""
    url = f"http://127.0.0.1:{served.intake.port}/"
    browser.open(url, width=width, scheme=scheme)
    assert [url] == browser.requests
    assert [] == browser.complaints
    assert [width, width] == browser.value("[document.documentElement.scrollWidth, innerWidth]")
    assert [] == browser.value(TOO_WIDE)
    contrasts = browser.value(CONTRASTS)
    assert len(contrasts) > 100
    assert [] == [it for it in contrasts if it[0] < 4.5]
    sizes = browser.value("[...document.querySelectorAll('svg')].map(it => [it.clientWidth, it.clientHeight])")
    assert 2 + 4 + 3 == len(sizes)
    assert all(wide >= 60 and high >= 6 for wide, high in sizes)
    is_dark = browser.value("getComputedStyle(document.body).backgroundColor") == "rgb(22, 24, 28)"
    assert (scheme == "dark") == is_dark


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_fresh_page_and_one_that_is_old_fit_a_phone(
    browser: Browser, served: Served, outage: Outage, tmp_path: Path, scheme: str
) -> None:
    """Empty states wrap; what is grey can be read."""
    for page in (served.fresh, outage.during):
        copy = tmp_path / "page.html"
        copy.write_text(page)
        browser.open(copy.as_uri(), width=360, scheme=scheme)
        assert 360 == browser.value("document.documentElement.scrollWidth")
        assert [] == [it for it in browser.value(CONTRASTS) if it[0] < 4.5]
        assert ["none", "1"] == browser.value(
            "(it => [it.filter, it.opacity])(getComputedStyle(document.querySelector('main')))"
        )


@pytest.mark.parametrize(("required", "outcome"), [("", pytest.skip.Exception), ("1", pytest.fail.Exception)])
def test_without_chromium_ci_fails_and_others_skip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, required: str, outcome: type[BaseException]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv(REQUIRED, required)
    with pytest.raises(outcome, match="apt-get install chromium"), chromium(tmp_path):
        pass
    assert f"{REQUIRED}=1 make test" in (PROJECT_ROOT / ".ci" / "run").read_text()


def test_while_postgresql_is_away_it_says_so_over_what_was_last_read(outage: Outage) -> None:
    """At once, of when that is, and grey; and everything is as before when it is back."""
    assert "PostgreSQL cannot be reached" in outage.during
    assert '<main class="old">' in outage.during
    assert _instant(outage.before) <= _instant(outage.during)
    assert "BTC-USD" in outage.during
    assert '<main class="new">' in outage.after


def _instant(page: str) -> datetime:
    found = re.search(r"[Oo]f (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC", page)
    assert found, page
    return datetime.fromisoformat(found[1])
