"""Input that means harm, or none: a problem document, nothing stored, nothing said of us."""

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from services.users.tests.people import PASSWORD, Person, faults
from services.users.tests.signing import SigningKey, claims

DEEP = b"[" * 100_000
BODIES = [("POST", "/api/users"), ("POST", "/api/users/login"), ("PUT", "/api/user")]
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(("method", "path"), BODIES)
@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b'{"user":', 400),
        (b'{"user":7,', 400),
        (DEEP, 400),
        (b'{"user":' + DEEP, 400),
        (b'{"user":{"x":' + DEEP, 400),
        (b'{"user":7,"x":' + DEEP, 400),
        (b'{"user":{"email":"\xff"}}', 400),
        (b'{"user":{"email":"\xed\xa0\x80"}}', 400),
        (b'{"user":{"email":"\\ud800"}}', 400),
        (b'{"user":{"email":"a\x00@b"}}', 400),
        (b"\xff\xfe{\x00", 400),
        (b"null", 422),
        (b"[]", 422),
        (b'"user"', 422),
        (b'{"user":null}', 422),
        (b'{"user":[]}', 422),
        (b'{"user":"x"}', 422),
        (b'{"user":{"email":18446744073709551616}}', 422),
        (b'{"user":{"email":1e999}}', 400),
        (b'{"user":{"email":"a\\u0000@b","password":"12345678","username":"x"}}', 422),
        (b'{"user":{"email":"a@b","password":"1234567\\u0000","username":"x"}}', 422),
        (b'{"user":{"email":"a@b","password":"12345678","username":"x","\\u0000":1}}', 422),
    ],
    ids=lambda value: ascii(value)[:24],
)
async def test_a_body_of_any_kind_of_wrongness(
    ada: Person, method: str, path: str, body: bytes, status: int
) -> None:
    headers = {"Content-Type": "application/json"}
    response = await ada.send(method, path, data=body, headers=headers)
    said = await faults(response, status)
    assert any(said.values())
    assert (await ada.get("/api/user"))["user"]["email"] == ada.email


@pytest.mark.parametrize(("method", "path"), BODIES)
async def test_a_body_of_another_type_or_size(ada: Person, method: str, path: str) -> None:
    typed = {"Content-Type": "text/plain"}
    await faults(await ada.send(method, path, data=b"{}", headers=typed), 415)
    huge = json.dumps({"user": {"bio": "x" * 1_100_000}}).encode()
    typed = {"Content-Type": "application/json"}
    await faults(await ada.send(method, path, data=huge, headers=typed), 413)


@pytest.mark.parametrize("name", ["%00", "%ff", "%ed%a0%80", "a%00b", "%c0%ae"])
async def test_a_path_that_is_no_text(ada: Person, name: str) -> None:
    for method, end in (("GET", ""), ("POST", "/follow"), ("DELETE", "/follow")):
        path = f"/api/profiles/{name}{end}"
        # The test client would send its own idea of the path.
        response = await ada.send(method, path, scope_base={"raw_path": path.encode()})
        await faults(response, 400)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/users", 405),
        ("DELETE", "/api/user", 405),
        ("PUT", "/api/profiles/ada", 405),
        ("GET", "/api/profiles/", 404),
        ("GET", "/api/profiles/a/b", 404),
        ("GET", "/api/profiles/a%2Fb", 404),
        ("GET", "/nowhere", 404),
    ],
)
async def test_a_route_that_is_not_there(
    nobody: Person, method: str, path: str, status: int
) -> None:
    await faults(await nobody.send(method, path), status)


def forged(algorithm: str, key: Any, key_id: str = "current") -> str:
    return jwt.encode(claims(uuid4()), key, algorithm, headers={"kid": key_id})


def unsigned(header: dict[str, Any], body: object) -> str:
    parts = (json.dumps(part).encode() for part in (header, body))
    return b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts).decode() + "."


