"""What clients send is read, or refused with the field and the fault."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import AppError, BadRequest, Invalid
from shared.http import check_target, decode, query, reply, timestamp
from shared.tests.probe import Inner, Outer, Page, create_probe

GOOD = b'{"inner": {"name": "n"}}'


def faults(data: bytes) -> Any:
    with pytest.raises(Invalid) as raised:
        decode(data, Outer)
    return raised.value.errors


def test_a_body_becomes_a_struct_and_unknown_fields_are_ignored() -> None:
    data = b'{"inner": {"name": "n", "fullName": "N N", "age": 3, "id": 7}, "more": []}'
    assert decode(data, Outer) == Outer(inner=Inner(name="n", full_name="N N", age=3))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"{}", {"inner": ["can't be blank"]}),
        (b'{"inner": null}', {"inner": ["can't be blank"]}),
        (b'{"inner": 5}', {"inner": ["must be of type object"]}),
        (b'{"inner": {}}', {"name": ["can't be blank"]}),
        (b'{"inner": {"name": null}}', {"name": ["can't be blank"]}),
        (b'{"inner": {"name": ""}}', {"name": ["can't be blank"]}),
        (b'{"inner": {"name": "  "}}', {"name": ["can't be blank"]}),
        (b'{"inner": {"name": 5}}', {"name": ["must be of type str"]}),
        (b'{"inner": {"name": "123456789"}}', {"name": ["is too long (maximum is 8 characters)"]}),
        (
            b'{"inner": {"name": "n", "fullName": "N"}}',
            {"fullName": ["is too short (minimum is 3 characters)"]},
        ),
        (
            b'{"inner": {"name": "n", "age": -1}}',
            {"age": ["must be greater than or equal to 0"]},
        ),
        (b'{"inner": {"name": "n", "age": 151}}', {"age": ["must be less than or equal to 150"]}),
        (
            b'{"inner": {"name": "", "age": "x"}}',
            {"name": ["can't be blank"], "age": ["must be of type int"]},
        ),
        (b'{"inner": {"name": "n", "tags": [""]}}', {"tags": ["can't be blank"]}),
        (b"[]", {"body": ["must be an object"]}),
        (b"null", {"body": ["must be an object"]}),
        (b'"text"', {"body": ["must be an object"]}),
    ],
)
def test_every_field_that_does_not_fit_is_named(data: bytes, expected: Any) -> None:
    assert faults(data) == expected


@pytest.mark.parametrize("number", [2**63, 2**64, -(2**63) - 1, 10**400])
def test_a_number_beyond_64_bits_is_refused(number: int) -> None:
    with pytest.raises(AppError) as raised:
        decode(b'{"inner": {"name": "n", "age": %d}}' % number, Outer)
    assert raised.value.status in (400, 422)


@pytest.mark.parametrize("text", [r"a\u0000b", r"\u0000"])
def test_what_cannot_be_stored_is_named(text: str) -> None:
    unstorable = ["holds a NUL character or a lone surrogate"]
    assert faults(b'{"inner": {"name": "%s"}}' % text.encode()) == {"name": unstorable}
    hidden = b'{"inner": {"name": "n", "unknown": {"%s": 1}}}' % text.encode()
    assert unstorable in faults(hidden).values()


@pytest.mark.parametrize("text", [r"\ud800", r"\udfff", r"x\udbff", r"\ud83d\u0041"])
def test_a_lone_surrogate_is_refused(text: str) -> None:
    error = refusal(b'{"inner": {"name": "%s"}}' % text.encode())
    assert error is not None
    assert error.errors


def test_a_pair_of_surrogates_is_a_character() -> None:
    assert decode(rb'{"inner": {"name": "\ud83d\ude00"}}', Outer).inner.name == "😀"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" ",
        b"{",
        b"nul",
        GOOD + b"x",
        b"\xff\xfe",
        b'{"inner": {"name": "\xff"}}',
        b'{"inner": {"name": "\x00"}}',
        b'{"inner": {"name": "\xed\xa0\x80"}}',
        b'{"inner": 5, "rest": ',
        b'{"inner": 5, "rest": ' + b"[" * 100_000,
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"inner": {"name": "n"}, "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b"{'inner': 1}",
        b"NaN",
        b'{"inner": {"name": "n", "age": 1e999}}',
    ],
    ids=range(17),
)
def test_what_is_no_json_is_a_bad_request(data: bytes) -> None:
    with pytest.raises(BadRequest) as raised:
        decode(data, Outer)
    assert raised.value.status == 400


def refusal(data: bytes) -> AppError | None:
    """Why the body is refused, if it is; any other error is a fault of ours."""
    try:
        decode(data, Outer)
    except AppError as error:
        return error
    return None


spoiled = st.builds(
    lambda start, middle, end: GOOD[:start] + middle + GOOD[end:],
    st.integers(0, len(GOOD)),
    st.binary(max_size=6),
    st.integers(0, len(GOOD)),
)


@given(st.binary() | spoiled)
def test_no_bytes_are_more_than_refused(data: bytes) -> None:
    error = refusal(data)
    assert error is None or error.status in (400, 422)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("inner", max_size=5), inner),
    max_leaves=20,
)


@given(json_values)
def test_json_that_does_not_fit_names_a_fault(value: Any) -> None:
    error = refusal(json.dumps(value).encode())
    assert error is not None
    assert error.status in (400, 422)
    assert error.errors


async def parsed(query_string: str) -> Page:
    async with create_probe("file:///none").test_request_context(f"/api/page?{query_string}"):
        return query(Page)


async def test_a_query_becomes_a_struct_and_unknown_parameters_are_ignored() -> None:
    assert await parsed("limit=7&more=1") == Page(limit=7)
    assert await parsed("") == Page()
    assert await parsed("limit=7&limit=8") == Page(limit=7)


@pytest.mark.parametrize(
    ("query_string", "field"),
    [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=x", "limit"),
        ("limit=", "limit"),
        ("limit=%F0%9F%98%80", "limit"),
        (f"limit={2**64}", "limit"),
        ("limit=" + "9" * 10_000, "limit"),
        ("before=x", "before"),
    ],
)
async def test_a_query_that_does_not_fit_names_the_parameter(query_string: str, field: str) -> None:
    with pytest.raises(Invalid) as raised:
        await parsed(query_string)
    assert list(raised.value.errors) == [field]


@pytest.mark.parametrize(
    ("path", "query_string"),
    [
        (b"/%ff", b""),
        (b"/\xff", b""),
        (b"/%00", b""),
        (b"/a\0", b""),
        (b"/%ed%a0%80", b""),
        (b"/%c0%af", b""),
        (b"/", b"a=%ff"),
        (b"/", b"%00=1"),
    ],
)
def test_a_target_that_is_no_text_is_a_bad_request(path: bytes, query_string: bytes) -> None:
    with pytest.raises(BadRequest):
        check_target(path, query_string)


@pytest.mark.parametrize("path", [b"", b"/", b"/a%20b", b"/%F0%9F%98%80", b"/%", b"/%zz", b"/+"])
def test_other_targets_pass(path: bytes) -> None:
    check_target(path, path)


def test_moments_are_told_in_utc_with_milliseconds() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 678_999, tzinfo=UTC)
    assert timestamp(moment) == "2026-01-02T03:04:05.678Z"
    east = timezone(timedelta(hours=5, minutes=30))
    assert timestamp(moment.astimezone(east)) == "2026-01-02T03:04:05.678Z"
    assert timestamp(datetime(2026, 1, 2, tzinfo=UTC)) == "2026-01-02T00:00:00.000Z"


async def test_a_reply_is_json_and_an_empty_one_has_no_type() -> None:
    full = reply({"a": 1}, 201, X_Name="value")
    assert (full.status_code, await full.get_data()) == (201, b'{"a":1}')
    assert full.headers["Content-Type"] == "application/json"
    assert full.headers["X-Name"] == "value"
    empty = reply(status=204)
    assert (empty.status_code, await empty.get_data()) == (204, b"")
    assert "Content-Type" not in empty.headers
