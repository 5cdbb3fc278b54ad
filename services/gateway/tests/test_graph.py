"""GraphQL: what services are asked for a document, and which documents are refused before that."""

import asyncio
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest
from aiohttp import web
from graphql import get_introspection_query

from services.gateway.graph.calls import MUTATIONS, QUERIES
from services.gateway.graph.cost import MOST_ASKS, MOST_VALUES, MOST_WRITTEN
from services.gateway.graph.engine import MOST_TOKENS, Engine, Request
from services.gateway.graph.faults import Refuse
from services.gateway.tests.behind import Behind
from services.gateway.tests.running import Answer, Running
from shared.testing import Signer

RESPONSE = "application/graphql-response+json"
ENGINE = Engine(introspection=True)
STRICT = Engine(introspection=False)
WRITE = "mutation ($input: NewArticle!) { createArticle(input: $input) { slug } }"
PAGE = "articles(limit: 100) { articlesCount articles { slug author { username following } } }"


async def ask(gateway: Running, query: Any, headers: Any = None, **more: Any) -> Answer:
    body = {"query": query} | more if isinstance(query, str) else query
    return await gateway.send("POST", "/graphql", json=body, headers=headers or {})


def refusal(query: str, variables: dict[str, Any] | None = None, engine: Engine = ENGINE) -> str:
    with pytest.raises(Refuse) as refused:
        engine.judged(Request(query=query, variables=variables))
    return str(refused.value)


def says(behind: Behind, **bodies: Any) -> None:
    """Answers by path, with `_` for `/`; profiles are those that are asked for."""

    async def answer(request: web.Request) -> web.StreamResponse:
        await request.read()  # for tests that look at it later
        if request.path == "/api/profiles":
            names = request.query.getall("username")
            profiles = [None if name == "gone" else profile(name) for name in names]
            return web.json_response({"profiles": profiles})
        body = bodies[request.path.removeprefix("/api/").replace("/", "_")]
        if isinstance(body, Refusing):
            return body.response()
        said = {} if request.method == "GET" else {"Quartet-Position": "content=9"}
        return web.json_response(body, headers=said)

    behind.answer = answer


def profile(name: str) -> dict[str, Any]:
    return {"username": name, "bio": f"I am {name}", "image": "", "following": False}


@dataclass
class Refusing:
    """A service that says no, by a problem document."""

    status: int
    title: str
    errors: dict[str, list[str]] = field(default_factory=dict)

    def response(self) -> web.Response:
        body = {"title": self.title, "status": self.status, "detail": "No."}
        body["errors"] = self.errors | {"body": []}
        return web.json_response(body, status=self.status)


async def test_a_hundred_articles_with_their_authors_are_one_question(
    gateway: Running, behind: Behind
) -> None:
    rows = [{"slug": f"s{n}", "author": profile(f"a{n % 7}")} for n in range(100)]
    says(behind, articles={"articles": rows, "articlesCount": 1000})
    reply = await ask(gateway, f"{{ {PAGE} }}")
    assert (reply.status, reply.headers["Content-Type"]) == (200, RESPONSE)
    page = reply.json["data"]["articles"]
    assert page["articlesCount"] == 1000
    assert page["articles"][8] == {"slug": "s8", "author": {"username": "a1", "following": False}}
    assert len(page["articles"]) == 100
    [asked] = behind.requests
    assert asked.raw_path == "/api/articles?limit=100&offset=0"
    assert reply.json["extensions"]["traceId"] == reply.headers["Quartet-Trace"]


