"""The fields that ask a service, each by its call; all others are members of what one said."""

from typing import Any, TypeAlias

from graphql import GraphQLFieldResolver, GraphQLObjectType, GraphQLResolveInfo, GraphQLSchema

from services.gateway.graph.calls import COMMENTS, MUTATIONS, QUERIES, Call
from services.gateway.graph.visit import Visit

Info: TypeAlias = GraphQLResolveInfo[Visit]


def resolve_fields(schema: GraphQLSchema) -> None:
    """Give each field that asks a service its resolver."""
    for name, call in QUERIES.items():
        _field(schema, "Query", name, _reads(call))
    for name, call in MUTATIONS.items():
        _field(schema, "Mutation", name, _writes(call))
    _field(schema, "Query", "profile", _profile)
    _field(schema, "Article", "comments", _comments)
    _field(schema, "Notification", "actor", _actor)


def _field(schema: GraphQLSchema, type_: str, name: str, resolve: GraphQLFieldResolver) -> None:
    found = schema.get_type(type_)
    assert isinstance(found, GraphQLObjectType)
    found.fields[name].resolve = resolve


def _reads(call: Call) -> GraphQLFieldResolver:
    async def resolve(_: None, info: Info, **arguments: Any) -> Any:
        return await info.context.read(call, arguments)

    return resolve


def _writes(call: Call) -> GraphQLFieldResolver:
    async def resolve(_: None, info: Info, **arguments: Any) -> Any:
        return await info.context.write(call, arguments, str(info.path.key))

    return resolve


async def _profile(_: None, info: Info, username: str) -> Any:
    return await info.context.profiles.load(username)


async def _comments(article: Any, info: Info, **arguments: Any) -> Any:
    return await info.context.read(COMMENTS, {"slug": article["slug"], **arguments})


async def _actor(notification: Any, info: Info) -> Any:
    return await info.context.profiles.load(notification["actor"]["username"])


# One question for all rows and aliases together.
BATCHED = frozenset({_profile, _actor})
