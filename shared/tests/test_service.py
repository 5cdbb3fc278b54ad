"""Every service refuses, fails, reports and describes itself in one way."""

import json
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
import structlog
from quart import Blueprint, Quart, Response

from shared.errors import PROBLEM_TYPE
from shared.http import operation, reply
from shared.service import create_service, undeclared
from shared.settings import ServiceSettings
from shared.testing import Signer, serving, until
from shared.tests.probe import create_probe


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return Signer(tmp_path_factory.mktemp("keys"))


@pytest.fixture
async def app(signer: Signer) -> AsyncIterator[Quart]:
    app = create_probe(signer.jwks_url)
    async with serving(app):
        yield app


@pytest.fixture
def client(app: Quart) -> Any:
    return app.test_client()


async def problem(response: Any, status: int) -> Any:
    """The problem document that it has to be."""
    assert response.status_code == status
    assert response.headers["Content-Type"] == PROBLEM_TYPE
    assert response.headers["Cache-Control"] == "no-store"
    document = await response.get_json()
    assert document["status"] == status
    assert document["trace_id"] == response.headers["Quartet-Trace"]
    return document


async def test_a_required_caller_is_told_what_is_missing(client: Any) -> None:
    response = await client.get("/api/required")
    document = await problem(response, 401)
    assert document["errors"]["token"] == ["is missing"]
    assert response.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("path", ["/api/required", "/api/optional"])
@pytest.mark.parametrize("header", ["Token wrong", "Basic abc", "Bearer a.b.c", "x"])
async def test_a_wrong_token_is_refused_wherever_one_is_read(
    client: Any, path: str, header: str
) -> None:
    response = await client.get(path, headers={"Authorization": header})
    assert (await problem(response, 401))["errors"]["token"] == ["is invalid"]


@pytest.mark.parametrize("path", ["/api/required", "/api/optional"])
@pytest.mark.parametrize("scheme", ["Token", "Bearer", "bearer"])
async def test_a_valid_token_names_the_caller(
    client: Any, signer: Signer, path: str, scheme: str
) -> None:
    account = uuid4()
    headers = {"Authorization": f"{scheme} {signer.token(account)}"}
    response = await client.get(path, headers=headers)
    assert (await response.get_json())["account"] == str(account)


async def test_an_optional_caller_may_be_nobody(client: Any) -> None:
    assert (await (await client.get("/api/optional")).get_json())["account"] is None


async def test_a_public_route_reads_no_token(client: Any) -> None:
    response = await client.get("/api/public", headers={"Authorization": "Token wrong"})
    assert response.status_code == 200


async def test_an_unknown_path_is_404(client: Any) -> None:
    await problem(await client.get("/api/nothing"), 404)


async def test_a_wrong_method_is_405_and_says_which_are_right(client: Any) -> None:
    response = await client.post("/api/public")
    await problem(response, 405)
    assert response.headers["Allow"] == "GET, HEAD, OPTIONS"


async def test_a_route_says_which_methods_it_has(client: Any) -> None:
    response = await client.options("/api/public")
    assert response.status_code == 200
    assert set(response.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}


async def test_hooks_of_a_blueprint_run_for_its_routes_alone() -> None:
    app, ran = create_probe("file:///nowhere"), Counter[str]()
    inner, outer = Blueprint("inner", __name__), Blueprint("outer", __name__)

    @inner.get("/api/inner")
    @operation("Inner", "Inner", access="public", tag="Probe", returns={204: None})
    async def view() -> Response:
        return reply(status=204)

    async def after(response: Response) -> Response:
        ran["after"] += 1
        return response

    outer.before_request(lambda: ran.update(["outer"]))
    inner.before_request(lambda: ran.update(["inner"]))
    inner.after_request(after)
    inner.teardown_request(lambda _: ran.update(["end"]))
    outer.register_blueprint(inner)
    app.register_blueprint(outer)
    async with serving(app) as client:
        assert (await client.get("/api/public")).status_code == 200
        assert not ran
        assert (await client.get("/api/inner")).status_code == 204
        assert ran == {"outer": 1, "inner": 1, "after": 1, "end": 1}


async def test_what_we_did_not_foresee_says_nothing_of_itself(client: Any) -> None:
    with structlog.testing.capture_logs() as logs:
        response = await client.get("/api/crash")
    document = await problem(response, 500)
    assert "42" not in json.dumps(document)
    assert document["detail"] == "The request could not be completed."
    assert [line["event"] for line in logs] == ["unexpected error", "request"]


async def test_an_unavailable_service_says_when_to_come_back(client: Any) -> None:
    response = await client.get("/api/busy")
    assert (await problem(response, 503))["detail"] == "Nobody is here."
    assert response.headers["Retry-After"] == "7"