async def test_profiles_of_all_rows_and_aliases_are_one_question(
    gateway: Running, behind: Behind, signer: Signer, account: UUID
) -> None:
    actors = ["ada", "bob", "gone", "ada, or not"] * 25
    told = [
        {"id": str(n), "kind": "followed", "actor": {"username": name}, "article": None}
        for n, name in enumerate(actors)
    ]
    says(behind, notifications={"notifications": told, "unreadCount": 9})
    query = """{ notifications(limit: 100) { unreadCount
                   notifications { id actor { username bio } article { slug } } }
                 one: profile(username: "eve") { bio } two: profile(username: "gone") { bio } }"""
    reply = await ask(gateway, query, signer.headers(account))
    data = reply.json["data"]
    assert data["one"] == {"bio": "I am eve"}
    assert data["two"] is None
    rows = data["notifications"]["notifications"]
    assert [row["actor"] and row["actor"]["username"] for row in rows[:4]] == [
        *("ada", "bob", None, "ada, or not")
    ]
    asked = [request.path for request in behind.requests]
    assert asked.count("/api/notifications") == 1
    assert asked.count("/api/profiles") == 2  # what comes later can't be in the first
    names = [n for one in behind.requests for n in one.query.getall("username", [])]
    assert sorted(names) == ["ada", "ada, or not", "bob", "eve", "gone"]


async def test_the_same_question_is_asked_once(gateway: Running, behind: Behind) -> None:
    says(behind, tags={"tags": ["a"]})
    reply = await ask(gateway, "{ tags more: tags }")
    assert reply.json["data"] == {"tags": ["a"], "more": ["a"]}
    assert len(behind.requests) == 1


async def test_a_part_that_fails_is_null_and_the_others_are_there(
    gateway: Running, behind: Behind, signer: Signer, account: UUID
) -> None:
    says(behind, tags={"tags": ["a"]}, articles_feed=Refusing(503, "Service Unavailable"))
    behind_answers = "{ tags feed { articlesCount } }"
    reply = await ask(gateway, behind_answers, signer.headers(account))
    assert (reply.status, reply.json["data"]) == (200, {"tags": ["a"], "feed": None})
    [error] = reply.json["errors"]
    assert (error["path"], error["message"]) == (["feed"], "No.")
    assert error["extensions"] == {
        "code": "SERVICE_UNAVAILABLE",
        "status": 503,
        "traceId": reply.headers["Quartet-Trace"],
    }


async def test_what_needs_a_token_is_not_asked_without(gateway: Running, behind: Behind) -> None:
    says(behind)
    reply = await ask(gateway, "{ viewer { username } feed { articlesCount } }")
    assert reply.json["data"] == {"viewer": None, "feed": None}
    [error] = reply.json["errors"]
    assert error["extensions"]["errors"] == {"token": ["is missing"]}
    assert error["extensions"]["code"] == "UNAUTHORIZED"
    reply = await ask(gateway, 'mutation { follow(username: "ada") { bio } }')
    assert reply.json["errors"][0]["extensions"]["status"] == 401
    assert not behind.requests


async def test_a_write_is_the_routes_write(
    gateway: Running, behind: Behind, signer: Signer, account: UUID
) -> None:
    comment = {"id": 7, "body": "Yes."}
    says(
        behind,
        articles_a_comments={"comment": comment},
        **{"profiles_a b_follow": {"profile": profile("a b")}},
    )
    query = """mutation ($input: NewComment!) {
      createComment(slug: "a", input: $input) { id body }
      again: follow(username: "a b") { username } }"""
    told = signer.headers(account) | {"Idempotency-Key": "once"}
    reply = await ask(gateway, query, told, variables={"input": {"body": "Yes."}})
    assert reply.json["data"] == {
        "createComment": {"id": "7", "body": "Yes."},
        "again": {"username": "a b"},
    }
    first, second = behind.requests
    assert (first.method, first.path, await first.json()) == (
        *("POST", "/api/articles/a/comments"),
        {"comment": {"body": "Yes."}},
    )
    assert (second.raw_path, await second.read()) == ("/api/profiles/a%20b/follow", b"")
    keys = [request.headers["Idempotency-Key"] for request in behind.requests]
    assert keys[0] != keys[1]
    assert second.headers["Quartet-After"] == "content=9"
    assert reply.headers["Quartet-Position"] == "content=9"
    await ask(gateway, query, told, variables={"input": {"body": "Yes."}})
    assert [request.headers["Idempotency-Key"] for request in behind.requests[2:]] == keys


