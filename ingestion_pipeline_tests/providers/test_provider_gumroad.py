"""Gumroad's API against a real server that answers as FORMATS E2 describes, and one that misbehaves."""

import logging
import traceback
from datetime import UTC, date, datetime, timedelta

import pytest
from provider_fakes import answer

from ingestion_pipeline.core.errors import (
    ConfigurationError,
    ContractError,
    ProviderUnavailableError,
    RateLimitedError,
)
from ingestion_pipeline.core.ids import new_id
from ingestion_pipeline.providers.gumroad import GumroadProvider, GumroadSource, gumroad_provider
from ingestion_pipeline.providers.rate import RateGate

TOKEN = "gumroad-canary-5e1f0c"
PAGE = 10


class FakeGumroad:
    """An account with one sale a day, newest first; ids as Gumroad obfuscates them."""

    def __init__(self, count: int) -> None:
        self.days = [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=it) for it in range(count)]
        self.asked: list[dict[str, str]] = []

    def sale(self, number: int) -> dict[str, object]:
        created = f"{self.days[number]:%Y-%m-%dT%H:%M:%SZ}"
        return {"id": f"id-{number}==", "created_at": created, "product_name": "Book", "price": 500}

    def sales(self, request):
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return answer({"error": "invalid_token"}, 401)
        self.asked.append(dict(request.args))
        last = int(request.args["page_key"].partition("-")[2]) if "page_key" in request.args else len(self.days)
        first_day = datetime.fromisoformat(request.args.get("after", "1970-01-01") + "T00:00:00Z")
        found = [it for it in reversed(range(last)) if first_day <= self.days[it]]
        body = {"success": True, "sales": [self.sale(it) for it in found[:PAGE]]}
        if len(found) > PAGE:
            number = found[PAGE - 1]
            key = f"{self.days[number]:%Y%m%d%H%M%S%f}-{number}"
            body |= {"next_page_key": key, "next_page_url": f"/v2/sales?page_key={key}"}
        return answer(body)

    def sale_by_id(self, request):
        number = int(request.path.rpartition("id-")[2].rstrip("="))
        if number >= len(self.days):
            return answer({"success": False, "message": "The sale was not found."})
        return answer({"success": True, "sale": self.sale(number)})


@pytest.fixture
def ask(httpserver, breaker):
    """Serves /v2/sales by `handler` and returns a provider."""

    def make(handler) -> GumroadProvider:
        httpserver.expect_request("/v2/sales").respond_with_handler(handler)
        rate = RateGate(f"gumroad-{new_id()}", "100000/minute")
        return GumroadProvider(
            GumroadSource(httpserver.url_for("").rstrip("/"), access_token=TOKEN, breaker=breaker, rate=rate)
        )

    return make


def in_turn(*answers):
    """A handler that gives each answer in turn, the last one for ever."""
    remaining = list(answers)
    return lambda _: remaining.pop(0) if len(remaining) > 1 else remaining[0]


def page(numbers, key=None):
    body = {"success": True, "sales": [{"id": f"id-{it}"} for it in numbers]}
    return answer(body | ({"next_page_key": key} if key else {}))


def key_of(number):
    return f"{20240101000000000000 + number}-{number}"


@pytest.mark.parametrize(("count", "pages"), [(0, 1), (1, 1), (10, 1), (11, 2), (35, 4)])
def test_all_sales_are_read_page_by_page(ask, count, pages):
    """Every sale once, newest first; the last page is the one without a key, and no page is asked for after it."""
    fake = FakeGumroad(count)
    found = list(ask(fake.sales).fetch_pages())
    assert len(found) == len(fake.asked) == pages
    assert [sale["id"] for it in found for sale in it.sales] == [f"id-{it}==" for it in reversed(range(count))]
    assert found[-1].next_page_key is None


def test_a_window_of_days_is_asked_for(ask):
    fake = FakeGumroad(40)
    found = list(ask(fake.sales).fetch_pages(after=date(2024, 1, 11)))
    assert sum(len(it.sales) for it in found) == 30
    assert fake.asked[0] == {"after": "2024-01-11"}
    assert fake.asked[1].items() >= fake.asked[0].items()


def test_pages_are_fetched_only_when_wanted(ask):
    fake = FakeGumroad(35)
    next(ask(fake.sales).fetch_pages())
    assert len(fake.asked) == 1


def test_a_sale_is_read_back(httpserver, ask):
    """A ping is not signed: what it says counts only when the account has the sale."""
    fake = FakeGumroad(3)
    httpserver.expect_request("/v2/sales/id-2==").respond_with_handler(fake.sale_by_id)
    httpserver.expect_request("/v2/sales/id-9==").respond_with_handler(fake.sale_by_id)
    httpserver.expect_request("/v2/sales/gone").respond_with_handler(
        lambda _: answer({"success": False, "message": "The sale was not found."}, 404)
    )
    provider = ask(fake.sales)
    assert provider.fetch_sale("id-2==") == fake.sale(2)
    assert provider.fetch_sale("id-9==") is None
    assert provider.fetch_sale("gone") is None


@pytest.mark.parametrize("forged", ["", "../user", "a/b", "a?x=1", "a" * 201, "ü", "a b"])
def test_an_id_that_cannot_be_one_is_not_asked_for(httpserver, ask, forged):
    assert ask(FakeGumroad(1).sales).fetch_sale(forged) is None
    assert httpserver.log == []


def test_another_sale_than_asked_for_is_refused(httpserver, ask):
    httpserver.expect_request("/v2/sales/id-1").respond_with_json({"success": True, "sale": {"id": "id-2"}})
    with pytest.raises(ContractError, match=r"sale\.id is another"):
        ask(FakeGumroad(1).sales).fetch_sale("id-1")


