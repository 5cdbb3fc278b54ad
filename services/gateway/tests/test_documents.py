"""The merged document: what of each part goes in, and what when a part is away."""

from typing import Any

import msgspec
from aiohttp import web
from openapi_spec_validator import OpenAPIV31SpecValidator

from services.gateway.documents import Part, merge
from services.gateway.operations import described
from services.gateway.routes import ROUTES
from services.gateway.table import Table
from services.gateway.tests.behind import Behind
from services.gateway.tests.running import Running
from shared.testing import until

TABLE = Table(ROUTES)
OBJECT = {"type": "object"}


def reading(reference: str) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{reference}"}
    content = {"application/json": {"schema": schema}}
    return {"tags": ["T"], "responses": {"200": {"description": "OK", "content": content}}}


def part(path: str, reference: str, **schemas: Any) -> Part:
    item = {"get": reading(reference), "trace": {}}
    return Part({path: item, "/internal": item}, {"schemas": schemas})


def test_equal_components_are_one_and_different_ones_are_told_apart() -> None:
    page = {"type": "object", "properties": {"item": {"$ref": "#/components/schemas/Item"}}}
    parts = {
        "users": part("/api/user", "Page", Page=page, Item=OBJECT, Same=OBJECT),
        "content": part("/api/tags", "Page", Page=page, Item={"type": "string"}, Same=OBJECT),
    }
    merged = merge(parts, TABLE)
    schemas = merged["components"]["schemas"]
    assert set(schemas) == {"Problem", "Page", "Item", "Same", "ContentPage", "ContentItem"}
    assert schemas["ContentItem"] == {"type": "string"}
    assert schemas["ContentPage"]["properties"]["item"] == {
        "$ref": "#/components/schemas/ContentItem"
    }
    said = merged["paths"]["/api/tags"]["get"]["responses"]["200"]["content"]
    assert said["application/json"]["schema"] == {"$ref": "#/components/schemas/ContentPage"}
    OpenAPIV31SpecValidator(merged).validate()


def test_only_what_the_table_lets_through_is_named() -> None:
    merged = merge({"users": part("/api/user", "Item", Item=OBJECT)}, TABLE)
    assert list(merged["paths"]) == ["/api/user"]
    assert list(merged["paths"]["/api/user"]) == ["get"]
    said = set(merged["paths"]["/api/user"]["get"]["responses"])
    assert said == {"200", "429", "502", "503", "504"}
    assert merged["servers"] == [{"url": "/"}]
    assert merged["tags"] == [{"name": "T"}]
    assert "x-unavailable" not in merged


def test_a_part_that_was_never_seen_is_named() -> None:
    merged = merge({"users": part("/api/user", "A", A=OBJECT), "content": None}, TABLE)
    assert merged["x-unavailable"] == ["content"]
    OpenAPIV31SpecValidator(merged).validate()


def test_what_the_gateway_answers_itself_is_named() -> None:
    merged = merge({"gateway": msgspec.convert(described(), Part)}, TABLE)
    named = {(method.upper(), path) for path, item in merged["paths"].items() for method in item}
    assert named == {(one.method, one.path) for one in ROUTES if one.upstream == "gateway"}
    OpenAPIV31SpecValidator(merged).validate()


def test_a_stream_and_a_websocket_are_told_as_such() -> None:
    paths = described()["paths"]
    stream, live = paths["/api/notifications/stream"]["get"], paths["/api/live"]["get"]
    assert set(stream["responses"]["200"]["content"]) == {"text/event-stream"}
    assert {"101", "426"} <= set(live["responses"])
    for one in (stream, live):
        assert [(field["name"], field["in"]) for field in one["parameters"]] == [
            ("Last-Event-ID", "header")
        ]


async def test_the_document_is_what_the_services_say(gateway: Running, behind: Behind) -> None:
    document = {
        "openapi": "3.1.0",
        "info": {"title": "t", "version": "1"},
        "paths": {"/api/tags": {"get": reading("Tags")}},
        "components": {"schemas": {"Tags": OBJECT}},
    }
    up = True

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.json_response(document) if up else web.Response(status=500, text="no")

    async def complete() -> bool:
        reply = await gateway.send("GET", "/openapi.json")
        assert reply.status == 200
        OpenAPIV31SpecValidator(reply.json).validate()
        return "/api/tags" in reply.json["paths"]

    behind.document = answer
    await until(complete, what="the document")
    up = False
    assert await complete()


async def test_a_service_that_says_nonsense_is_left_out(gateway: Running, behind: Behind) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(text='{"paths": 1}')

    behind.document = answer
    assert (await gateway.send("GET", "/openapi.json")).status == 200
