"""What the gateway's own operations are, for its part of the suite's document."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta
from werkzeug.routing import Rule

from services.gateway.graph import LONGEST
from services.gateway.vitals import Beacon
from shared import openapi
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
)


def described() -> dict[str, Any]:
    """The document, with the media types that are not plain JSON."""
    document = openapi.described("gateway", OPERATIONS)
    beacon = document["paths"]["/api/vitals"]["post"]["requestBody"]["content"]
    beacon["text/plain"] = beacon["application/json"]
    replies = document["paths"]["/graphql"]["post"]["responses"]
    either = replies["200"]["content"]
    either[GRAPHQL] = either["application/json"]
    replies["400"]["content"] |= either
    return document
