"""A tiny service with a route of every kind."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta
from quart import Quart, Response, current_app

from shared.auth import caller, use_verifier, viewer
from shared.errors import Conflict, Unavailable
from shared.http import Timestamp, body, operation, query, reply
from shared.service import create_service
from shared.settings import ServiceSettings

Name = Annotated[str, Meta(min_length=1, max_length=8, pattern=r"\S")]


class Inner(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a request carries."""

    name: Name
    full_name: Annotated[str, Meta(min_length=3)] = "none"
    age: Annotated[int, Meta(ge=0, le=150)] = 0
    tags: list[Name] = []


class Outer(msgspec.Struct, frozen=True, kw_only=True):
    """What wraps it."""

    inner: Inner


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """A page."""

    limit: Annotated[int, Meta(ge=1, le=100)] = 20
    before: UUID | None = None


class Seen(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What the service saw."""

    account: UUID | None = None
    at: Timestamp | None = None
    inner: Inner | None = None


def create_probe(jwks_url: str) -> Quart:
    """The service, on no resource but keys."""
    app = create_service("probe", ServiceSettings(env="test", body_limit=1000))
    use_verifier(app, jwks_url)
    app.add_url_rule("/api/public", "public", public)
    app.add_url_rule("/api/optional", "optional", optional)
    app.add_url_rule("/api/required", "required", required)
    app.add_url_rule("/api/echo", "echo", echo, methods=["POST"])
    app.add_url_rule("/api/page", "page", page)
    app.add_url_rule("/api/items/<int:number>", "item", item)
    app.add_url_rule("/api/named/<name>", "named", named, methods=["DELETE"])
    app.add_url_rule("/api/crash", "crash", crash)
    app.add_url_rule("/api/busy", "busy", busy)
    app.add_url_rule("/api/conflict", "conflict", conflict)
    app.add_url_rule("/api/slow", "slow", slow)
    app.add_url_rule("/api/endless", "endless", endless)
    app.add_url_rule("/api/begun", "begun", begun)
    return app


@operation("Public", "For anybody", access="public", tag="Probe", returns={200: Seen})
async def public() -> Response:
    return reply(Seen())


@operation("Optional", "For anybody", access="optional", tag="Probe", returns={200: Seen})
async def optional() -> Response:
    found = viewer()
    return reply(Seen(account=None if found is None else found.id))


@operation("Required", "For accounts", access="required", tag="Probe", returns={200: Seen})
async def required() -> Response:
    return reply(Seen(account=caller().id))


@operation("Echo", "Say it", access="public", tag="Probe", body=Outer, returns={201: Seen})
async def echo() -> Response:
    return reply(Seen(inner=(await body(Outer)).inner), 201)


@operation("Page", "Turn it", access="public", tag="Probe", query=Page, returns={200: Page})
async def page() -> Response:
    return reply(query(Page))


@operation("Item", "Find it", access="required", tag="Probe", returns={200: Seen})
async def item(number: int) -> Response:
    return reply(Seen())


@operation("Named", "Name it", access="public", tag="Probe", returns={204: None})
async def named(name: str) -> Response:
    return reply(status=204)


@operation("Crash", "Fail", access="public", tag="Probe", returns={200: None})
async def crash() -> Response:
    raise RuntimeError("the secret is 42")


@operation("Busy", "Wait", access="public", tag="Probe", returns={200: None})
async def busy() -> Response:
    raise Unavailable("Nobody is here.", retry_after=7)


@operation("Conflict", "Collide", access="public", tag="Probe", returns={200: None})
async def conflict() -> Response:
    raise Conflict("Taken.", errors={"name": ["has already been taken"]})


@operation("Slow", "Take half a second", access="public", tag="Probe", returns={200: None})
async def slow() -> Response:
    async def words() -> AsyncIterator[str]:
        yield "begun "
        await asyncio.sleep(0.5)
        yield "ended"

    return Response(words())


@operation("Endless", "Take for ever", access="public", tag="Probe", returns={200: None})
async def endless() -> Response:
    current_app.extensions["begun"] = True
    await asyncio.Event().wait()
    return reply()


@operation("Begun", "The endless one has begun", access="public", tag="Probe", returns={200: None})
async def begun() -> Response:
    return reply("begun" in current_app.extensions)