async def test_an_error_of_a_rule_carries_its_faults(client: Any) -> None:
    document = await problem(await client.get("/api/conflict"), 409)
    assert document["errors"]["name"] == ["has already been taken"]


@pytest.mark.parametrize(
    ("data", "content_type", "status"),
    [
        (b'{"inner": {"name": "n"}}', "application/json", 201),
        (b'{"inner": {"name": "n"}}', "application/json; charset=utf-8", 201),
        (b'{"inner": {"name": "n"}}', "", 201),
        (b"inner=n", "application/x-www-form-urlencoded", 415),
        (b"<inner/>", "text/xml", 415),
        (b"{", "application/json", 400),
        (b"", "application/json", 400),
        (b'{"inner": {}}', "application/json", 422),
        (b'{"inner": {"name": "n"}, "x": "' + b"x" * 1000 + b'"}', "application/json", 413),
    ],
    ids=range(9),
)
async def test_a_body_is_read_or_refused(
    client: Any, data: bytes, content_type: str, status: int
) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    response = await client.post("/api/echo", data=data, headers=headers)
    assert response.status_code == status
    if status > 400:
        await problem(response, status)


@pytest.mark.parametrize(
    ("path", "status"),
    [("/api/named/" + "x" * 255, 204), ("/api/named/" + "x" * 256, 422), ("/api/named/a%00b", 400)],
)
async def test_a_path_argument_is_bounded(client: Any, path: str, status: int) -> None:
    assert (await client.delete(path)).status_code == status


@pytest.mark.parametrize(
    ("number", "status"), [(2**63 - 1, 200), (2**63, 422), ("9" * 400, 422), (-1, 404)]
)
async def test_a_number_in_a_path_is_bounded(
    client: Any, signer: Signer, number: int, status: int
) -> None:
    headers = signer.headers(uuid4())
    assert (await client.get(f"/api/items/{number}", headers=headers)).status_code == status


@pytest.mark.parametrize("path", ["/api/public", "/api/nothing", "/api/crash", "/healthz"])
async def test_every_reply_names_its_trace(client: Any, path: str) -> None:
    response = await client.get(path)
    assert len(response.headers["Quartet-Trace"]) == 32
    assert "Set-Cookie" not in response.headers


async def test_the_access_log_holds_the_route_and_no_secret(client: Any, signer: Signer) -> None:
    account = uuid4()
    with structlog.testing.capture_logs() as logs:
        await client.get("/api/items/7?token=hidden", headers=signer.headers(account))
    (line,) = [line for line in logs if line["event"] == "request"]
    assert line["route"] == "/api/items/<int:number>"
    assert (line["method"], line["status"], line["account"]) == ("GET", 200, str(account))
    assert "hidden" not in str(line)
    assert signer.token(account)[:20] not in str(line)


async def test_operations_are_not_logged(client: Any) -> None:
    with structlog.testing.capture_logs() as logs:
        for path in ("/healthz", "/readyz", "/metrics"):
            assert (await client.get(path)).status_code == 200
    assert [line for line in logs if line["event"] == "request"] == []


async def away() -> None:
    raise ConnectionError("it is away")


async def test_a_service_is_ready_unless_what_all_need_is_away(app: Quart, client: Any) -> None:
    async def keys_known() -> bool:
        checks = (await (await client.get("/readyz")).get_json())["checks"]
        return bool(checks["keys"] == "ok")

    await until(keys_known)
    app.extensions["soft_checks"]["cache"] = away
    soft = await client.get("/readyz")
    assert soft.status_code == 200
    assert (await soft.get_json())["checks"] == {"keys": "ok", "cache": "it is away"}
    app.extensions["checks"]["database"] = away
    hard = await client.get("/readyz")
    assert hard.status_code == 503
    assert (await hard.get_json())["status"] == "unready"
    assert (await client.get("/healthz")).status_code == 200


async def test_a_service_that_drains_is_not_ready(app: Quart, client: Any) -> None:
    app.extensions["draining"] = True
    assert (await client.get("/readyz")).status_code == 503


async def test_a_service_describes_itself(client: Any) -> None:
    document = await (await client.get("/openapi.json")).get_json()
    assert document["openapi"] == "3.1.0"
    assert "/api/echo" in document["paths"]


async def test_metrics_are_told_to_prometheus(client: Any) -> None:
    response = await client.get("/metrics")
    assert response.headers["Content-Type"].startswith("text/plain")


def test_a_route_that_declares_nothing_is_found() -> None:
    async def bare() -> Response:
        return Response(b"")

    app = create_service("bare", ServiceSettings())
    assert undeclared(app) == []
    app.add_url_rule("/api/bare", "bare", bare)
    assert undeclared(app) == ["/api/bare"]