async def test_a_refused_write_names_its_fields(
    gateway: Running, behind: Behind, signer: Signer, account: UUID
) -> None:
    says(behind, articles=Refusing(422, "Unprocessable Content", {"title": ["can't be blank"]}))
    query = (
        """mutation { createArticle(input: {title: "", description: "d", body: "b"}) { slug } }"""
    )
    reply = await ask(gateway, query, signer.headers(account))
    assert (reply.status, reply.json["data"]) == (200, {"createArticle": None})
    said = reply.json["errors"][0]["extensions"]
    assert (said["code"], said["status"]) == ("UNPROCESSABLE_CONTENT", 422)
    assert said["errors"] == {"title": ["can't be blank"]}
    [asked] = behind.requests
    assert await asked.json() == {
        "article": {"title": "", "description": "d", "body": "b", "tagList": []}
    }


async def test_an_argument_can_not_make_another_path(gateway: Running, behind: Behind) -> None:
    says(behind)
    for name in ("..", "a/../../user", ""):
        reply = await ask(
            gateway, "query ($n: String!) { article(slug: $n) { slug } }", variables={"n": name}
        )
        assert reply.json["data"] == {"article": None}
        assert reply.json["errors"][0]["extensions"]["status"] == 400
    assert not behind.requests


async def test_what_nobody_foresaw_says_nothing_of_itself(gateway: Running, behind: Behind) -> None:
    says(behind, tags={"tags": [{"secret": 1}]})
    reply = await ask(gateway, "{ tags }")
    assert reply.json["data"] == {"tags": None}
    assert "secret" not in reply.body.decode()
    assert reply.json["errors"][0]["extensions"]["code"] == "INTERNAL_SERVER_ERROR"


async def test_a_costly_document_is_refused_before_anybody_is_asked(
    gateway: Running, behind: Behind
) -> None:
    bomb = " ".join(f"a{n}: {PAGE}" for n in range(15))
    reply = await ask(gateway, f"{{ {bomb} }}")
    assert (reply.status, reply.headers["Content-Type"]) == (400, RESPONSE)
    assert "data" not in reply.json
    assert "costs" in reply.json["errors"][0]["message"]
    assert reply.json["extensions"]["traceId"] == reply.headers["Quartet-Trace"]
    assert not behind.requests


