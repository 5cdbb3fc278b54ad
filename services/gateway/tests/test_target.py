"""The request target: read once, or refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.messages.target import LONGEST_TARGET, TargetTooLong, read
from shared.errors import BadRequest

PLAIN = [
    (b"/", "/"),
    (b"/api/articles", "/api/articles"),
    (b"/api/profiles/j%C3%B6rg", "/api/profiles/jörg"),
    (b"/api/profiles/a%20b", "/api/profiles/a b"),
    (b"/api/profiles/100%25", "/api/profiles/100%"),
    (b"/api/profiles/%252e%252e", "/api/profiles/%2e%2e"),
    (b"/api/articles/a...b", "/api/articles/a...b"),
    (b"/api/articles/..a", "/api/articles/..a"),
    (b"/.well-known/jwks.json", "/.well-known/jwks.json"),
    (b"/api/articles/", "/api/articles/"),
]
AMBIGUOUS = [
    b"",
    b"api",
    b"*",
    b"http://elsewhere/api",
    b"//elsewhere/api",
    b"/api//articles",
    b"/api/../users",
    b"/api/./users",
    b"/api/%2e%2e/users",
    b"/api/.%2E/users",
    b"/api/articles/..",
    b"/api/articles/%2e",
    b"/api/articles/a%2fb",
    b"/api/articles/a%2Fb",
    b"/api/articles/a\\b",
    b"/api/articles/a%5cb",
    b"/api/articles/a%00b",
    b"/api/articles/a%0d%0ab",
    b"/api/articles/a%7f",
    b"/api/articles/%ff",
    b"/api/articles/%c3%28",
    b"/api/articles/%ed%a0%80",
    b"/api/articles/%",
    b"/api/articles/%4",
    b"/api/articles/%zz",
    b"/api/articles/\xc3\xa9",
    b"/api/articles/a b",
    b"/api/articles/a#b",
]


@pytest.mark.parametrize(("raw", "path"), PLAIN)
def test_a_plain_path_is_decoded_once(raw: bytes, path: str) -> None:
    assert read(raw, b"") == path


@pytest.mark.parametrize("raw", AMBIGUOUS)
def test_an_ambiguous_path_is_refused(raw: bytes) -> None:
    with pytest.raises(BadRequest):
        read(raw, b"")


@pytest.mark.parametrize(
    "query", [b"a=%ff", b"a=%00", b"a=\xc3\xa9", b"a=b#c", b"a=b c", b"a=\x01"]
)
def test_a_query_that_can_be_misread_is_refused(query: bytes) -> None:
    with pytest.raises(BadRequest):
        read(b"/api/articles", query)


@pytest.mark.parametrize("query", [b"tag=%C3%A9", b"a=%2e%2e/..//&b[]={}|^`", b"&&=", b"a=%zz"])
def test_any_other_query_travels_on(query: bytes) -> None:
    assert read(b"/api/articles", query) == "/api/articles"


def test_a_target_beyond_the_limit_is_refused() -> None:
    read(b"/" + b"a" * (LONGEST_TARGET - 1), b"")
    with pytest.raises(TargetTooLong):
        read(b"/" + b"a" * (LONGEST_TARGET - 1), b"b")


@given(st.binary(max_size=60))
def test_whatever_is_let_through_has_one_meaning(raw: bytes) -> None:
    try:
        path = read(b"/" + raw, b"")
    except BadRequest:
        return
    assert not any(ord(char) < 32 for char in path)
    segments = path.split("/")[1:]
    assert len(segments) == raw.count(b"/") + 1
    assert not {".", ".."} & set(segments)
    assert "" not in segments[:-1]
