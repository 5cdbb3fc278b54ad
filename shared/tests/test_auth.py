"""A token proves who calls, or nothing; keys are fetched when they are needed and kept for long."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import OKPAlgorithm

from shared.auth import ALGORITHM, ISSUER, Verifier, bearer, public_keys
from shared.errors import Unauthorized, Unavailable
from shared.testing import until

ACCOUNT = UUID(int=1)


class Key:
    """A signing key and its public half."""

    def __init__(self, kid: str) -> None:
        self.kid = kid
        self.private = Ed25519PrivateKey.generate()
        public = json.loads(OKPAlgorithm.to_jwk(self.private.public_key()))
        self.jwk = public | {"kid": kid, "alg": ALGORITHM}

    def token(self, **changed: Any) -> str:
        """A token for the account; None leaves a claim out."""
        now = datetime.now(UTC)
        claims = {
            "sub": str(ACCOUNT),
            "iss": ISSUER,
            "iat": now,
            "exp": now + timedelta(hours=1),
        } | changed
        given = {name: claim for name, claim in claims.items() if claim is not None}
        return jwt.encode(given, self.private, ALGORITHM, headers={"kid": self.kid})


KEY, OTHER = Key("one"), Key("two")


@pytest.fixture
def verifier() -> Verifier:
    """One that knows the first key."""
    return Verifier(public_keys({"keys": [KEY.jwk]}))


async def test_a_valid_token_names_its_caller(verifier: Verifier) -> None:
    token = KEY.token()
    caller = await verifier.verify(token)
    assert (caller.id, caller.token) == (ACCOUNT, token)


def ago(**duration: float) -> datetime:
    return datetime.now(UTC) - timedelta(**duration)


def signed_by_secret() -> str:
    """The public key as an HMAC secret: the classic confusion of algorithms."""
    claims = {"sub": str(ACCOUNT), "iss": ISSUER, "iat": ago(), "exp": ago(hours=-1)}
    secret = KEY.private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return jwt.encode(claims, secret, "HS256", headers={"kid": KEY.kid})


def unsigned() -> str:
    claims = {"sub": str(ACCOUNT), "iss": ISSUER, "iat": ago(), "exp": ago(hours=-1)}
    return jwt.encode(claims, None, "none", headers={"kid": KEY.kid})  # type: ignore[arg-type]  # no key at all


def tampered() -> str:
    header, _, signature = KEY.token().split(".")
    return ".".join([header, KEY.token(sub=str(uuid4())).split(".")[1], signature])


@pytest.mark.parametrize(
    "token",
    [
        "",
        "abc",
        "a.b.c",
        "..",
        "é.é.é",
        "\ud800",
        "e30.e30.e30",
        "A" * 100_000,
        KEY.token(exp=ago(seconds=60)),
        KEY.token(exp=None),
        KEY.token(exp="soon"),
        KEY.token(iat=None),
        KEY.token(iat=ago(hours=-1)),
        KEY.token(iss="other"),
        KEY.token(iss=None),
        KEY.token(sub=None),
        KEY.token(sub="nobody"),
        KEY.token(nbf=ago(hours=-1)),
        OTHER.token(),
        Key("one").token(),
        tampered(),
        signed_by_secret(),
        unsigned(),
        jwt.encode({}, KEY.private, ALGORITHM),
    ],
    ids=range(24),
)
async def test_a_token_of_any_wrongness_is_invalid(verifier: Verifier, token: str) -> None:
    with pytest.raises(Unauthorized) as raised:
        await verifier.verify(token)
    assert raised.value.errors == {"token": ["is invalid"]}


async def test_clocks_may_differ_by_seconds(verifier: Verifier) -> None:
    await verifier.verify(KEY.token(exp=ago(seconds=2)))
    await verifier.verify(KEY.token(iat=ago(seconds=-2)))


@pytest.mark.parametrize(
    ("header", "token"),
    [("Token abc", "abc"), ("Bearer abc", "abc"), ("bearer  abc ", "abc"), ("TOKEN a b", "a b")],
)
def test_both_schemes_are_read(header: str, token: str) -> None:
    assert bearer(header) == token


@pytest.mark.parametrize(
    ("header", "fault"),
    [
        ("", "is missing"),
        ("Token", "is missing"),
        ("Bearer ", "is missing"),
        ("Basic abc", "is invalid"),
        ("abc", "is invalid"),
    ],
)
def test_a_header_without_a_token_says_so(header: str, fault: str) -> None:
    with pytest.raises(Unauthorized) as raised:
        bearer(header)
    assert raised.value.errors == {"token": [fault]}


class KeyServer:
    """A users service that only hands out keys, and counts how often."""

    def __init__(self) -> None:
        self.answer: Any = {"keys": [KEY.jwk]}
        self.status = 200
        self.asked = 0
        self.url = ""

    async def jwks(self, _: web.Request) -> web.Response:
        """The current answer."""
        self.asked += 1
        return web.Response(body=json.dumps(self.answer), status=self.status)


@pytest.fixture
async def key_server() -> AsyncIterator[KeyServer]:
    server, app = KeyServer(), web.Application()
    app.router.add_get("/jwks.json", server.jwks)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0]
    server.url = f"http://{host}:{port}/jwks.json"
    yield server
    await runner.cleanup()


async def test_keys_are_fetched_when_the_first_token_needs_them(key_server: KeyServer) -> None:
    verifier = Verifier(jwks_url=key_server.url)
    with pytest.raises(ConnectionError):
        await verifier.check()
    assert (await verifier.verify(KEY.token())).id == ACCOUNT
    await verifier.check()


async def test_an_unknown_key_is_looked_up(key_server: KeyServer) -> None:
    verifier = Verifier(jwks_url=key_server.url)
    await verifier.verify(KEY.token())
    key_server.answer = {"keys": [OTHER.jwk, KEY.jwk]}

    async def known() -> bool:
        try:
            return bool(await verifier.verify(OTHER.token()))
        except Unauthorized:
            return False

    await until(known, what="the new key known")


async def test_unknown_keys_ask_once_a_second_however_many_they_are(key_server: KeyServer) -> None:
    verifier = Verifier(jwks_url=key_server.url)
    tokens = [Key(f"unknown {number}").token() for number in range(100)]
    results = await asyncio.gather(
        *(verifier.verify(token) for token in tokens), return_exceptions=True
    )
    assert all(isinstance(result, Unauthorized) for result in results)
    assert key_server.asked == 1


async def refreshed(verifier: Verifier, key_server: KeyServer) -> None:
    """Let it fetch once more."""
    before = key_server.asked

    async def asked() -> bool:
        await verifier.refresh()
        return key_server.asked > before

    await until(asked)


@pytest.mark.parametrize(
    "answer", [[], {}, None, "text", {"keys": []}, {"keys": 5}, {"keys": [{"kty": "none"}]}]
)
async def test_the_last_good_keys_stay_in_use(key_server: KeyServer, answer: Any) -> None:
    verifier = Verifier(jwks_url=key_server.url)
    await verifier.verify(KEY.token())
    key_server.answer = answer
    await refreshed(verifier, key_server)
    assert (await verifier.verify(KEY.token())).id == ACCOUNT


async def test_an_answer_that_is_an_error_changes_nothing(key_server: KeyServer) -> None:
    verifier = Verifier(jwks_url=key_server.url)
    await verifier.verify(KEY.token())
    key_server.status = 500
    await refreshed(verifier, key_server)
    assert (await verifier.verify(KEY.token())).id == ACCOUNT


async def test_a_key_that_was_withdrawn_proves_nothing_any_more(key_server: KeyServer) -> None:
    verifier = Verifier(jwks_url=key_server.url)
    token = KEY.token()
    await verifier.verify(token)
    key_server.answer = {"keys": [OTHER.jwk]}
    await refreshed(verifier, key_server)
    with pytest.raises(Unauthorized):
        await verifier.verify(token)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/jwks.json", "file:///does/not/exist"])
async def test_without_keys_nobody_can_be_told_apart(url: str) -> None:
    with pytest.raises(Unavailable):
        await Verifier(jwks_url=url).verify(KEY.token())


async def test_a_broken_file_of_keys_is_as_good_as_none(tmp_path: Path) -> None:
    (tmp_path / "jwks.json").write_text("{")
    with pytest.raises(Unavailable):
        await Verifier(jwks_url=f"file://{tmp_path}/jwks.json").verify(KEY.token())


async def test_a_verified_token_is_remembered_until_it_expires(verifier: Verifier) -> None:
    token = KEY.token()
    first = await verifier.verify(token)
    assert await verifier.verify(token) is first
    brief = KEY.token(exp=datetime.now(UTC) + timedelta(seconds=-4))
    assert await verifier.verify(brief) is not await verifier.verify(brief)


async def test_a_request_that_comes_before_the_first_keys_waits_for_them(tmp_path: Path) -> None:
    key, path = Key("first"), tmp_path / "later.json"
    verifier = Verifier(jwks_url=f"file://{path}")
    await verifier.refresh()
    verifying = asyncio.create_task(verifier.verify(key.token()))
    await asyncio.sleep(0)  # it has begun, and there is nothing to verify with
    assert not verifying.done()
    (tmp_path / "unseen.json").write_text(json.dumps({"keys": [key.jwk]}))
    (tmp_path / "unseen.json").rename(path)
    assert (await verifying).id == ACCOUNT