def wrong_tokens(key: SigningKey) -> dict[str, str]:
    """Each wrong in one way."""
    ada = uuid4()
    public = key.private.public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    head, body, signature = key.token(ada).split(".")
    changed = base64.urlsafe_b64encode(json.dumps({"sub": str(ada)}).encode()).decode().rstrip("=")
    return {
        "no token": "not.a.token",
        "no parts": "abc",
        "dots": "..",
        "no text": "\u00ff\u00fe",
        "long": "a" * 10_000,
        "alg none": unsigned({"alg": "none", "kid": "current"}, {"sub": str(ada)}),
        "alg None": unsigned({"alg": "None", "kid": "current"}, {"sub": str(ada)}),
        "no alg": unsigned({"kid": "current"}, {"sub": str(ada)}),
        "header is a list": unsigned([], {}),  # type: ignore[arg-type]  # that is the point
        "kid is a list": unsigned({"alg": "EdDSA", "kid": ["current"]}, {}),
        "kid is a number": unsigned({"alg": "EdDSA", "kid": 1}, {}),
        "deep header": base64.urlsafe_b64encode(DEEP).decode() + ".e30.",
        "public key as a secret": symmetric(pem),
        "raw public key as a secret": symmetric(public.public_bytes_raw()),
        "unknown kid": key.sign(claims(ada), kid="unknown"),
        "no kid": jwt.encode(claims(ada), key.private, "EdDSA"),
        "another key": SigningKey("current").token(ada),
        "no signature": f"{head}.{body}.",
        "changed signature": f"{head}.{body}.{signature[:-4]}AAAA",
        "changed body": f"{head}.{changed}.{signature}",
        "expired": key.sign(claims(ada, exp=LONG_AGO)),
        "of tomorrow": key.sign(claims(ada, iat=datetime.now(UTC) + timedelta(days=1))),
        "another issuer": key.sign(claims(ada, iss="quintet")),
        "no issuer": key.sign(claims(ada, iss=None)),
        "no sub": key.sign(claims(ada, sub=None)),
        "no exp": key.sign(claims(ada, exp=None)),
        "no iat": key.sign(claims(ada, iat=None)),
        "sub is no id": key.sign(claims(ada, sub="ada")),
        "sub is a number": key.sign(claims(ada, sub=7)),
        "exp is no time": key.sign(claims(ada, exp="soon")),
        "no account": key.token(UUID(int=1)),
    }


def symmetric(secret: bytes) -> str:
    """HS256 by hand, since PyJWT refuses to use a public key so."""
    signed = unsigned({"alg": "HS256", "kid": "current"}, {"sub": str(uuid4())}).rstrip(".")
    digest = hmac.digest(secret, signed.encode(), hashlib.sha256)
    return f"{signed}.{base64.urlsafe_b64encode(digest).decode().rstrip('=')}"


WRONG = list(wrong_tokens(SigningKey("names only")))


@pytest.mark.parametrize("wrongness", WRONG)
async def test_a_token_of_any_kind_of_wrongness(
    nobody: Person, ada: Person, current_key: SigningKey, wrongness: str
) -> None:
    caller = nobody.with_token(wrong_tokens(current_key)[wrongness])
    said = {"token": ["is invalid"], "body": []}
    follow = f"/api/profiles/{ada.username}/follow"
    assert await faults(await caller.send("GET", "/api/user"), 401) == said
    assert await faults(await caller.send("PUT", "/api/user", {"user": {"bio": "x"}}), 401) == said
    assert await faults(await caller.send("POST", follow), 401) == said
    if wrongness != "no account":  # who is not there may look
        profile = await caller.send("GET", f"/api/profiles/{ada.username}")
        assert await faults(profile, 401) == said


@pytest.mark.parametrize(
    ("header", "fault"),
    [
        ("", "is missing"),
        ("Token", "is missing"),
        ("Token ", "is missing"),
        ("Bearer  ", "is missing"),
        ("Basic YTpi", "is invalid"),
        ("{token}", "is invalid"),
    ],
)
async def test_a_header_without_a_token(ada: Person, header: str, fault: str) -> None:
    headers = {"Authorization": header.format(token=ada.token)}
    response = await ada.send("GET", "/api/user", headers=headers)
    assert await faults(response, 401) == {"token": [fault], "body": []}
    assert response.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("scheme", ["Token", "Bearer", "token", "BEARER"])
async def test_both_schemes_carry_a_token(ada: Person, scheme: str) -> None:
    headers = {"Authorization": f"{scheme} {ada.token}"}
    assert (await ada.send("GET", "/api/user", headers=headers)).status_code == 200


async def test_a_key_that_only_verifies_is_accepted(
    nobody: Person, ada: Person, next_key: SigningKey
) -> None:
    assert await nobody.with_token(next_key.token(ada.id)).get("/api/user")


async def test_a_wrong_token_does_not_close_public_doors(nobody: Person, ada: Person) -> None:
    user = {"email": ada.email, "password": PASSWORD}
    stranger = nobody.with_token("not.a.token")
    assert (await stranger.send("POST", "/api/users/login", {"user": user})).status_code == 200