@pytest.mark.parametrize(
    ("query", "variables", "said"),
    [
        ("{ articles(limit: 10000) { articles { slug } } }", None, "costs"),
        ("query ($n: Int!) { articles(limit: $n) { articles { slug } } }", {"n": 10**4}, "costs"),
        ("query ($n: Int! = 9999) { feed(limit: $n) { articles { slug } } }", None, "costs"),
        (f"{{ {' '.join(f'a{n}: tags' for n in range(MOST_ASKS + 1))} }}", None, "asks"),
        ("{ ...a } fragment a on Query { ...b ...b } fragment b on Query { ...c ...c ...c }"
         " fragment c on Query { one: tags two: tags three: tags four: tags }", None, "asks"),
        (f"{{ {'tags ' * (MOST_WRITTEN + 1)} }}", None, "selects"),
        (f"{{ {'tags ' * MOST_TOKENS} }}", None, "tokens"),
        ("{" + "a{" * 400, None, "nested too deeply"),
        (f"{{ {'... { ' * 12} tags {'} ' * 12} }}", None, "levels deep"),
        ("{ ...a } fragment a on Query { ...a }", None, "itself"),
        ("query a { tags } query b { tags }", None, "name one operation"),
        ("{ __type(name: \"Query\") { fields { type { fields { type { fields { name } } } } } } }",
         None, "introspection depth"),
        ("{ token }", None, "Cannot query"),
        ("{ article(slug: 1) { slug } }", None, "String"),
        (WRITE, {"input": {"tagList": ["a"] * MOST_VALUES}}, "values"),
        (WRITE, {"other": [{"a": [1]} for _ in range(MOST_VALUES // 2)]}, "values"),
        (WRITE, {"input": {"title": 1}}, "String cannot represent"),
        (WRITE, None, "to be provided"),
        ("subscription { tags }", None, ""),
        ("not graphql", None, "Syntax Error"),
    ],
)  # fmt: skip
def test_a_document_is_refused_that_is_not_valid_or_costs_too_much(
    query: str, variables: dict[str, Any] | None, said: str
) -> None:
    assert said in refusal(query, variables)


async def test_a_wrong_variable_is_the_clients_fault_and_told_to_nobody_else(
    gateway: Running, behind: Behind
) -> None:
    login = "mutation ($input: Credentials!) { login(input: $input) { username } }"
    given = {"password": "a secret", **{f"emil{n}": n for n in range(MOST_VALUES // 2)}}
    reply = await ask(gateway, login, variables={"input": given})
    assert reply.status == 400
    assert 1 < len(reply.json["errors"]) < 10, "and not one for each"
    assert "required field 'email'" in reply.json["errors"][0]["message"]
    assert {error["extensions"]["status"] for error in reply.json["errors"]} == {400}
    await gateway.logged(event="request", trace_id=reply.headers["Quartet-Trace"])
    assert "a secret" not in gateway.log.read_text()
    assert not behind.requests


def test_the_schema_tells_of_itself_where_it_may() -> None:
    ENGINE.judged(Request(query=get_introspection_query()))
    assert "introspection" in refusal(get_introspection_query(), engine=STRICT)
    assert "Did you mean" in refusal("{ tag }")
    assert "Did you mean" not in refusal("{ tag }", engine=STRICT)
    draft = {"input": {"title": "", "description": "", "body": "", "tagLst": []}}
    assert "Did you mean" in refusal(WRITE, draft)
    assert "Did you mean" not in refusal(WRITE, draft, engine=STRICT)
    STRICT.judged(Request(query="{ __typename tags }"))


def test_every_field_of_the_roots_has_a_route() -> None:
    for root, calls in (("Query", QUERIES), ("Mutation", MUTATIONS)):
        fields = ENGINE.schema.get_type(root).fields  # type: ignore[union-attr]
        assert set(fields) - {"profile"} == set(calls)
        assert all(field.resolve is not None for field in fields.values())
        assert all(call.route for call in calls.values())


async def test_only_a_json_object_by_post_is_a_request(gateway: Running, behind: Behind) -> None:
    for body, status in (([{"query": "{ tags }"}], 422), ({}, 422), ({"query": 1}, 422)):
        assert (await ask(gateway, body)).status == status
    send = gateway.send
    reply = await send("GET", "/graphql?query={tags}".replace("{", "%7B").replace("}", "%7D"))
    assert (reply.status, reply.headers["Allow"]) == (405, "OPTIONS, POST")
    reply = await send(
        "POST", "/graphql", data="query={tags}", headers={"Content-Type": "text/plain"}
    )
    assert reply.status == 415
    reply = await send("POST", "/graphql", data="{", headers={"Content-Type": "application/json"})
    assert reply.status == 400
    assert not behind.requests


async def test_old_clients_get_the_old_media_type(gateway: Running, behind: Behind) -> None:
    says(behind, tags={"tags": []})
    for accept, expected in (
        ("application/json", "application/json"),
        (f"{RESPONSE}, application/json;q=0.9", RESPONSE),
        ("*/*", RESPONSE),
    ):
        reply = await ask(gateway, "{ tags }", {"Accept": accept})
        assert (reply.status, reply.headers["Content-Type"]) == (200, expected)


async def test_the_time_of_a_document_is_limited(gateway: Running, behind: Behind) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path == "/api/tags":
            return web.json_response({"tags": ["a"]})
        await asyncio.sleep(30)
        return web.json_response({})

    behind.answer = answer
    reply = await ask(gateway, "{ tags articles { articlesCount } }")
    assert reply.json["data"] == {"tags": ["a"], "articles": None}
    assert reply.json["errors"][0]["extensions"]["code"] == "GATEWAY_TIMEOUT"
