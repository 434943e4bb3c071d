"""What is let through of JSON text, against a plain reading of it; and how a wrong field is named."""

import json
from collections.abc import Callable
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ingestion_pipeline.intake.bodies import decode, field_error, read_anyhow, require_storable
from ingestion_pipeline.intake.problems import FieldError, Problem

DEPTH = 6
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=25,
)


def depth(value: Any) -> int:
    """How deep a value nests; a scalar does not."""
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


def is_storable(value: Any) -> bool:
    if isinstance(value, str):
        return "\0" not in value and not any(0xD800 <= ord(c) < 0xE000 for c in value)
    if isinstance(value, dict):
        return all(map(is_storable, [*value, *value.values()]))
    return all(map(is_storable, value)) if isinstance(value, list) else True


def refusal(action: Callable[[], object]) -> Problem | None:
    """What `action` is refused with; None if it ends well."""
    try:
        action()
    except Problem as problem:
        return problem
    return None


def status_of(action: Callable[[], object]) -> int | None:
    problem = refusal(action)
    return problem and problem.status


@given(json_values, st.booleans(), st.sampled_from([None, 1]))
@example([[[[[["[[[["]]]]]], True, None)
@example([[[[[[[]]]]]]], True, None)
@example({"\\": {'"': {"\\\\": {'\\"[': {"]": {"{": 1}}}}}}, True, None)
@example(["\\u0000", "\\\\u0000"], True, None)
@example(["\0"], True, None)
@example(["\ud800\udc00 \udc00"], True, None)
@example(["[\\"] * 40, True, None)
def test_exactly_what_is_shallow_and_storable_passes(value: Any, ascii_only: object, indent: int | None) -> None:
    """However it is written: escaped or not, with spaces or without."""
    try:
        text = json.dumps(value, ensure_ascii=bool(ascii_only), indent=indent).encode()
    except UnicodeEncodeError:
        return
    expected = None if depth(value) <= DEPTH and is_storable(value) else 422
    assert expected == status_of(lambda: require_storable(text, max_depth=DEPTH)), text


@given(st.binary(max_size=300) | st.text(alphabet='[]{}",:\\u0de1 ', max_size=300).map(str.encode))
def test_no_bytes_break_it(body: bytes) -> None:
    """Refused or let through to the decoder, never another error."""
    assert status_of(lambda: require_storable(body, max_depth=DEPTH)) in (None, 400, 422)
    assert status_of(lambda: decode(body, msgspec.json.Decoder(dict[str, int]))) in (None, 400, 422)


@given(json_values, st.integers(min_value=0, max_value=200))
def test_text_that_breaks_off_is_malformed_not_deep(value: Any, length: int) -> None:
    """A batch that was cut has many open brackets in all, and few at any place."""
    text = (b"[" + json.dumps([value] * 20).encode())[: length + 1]
    problem = refusal(lambda: require_storable(text, max_depth=40))
    assert problem is None or "too-deep" != problem.kind


@pytest.mark.parametrize("number", ["1e309", "-1E+400", "1.5e0999", "9" * 400, "-" + "1" * 400 + ".5"])
def test_numbers_beyond_a_double_are_refused(number: str) -> None:
    with pytest.raises(Problem, match="beyond the range"):
        require_storable(f'{{"a": [{number}]}}'.encode(), max_depth=9)


@pytest.mark.parametrize("number", ["1.7e308", "1e-400", "0e999", "1E0000000001", "9" * 290, '"1e999"', '"9e12"'])
def test_numbers_that_a_double_can_hold_are_not(number: str) -> None:
    require_storable(f'{{"a": [{number}]}}'.encode(), max_depth=9)


class Item(msgspec.Struct, forbid_unknown_fields=True):
    ts: str
    count: Annotated[int, msgspec.Meta(ge=0)] = 0


class Batch(msgspec.Struct, forbid_unknown_fields=True):
    items: Annotated[list[Item], msgspec.Meta(max_length=2)]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("{}", FieldError("items", "a value", "nothing")),
        ('{"items": 1}', FieldError("items", "array", "int")),
        ('{"items": [{"ts": 1}]}', FieldError("items[0].ts", "str", "int")),
        ('{"items": [{"ts": ""}, {}]}', FieldError("items[1].ts", "a value", "nothing")),
        ('{"items": [{"ts": "", "to": 1}]}', FieldError("items[0].to", "no such field", None)),
        ('{"items": [{"ts": "", "count": -1}]}', FieldError("items[0].count", "int >= 0", None)),
        ('{"items": [{"ts": ""}, {"ts": ""}, {"ts": ""}]}', FieldError("items", "array of length <= 2", None)),
        ("7", FieldError("body", "object", "int")),
    ],
)
def test_a_value_that_does_not_fit_is_named_with_its_place(body: str, expected: FieldError) -> None:
    with pytest.raises(Problem) as refusal:
        decode(body.encode(), msgspec.json.Decoder(Batch))
    assert (422, [expected]) == (refusal.value.status, list(refusal.value.errors))


def test_a_message_of_another_kind_is_passed_on() -> None:
    assert FieldError("a[0]", "Invalid enum value 'x'") == field_error("Invalid enum value 'x' - at `$.a[0]`")


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (b'{"a": "\\u0000\\ud800"}', {"a": "\0\ud800"}),
        ("[1e999]", [float("inf")]),
        (b"[" * 20 + b"]" * 20, json.loads("[" * 20 + "]" * 20)),
        (b"null", None),
        (b"{", None),
        (b"\xff", None),
        (b"9" * 5_000, None),
        (b"[" * 100_000, None),
    ],
)
def test_what_is_refused_is_read_as_far_as_it_can_be(text: bytes | str, read: Any) -> None:
    """Also what no store can hold; what even Python cannot read is nothing."""
    assert read == read_anyhow(text)
