"""The document says what the routes declare, and is valid OpenAPI 3.1."""

from typing import Any

import msgspec
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from shared.openapi import document
from shared.tests.probe import create_probe


@pytest.fixture(scope="module")
def described() -> Any:
    return msgspec.json.decode(msgspec.json.encode(document(create_probe("file:///none"))))


def test_the_document_is_valid(described: Any) -> None:
    OpenAPIV31SpecValidator(described).validate()


def test_only_the_public_routes_are_described(described: Any) -> None:
    assert set(described["paths"]) == {
        "/api/public",
        "/api/optional",
        "/api/required",
        "/api/echo",
        "/api/page",
        "/api/items/{number}",
        "/api/named/{name}",
        "/api/crash",
        "/api/busy",
        "/api/conflict",
        "/api/slow",
        "/api/begun",
        "/api/endless",
    }
    assert set(described["paths"]["/api/named/{name}"]) == {"delete"}


@pytest.mark.parametrize(
    ("path", "security"),
    [
        ("/api/public", None),
        ("/api/optional", [{}, {"Token": []}]),
        ("/api/required", [{"Token": []}]),
    ],
)
def test_access_is_described(described: Any, path: str, security: Any) -> None:
    assert described["paths"][path]["get"].get("security") == security


def test_refusals_are_described_as_problems(described: Any) -> None:
    replies = described["paths"]["/api/items/{number}"]["get"]["responses"]
    assert set(replies) == {"200", "400", "401", "403", "404", "422", "503"}
    problem = replies["404"]["content"]["application/problem+json"]["schema"]
    assert problem == {"$ref": "#/components/schemas/Problem"}
    assert {"413", "415"} <= set(described["paths"]["/api/echo"]["post"]["responses"])


def test_parameters_carry_their_bounds(described: Any) -> None:
    (number,) = described["paths"]["/api/items/{number}"]["get"]["parameters"]
    assert (number["in"], number["required"]) == ("path", True)
    assert number["schema"]["type"] == "integer"
    by_name = {p["name"]: p for p in described["paths"]["/api/page"]["get"]["parameters"]}
    assert by_name["limit"]["schema"] | {"default": 20} == by_name["limit"]["schema"]
    assert by_name["limit"]["schema"]["minimum"] == 1
    assert by_name["limit"]["schema"]["maximum"] == 100
    assert not by_name["before"]["required"]


def test_an_empty_reply_has_no_content(described: Any) -> None:
    assert "content" not in described["paths"]["/api/named/{name}"]["delete"]["responses"]["204"]


def test_a_body_is_described_with_its_nested_types(described: Any) -> None:
    body = described["paths"]["/api/echo"]["post"]["requestBody"]
    assert body["required"] is True
    schema = body["content"]["application/json"]["schema"]
    assert schema == {"$ref": "#/components/schemas/Outer"}
    assert "fullName" in described["components"]["schemas"]["Inner"]["properties"]