@pytest.mark.parametrize("status", [401, 403])
def test_a_wrong_token_is_a_matter_of_settings(ask, status):
    """No retry helps; the message names the setting and the scope."""
    with pytest.raises(ConfigurationError, match=r"GUMROAD_ACCESS_TOKEN.*view_sales"):
        next(ask(in_turn(answer({"error": "invalid_token"}, status))).fetch_pages())


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (answer({"status": 400, "error": "Invalid page_key."}, 400), "Invalid page_key"),
        (answer({"status": 400, "error": "Invalid page_key."}), "Invalid page_key"),
        (answer({"success": False, "message": "You cannot do that."}), "You cannot do that"),
        (answer({"success": False, "sales": []}), "answer is 200"),
        (answer({"sales": []}), "answer is 200"),
        (answer([]), "answer is 200"),
        (answer({"success": True}), "sales is"),
        (answer({"success": True, "sales": [{"price": 5}]}), "sale.id is None"),
        (answer({"success": True, "sales": [7]}), "sales.0 is '7'"),
        (answer({"success": True, "sales": [{"id": "a"}], "next_page_key": 5}), "next_page_key"),
        (answer({}, 404), "answer is 404"),
    ],
)
def test_an_error_is_one_whatever_its_status(ask, broken, message):
    """Gumroad says some errors with 200: `success` decides."""
    with pytest.raises(ContractError, match=message):
        next(ask(in_turn(broken)).fetch_pages())


def test_a_slow_query_may_be_tried_again(ask):
    """It is a 400, but a matter of load and range, not of the request."""
    slow = answer(
        {"status": 400, "error": "Query timed out. Try narrowing your date range with 'after'/'before'."}, 400
    )
    with pytest.raises(ProviderUnavailableError, match="shorter range"):
        next(ask(in_turn(slow)).fetch_pages())


def test_a_failing_server_is_asked_again(ask):
    found = list(ask(in_turn(answer({}, 500), answer({}, 503), page([1]))).fetch_pages())
    assert [sale["id"] for sale in found[0].sales] == ["id-1"]


def test_a_server_that_keeps_failing_is_unavailable(ask):
    with pytest.raises(ProviderUnavailableError, match="status 500"):
        next(ask(in_turn(answer({}, 500))).fetch_pages())


def test_a_long_limit_is_handed_on(ask):
    """The job is postponed; the pages that were read stay read."""
    pages = ask(in_turn(page([2], key_of(2)), answer({}, 429, **{"Retry-After": "3600"}))).fetch_pages()
    assert next(pages).next_page_key == key_of(2)
    with pytest.raises(RateLimitedError) as error:
        next(pages)
    assert error.value.retry_after_seconds == 3600


@pytest.mark.parametrize(
    ("answers", "message", "read"),
    [
        ([page([3], key_of(3)), page([2], key_of(3))], "read already", 1),
        ([page([3], key_of(3)), page([2], key_of(2)), page([1], key_of(3))], "read already", 2),
        ([page([3], key_of(3)), page([3], key_of(2))], "page before once more", 1),
        ([page([3], key_of(3)), page([3])], "page before once more", 1),
        ([page([], key_of(3))], "after an empty one", 0),
        ([page([3], key_of(3)), page([2], key_of(4))], "newer than", 1),
    ],
)
def test_pages_that_do_not_get_older_are_refused(ask, answers, message, read):
    """An endless key, a page that repeats: the walk ends with an error, after the pages that were good."""
    pages = ask(in_turn(*answers)).fetch_pages()
    for _ in range(read):
        assert next(pages).sales
    with pytest.raises(ContractError, match=message):
        next(pages)


def test_pages_without_end_are_bounded(ask, monkeypatch):
    """Even keys that grow older for ever."""
    monkeypatch.setattr("ingestion_pipeline.providers.gumroad.MOST_PAGES", 7)
    numbers = iter(range(1000, 0, -1))

    def endless(_):
        number = next(numbers)
        return page([number], key_of(number))

    pages = ask(endless).fetch_pages()
    for _ in range(7):
        assert next(pages).sales
    with pytest.raises(ContractError, match="at most 7 pages"):
        next(pages)


def test_no_text_shows_the_token(ask, caplog):
    """Not even where Gumroad's page echoes it."""
    caplog.set_level(logging.DEBUG)
    echoes = [
        answer({"success": False, "message": f"token {TOKEN} is odd"}),
        answer({"success": True, "sales": f"{TOKEN}"}),
        answer({"error": TOKEN}, 401),
        answer({"error": TOKEN}, 422),
    ]
    provider = ask(in_turn(*echoes))
    for _ in echoes:
        with pytest.raises((ContractError, ConfigurationError)) as error:
            next(provider.fetch_pages())
        assert TOKEN not in "".join(traceback.format_exception(error.value))
    assert TOKEN not in caplog.text


@pytest.mark.parametrize("token", ["", "short", "two words here", "newline\ntoken", "x" * 501])
def test_a_token_that_cannot_be_one_is_refused(breaker, token):
    with pytest.raises(ConfigurationError, match="GUMROAD_ACCESS_TOKEN"):
        gumroad_provider(access_token=token, breaker=breaker)


def test_a_root_that_is_no_url_is_refused(breaker):
    with pytest.raises(ConfigurationError, match="GUMROAD_URL"):
        gumroad_provider(access_token=TOKEN, breaker=breaker, base_url="api.gumroad.com")
