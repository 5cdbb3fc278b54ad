"""`Idempotency-Key` on POST (IETF draft-ietf-httpapi-idempotency-key-header): the same key and body
get the first answer, byte for byte.

The answer commits together with what the request changed, so a crash leaves both or neither. While
the first request runs, a second one with its key waits for it. See ADR 0013.
"""

import hashlib
import os
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any

import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from quart import Response, current_app, request

from shared.context import current_work
from shared.database import Connection, open_transaction
from shared.errors import Invalid

HEADER = "Idempotency-Key"
LONGEST = 255
_KEPT = ("Content-Type", "Quartet-Position", "Quartet-Account", "Location")
_NONCE = 12  # bytes; NIST SP 800-38D, 8.2


class Answer(msgspec.Struct, frozen=True):
    """What was answered first."""

    status: int
    headers: dict[str, str]
    body: bytes


class KeyReused(Invalid):
    """The key was used before, with another request."""

    def __init__(self) -> None:
        super().__init__(
            "This key was used with another request.",
            errors={HEADER: ["was used with another request"]},
        )


class Attempt(msgspec.Struct):
    """A keyed request that runs, and the transaction that it runs in."""

    stack: AsyncExitStack
    db: Connection
    scope: str
    key: str
    secret: bytes

    @property
    def fingerprint(self) -> bytes:
        """Tells requests apart without telling what they say."""
        return hashlib.sha256(b"fingerprint" + self.secret).digest()


async def begin() -> Response | None:
    """Open the transaction of a keyed POST, after any other of its key has ended. Returns the first
    answer if there was one. Raises `Invalid`, or `KeyReused`.
    """
    key = request.headers.get(HEADER)
    if request.method != "POST" or key is None or "database" not in current_app.extensions:
        return None
    if not 0 < len(key) <= LONGEST or not key.isprintable():
        fault = f"must have 1 to {LONGEST} printable characters"
        raise Invalid("The key is not valid.", errors={HEADER: [fault]})
    work, stack = current_work(), AsyncExitStack()
    assert work is not None
    scope = str(work.account or "")
    secret = await _secret(key)
    try:
        db = await stack.enter_async_context(open_transaction())
        attempt = Attempt(stack, db, scope, key, secret)
        await lock_key(db, f"{scope}:{key}")
        known = await find_answer(db, attempt)
    except BaseException:
        await stack.aclose()
        raise
    if known is not None:
        await stack.aclose()
        return _response(known)
    work.transaction, request.attempt = db, attempt  # type: ignore[attr-defined]  # lives as long as the request
    return None


async def end(response: Response) -> Response:
    """Commit what the request changed together with its answer; one that failed on our side is not
    kept, so that it can be tried again.
    """
    attempt: Attempt | None = getattr(request, "attempt", None)
    if attempt is None:
        return response
    if response.status_code < 500:
        body = await response.get_data(as_text=False)
        headers = {name: response.headers[name] for name in _KEPT if name in response.headers}
        answer = Answer(response.status_code, headers, bytes(body))
        await insert_answer(attempt.db, attempt, answer, datetime.now(UTC))
        await attempt.stack.aclose()
    return response


async def abandon(error: BaseException | None) -> None:
    """Roll back a keyed request that was not answered: it failed, or its client has gone."""
    attempt: Attempt | None = getattr(request, "attempt", None)
    if attempt is not None:
        await attempt.stack.__aexit__(Abandoned, Abandoned(), None)


class Abandoned(Exception):
    """Makes the transaction of a request roll back."""


async def lock_key(db: Connection, key: str) -> None:
    """Wait until no other transaction holds the key, and hold it until this one ends."""
    await db.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", key)


async def find_answer(db: Connection, attempt: Attempt) -> Answer | None:
    """The first answer to the attempt's request. Raises `KeyReused`."""
    row = await db.fetchrow(
        "SELECT fingerprint, status, sealed FROM idempotency_keys WHERE scope = $1 AND key = $2",
        attempt.scope,
        attempt.key,
    )
    if row is None:
        return None
    if row["fingerprint"] != attempt.fingerprint:
        raise KeyReused
    return _open(attempt.secret, row["sealed"])


async def insert_answer(db: Connection, attempt: Attempt, answer: Answer, now: datetime) -> None:
    """Keep an answer."""
    await db.execute(
        """INSERT INTO idempotency_keys (scope, key, fingerprint, status, sealed, created_at)
           VALUES ($1, $2, $3, $4, $5, $6)""",
        attempt.scope,
        attempt.key,
        attempt.fingerprint,
        answer.status,
        _seal(attempt.secret, answer),
        now,
    )


async def _secret(key: str) -> bytes:
    """32 bytes that only this very request yields: an answer may hold a token, and whoever reads
    the table must not have it.
    """
    body: Any = await request.get_data(cache=True)
    parts = (key.encode(), request.path.encode(), request.query_string, bytes(body))
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.digest()


def _seal(secret: bytes, answer: Answer) -> bytes:
    nonce = os.urandom(_NONCE)
    return nonce + AESGCM(secret).encrypt(nonce, msgspec.msgpack.encode(answer), None)


def _open(secret: bytes, sealed: bytes) -> Answer:
    packed = AESGCM(secret).decrypt(sealed[:_NONCE], sealed[_NONCE:], None)
    return msgspec.msgpack.decode(packed, type=Answer)


def _response(answer: Answer) -> Response:
    response = Response(answer.body, status=answer.status)
    response.headers.pop("Content-Type", None)
    response.headers.update(answer.headers)
    return response
