"""The table: what it finds, and which entries it refuses."""

from typing import Any

import pytest

from services.gateway.routes import ROUTES
from services.gateway.table import Route, Table, WrongTable, allowed

TABLE = Table(ROUTES)


@pytest.mark.parametrize(
    ("method", "path", "template"),
    [
        ("GET", "/api/articles", "/api/articles"),
        ("GET", "/api/articles/feed", "/api/articles/feed"),
        ("DELETE", "/api/articles/feed", "/api/articles/{slug}"),
        ("GET", "/api/articles/how-to", "/api/articles/{slug}"),
        ("POST", "/api/articles/feed/comments", "/api/articles/{slug}/comments"),
        ("DELETE", "/api/articles/feed/comments/1", "/api/articles/{slug}/comments/{id}"),
        ("PUT", "/api/notifications/read", "/api/notifications/read"),
        ("PUT", "/api/notifications/read/read", "/api/notifications/{id}/read"),
        ("GET", "/.well-known/jwks.json", "/.well-known/jwks.json"),
    ],
)
def test_a_path_leads_to_its_most_literal_route(method: str, path: str, template: str) -> None:
    assert TABLE.find(path)[method].path == template


@pytest.mark.parametrize(
    "path",
    ["", "/", "/api", "/api/", "/api/articles/", "/api/articles/a/b", "/API/articles", "/metrics"],
)
def test_other_paths_lead_nowhere(path: str) -> None:
    assert not TABLE.find(path)


@pytest.mark.parametrize(
    ("entry", "fault"),
    [
        (("FETCH", "/api/x", "users", "public"), "no such method"),
        (("GET", "api/x", "users", "public"), "not a path"),
        (("GET", "/api/{x", "users", "public"), "not a path"),
        (("GET", "/api/x/", "users", "public"), "not a path"),
        (("GET", "/api/x", "billing", "public"), "no such upstream: billing"),
        (("GET", "/api/x", "users", "open"), "no such access: open"),
        (("GET", "/api/x", "users", "public", -1.0), "timeout"),
        (("GET", "/api/tags", "users", "public"), "is there twice"),
    ],
)
def test_a_wrong_entry_is_refused_by_its_line_and_name(entry: tuple[Any, ...], fault: str) -> None:
    tags = Route("GET", "/api/tags", "content", "public")
    wrong = Route(*entry)
    line = int(tags.place.removeprefix("test_table.py:")) + 1
    with pytest.raises(WrongTable, match=rf"^test_table.py:{line}: route {entry[0]} .*: .*{fault}"):
        Table([tags, wrong])


def test_all_wrong_entries_are_named_at_once() -> None:
    wrong: Any = "nobody"
    with pytest.raises(WrongTable, match=r"route GET /a: .*; .*: route GET /b: "):
        Table([Route("GET", "/a", wrong, "public"), Route("GET", "/b", wrong, "public")])


def test_another_table_takes_its_place_whole_or_not_at_all() -> None:
    table = Table([Route("GET", "/a", "users", "public")])
    wrong: Any = "nobody"
    with pytest.raises(WrongTable):
        table.replace([Route("GET", "/b", "users", "public"), Route("GET", "/c", wrong, "public")])
    assert (bool(table.find("/a")), bool(table.find("/b"))) == (True, False)
    table.replace([Route("GET", "/b", "users", "public")])
    assert (bool(table.find("/a")), bool(table.find("/b"))) == (False, True)


def test_head_goes_where_get_goes() -> None:
    assert allowed(["GET", "POST"]) == "GET, HEAD, OPTIONS, POST"
    assert allowed(["DELETE"]) == "DELETE, OPTIONS"
