"""What the gateway's own operations are, for its part of the suite's document."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta
from werkzeug.routing import Rule

from services.gateway.graph import LONGEST
from services.gateway.vitals import Beacon
from shared import openapi
from shared.errors import Problem
from shared.http import Operation

GRAPHQL = "application/graphql-response+json"


class Home(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Its members are as the services write them. `degraded` names the parts that are null because
    they failed or were late; without a token `viewer` and `unreadCount` are null as well.
    """

    articles: list[dict[str, Any]] | None
    articles_count: int | None
    tags: list[str] | None
    viewer: dict[str, Any] | None
    unread_count: int | None
    degraded: list[str]


class GraphqlRequest(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A document and the values of its variables."""

    # The examples are for the docs page, where a document of one operation needs neither.
    query: Annotated[str, Meta(max_length=LONGEST, examples=["{ tags }"])]
    variables: Annotated[dict[str, Any], Meta(examples=[{}])] | None = None
    operation_name: Annotated[str, Meta(examples=[""])] | None = None


class GraphqlResponse(msgspec.Struct, frozen=True, kw_only=True):
    """What was found, and what was wrong."""

    extensions: dict[str, Any]
    data: dict[str, Any] | None = None
    errors: list[dict[str, Any]] = []


OPERATIONS = (
    (
        Rule("/api/home", methods=["GET"]),
        Operation(
            id="GetHome",
            summary="All that a front page shows, in one reply",
            access="optional",
            tag="Home",
            returns={200: Home},
        ),
    ),
    (
        Rule("/api/vitals", methods=["POST"]),
        Operation(
            id="ReportVitals",
            summary="What a browser measured of a page",
            access="public",
            tag="Operations",
            body=Beacon,
            returns={204: None},
        ),
    ),
    (
        Rule("/graphql", methods=["POST"]),
        Operation(
            id="Graphql",
            summary="Articles, people and notifications in one question",
            access="optional",
            tag="GraphQL",
            body=GraphqlRequest,
            returns={200: GraphqlResponse},
        ),
    ),
    (
        Rule("/api/notifications/stream", methods=["GET"]),
        Operation(
            id="StreamNotifications",
            summary="What happens to the caller, as it happens (Server-Sent Events)",
            access="required",
            tag="Notifications",
            returns={200: str},
        ),
    ),
    (
        Rule("/api/live", methods=["GET"]),
        Operation(
            id="Live",
            summary="The same on a WebSocket",
            access="optional",
            tag="Notifications",
            returns={101: None, 426: Problem},
        ),
    ),
)
_EVENTS = """Never ends by itself. Each event is `id`, `event` and `data`: `ready` once all that was
missed is told, then a `notification` for each, as the inbox lists it; `drain`, `expired` and `slow`
tell of an end and, by `retry`, when to come again. A comment shows now and then that it lives."""
_MESSAGES = """Opened by the handshake of RFC 6455; this document can't say more of it. Each message
is JSON with a `type`: `ready`, `notification`, `ping` and `drain` from here; `ping`, `pong` and
`authenticate` from the client, whose `token` and `after` are for who can't set a header."""
_RESUME = {
    "name": "Last-Event-ID",
    "in": "header",
    "required": False,
    "description": "The last event that was seen: what came after it is told first",
    "schema": {"type": "string"},
}


def described() -> dict[str, Any]:
    """The document, with the media types that are not plain JSON, and what is no plain request."""
    document = openapi.described("gateway", OPERATIONS)
    _tell_of_media_types(document)
    for path, said in (("/api/notifications/stream", _EVENTS), ("/api/live", _MESSAGES)):
        operation = document["paths"][path]["get"]
        operation["description"] = " ".join(said.split())
        operation["parameters"].append(_RESUME)
    return document


def _tell_of_media_types(document: dict[str, Any]) -> None:
    stream = document["paths"]["/api/notifications/stream"]["get"]["responses"]["200"]
    stream["content"] = {"text/event-stream": stream["content"]["application/json"]}
    beacon = document["paths"]["/api/vitals"]["post"]["requestBody"]["content"]
    beacon["text/plain"] = beacon["application/json"]
    replies = document["paths"]["/graphql"]["post"]["responses"]
    either = replies["200"]["content"]
    either[GRAPHQL] = either["application/json"]
    replies["400"]["content"] |= either
