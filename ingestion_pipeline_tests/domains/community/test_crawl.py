"""What a crawler sends, read item by item; and the one spelling of a URL, or why it is refused."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion_pipeline.domains.community.crawl import (
    MOST_RAW_BYTES,
    Item,
    Refused,
    chosen,
    read_item,
    reject_of,
)
from ingestion_pipeline.domains.community.crawl_urls import UrlError, normalised_url

ITEM = {"externalId": "partner-123", "url": "https://example.com/rule", "title": "Example rule"}


def read(**over: Any) -> Item | Refused:
    return read_item(json.dumps(ITEM | over).encode(), max_depth=32)


def wrong(**over: Any) -> list[str]:
    """The fields that an item is refused for."""
    item = read(**over)
    assert isinstance(item, Refused), item
    return [error.field for error in item.errors]


def test_an_item_is_read() -> None:
    """HTML stays the text that it is; `raw` is kept as JSON."""
    item = read(url="HTTPS://Example.COM:443/rule#top", summary="<b>bold</b>", raw={"stars": 3})
    assert Item("partner-123", "https://example.com/rule", "Example rule", "<b>bold</b>", '{"stars":3}') == item


@pytest.mark.parametrize(
    ("over", "field"),
    [
        ({"externalId": None}, "externalId"),
        ({"externalId": ""}, "externalId"),
        ({"externalId": "x" * 201}, "externalId"),
        ({"externalId": 7}, "externalId"),
        ({"title": " "}, "title"),
        ({"title": "x" * 1_000_000}, "title"),
        ({"summary": "x" * 20_001}, "summary"),
        ({"summary": ["x"]}, "summary"),
        ({"url": None}, "url"),
        ({"url": "javascript:alert(1)"}, "url"),
        ({"raw": "x" * MOST_RAW_BYTES}, "raw"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_wrong_field_is_named(over: dict[str, Any], field: str) -> None:
    assert [field] == wrong(**over)


def test_everything_that_is_wrong_is_told_at_once() -> None:
    assert ["colour", "title", "raw", "url"] == wrong(title="", url="ftp://x.org/", raw="x" * 70_000, colour=1)


@pytest.mark.parametrize(
    "part",
    [
        b'"text"',
        b"7",
        b"null",
        b'{"externalId": "a\\u0000b", "url": "https://example.com/", "title": "t"}',
        b'{"externalId": "a", "url": "https://example.com/", "title": "\\ud800"}',
        b'{"externalId": "a", "url": "https://example.com/", "title": "t", "raw": 1e999}',
        b'{"externalId": "a", "url": "https://example.com/", "title": "t", "raw": ' + b"[" * 40 + b"]" * 40 + b"}",
    ],
)
def test_what_no_store_can_hold_is_refused(part: bytes) -> None:
    """NUL, half of a surrogate pair, numbers without end, nesting without end; what is kept of it can be stored."""
    item = read_item(part, max_depth=32)
    assert isinstance(item, Refused)
    reject = reject_of(part, "s", "me", item, max_depth=32)
    assert len(json.dumps(reject.payload)) < 2_000


def test_a_reject_holds_no_password_and_no_megabyte() -> None:
    given_url = "https://user:hunter2@example.com/"
    part = json.dumps(ITEM | {"url": given_url, "title": "x" * 1_000_000, "raw": {"a": 1}}).encode()
    item = read_item(part, max_depth=32)
    assert isinstance(item, Refused)
    reject = reject_of(part, "s", "me", item, max_depth=32)
    text = f"{item} {reject}"
    assert "hunter2" not in text
    assert len(text) < 3_000


def test_of_the_same_item_the_last_good_one_counts() -> None:
    items = [read(title="first"), read(title="second"), read(title=""), read(externalId="other")]
    assert {"partner-123": 1, "other": 3} == chosen(items)


@pytest.mark.parametrize(
    ("url", "normalised"),
    [
        ("HTTP://EXAMPLE.com", "http://example.com/"),
        ("http://example.com:80/", "http://example.com/"),
        ("https://example.com:443/a", "https://example.com/a"),
        ("https://example.com:8443/a", "https://example.com:8443/a"),
        ("https://example.com:/a", "https://example.com/a"),
        ("https://example.com./a", "https://example.com/a"),
        ("https://example.com/a/./b/../c", "https://example.com/a/c"),
        ("https://example.com/../../etc", "https://example.com/etc"),
        ("https://example.com/a/..", "https://example.com/"),
        ("https://example.com/a#b", "https://example.com/a"),
        ("https://example.com/?q=a%20b&x=1", "https://example.com/?q=a%20b&x=1"),
        ("https://example.com/%7euser/%2f%c3%a9", "https://example.com/~user/%2F%C3%A9"),
        ("https://example.com/é?ü", "https://example.com/%C3%A9?%C3%BC"),
        ("https://example.com/100%", "https://example.com/100%25"),
        ("https://bücher.example/", "https://xn--bcher-kva.example/"),
        ("https://BÜCHER。example/", "https://xn--bcher-kva.example/"),
        (" https://example.com/ ", "https://example.com/"),
        ("https://93.184.216.34/", "https://93.184.216.34/"),
        ("https://0x5db8d822/", "https://93.184.216.34/"),
        ("https://[2606:4700:0:0:0:0:0:1111]/", "https://[2606:4700::1111]/"),
        ('https://example.com/"<script>', "https://example.com/%22%3Cscript%3E"),
    ],
)
def test_a_url_has_one_spelling(url: str, normalised: str) -> None:
    assert normalised == normalised_url(url)
    assert normalised == normalised_url(normalised)


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST.",
        "app.localhost",
        "127.0.0.1",
        "127.0.0.1.",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7F.1",
        "0177.0.0.1",
        "017700000001",
        "127.0.0.1:8080",
        "%31%32%37.0.0.1",
        "\uff11\uff12\uff17.0.0.1",
        "127。0。0。1",
        "ⓛocalhost",
        "10.0.0.1",
        "172.16.5.5",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "0xa9fea9fe",
        "2852039166",
        "168.63.129.16",
        "0.0.0.0",
        "0",
        "255.255.255.255",
        "224.0.0.1",
        "metadata.google.internal",
        "printer.local",
        "db.svc",
        "web.docker",
        "db.service.consul",
        "wiki.intra",
        "laptop.tail1234.ts.net",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[fe80::1]",
        "[fe80::1%25eth0]",
        "[fd00:ec2::254]",
        "[fc00::1]",
        "intranet",
        "metadata",
    ],
)
def test_a_private_host_is_refused_in_every_spelling(host: str) -> None:
    with pytest.raises(UrlError):
        normalised_url(f"http://{host}/latest/meta-data")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "//example.com/",
        "javascript:alert(1)",
        "JavaScript://example.com/%0aalert(1)",
        "data:text/html,<script>",
        "file:///etc/passwd",
        "ftp://example.com/",
        "http:example.com",
        "http:/example.com",
        "http:///example.com",
        "http://",
        "http://user@example.com/",
        "http://user:password@example.com/",
        "http://example.com@127.0.0.1/",
        "http://example.com\\@127.0.0.1/",
        "http:\\\\example.com/",
        "http://exa mple.com/",
        "http://example.com/a\nb",
        "java\tscript:alert(1)",
        "http://example.com:0/",
        "http://example.com:65536/",
        "http://example.com:80:80/",
        "http://example.com:http/",
        "http://1.2.3.4.5/",
        "http://256.1.1.1/",
        "http://0x/",
        "http://[::1/",
        "http://[zz]/",
        "http://-example.com/",
        "http://exa%2fmple.com/",
        "http://exa%00mple.com/",
        "http://exam%ff.com/",
        "http://example..com/",
        "http://" + "a" * 64 + ".com/",
        "http://example.com/" + "a" * 2_000,
        "http://example.com/" + "é" * 500,
    ],
)
def test_what_is_no_url_of_the_web_is_refused(url: str) -> None:
    with pytest.raises(UrlError):
        normalised_url(url)


@given(st.text(max_size=60), st.sampled_from(["", "http://", "https://example.com/", "http://[", "https://a.b:"]))
def test_any_text_is_refused_or_normalised_for_good(text: str, start: str) -> None:
    """Nothing else is raised, and what comes out is plain ASCII that comes out again."""
    try:
        url = normalised_url(start + text)
    except UrlError:
        return
    assert url.isascii()
    assert url == normalised_url(url)
    assert not set(url) & set(' "<>\\^`{|}')
