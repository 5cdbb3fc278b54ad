"""`Idempotency-Key` on POST (IETF draft-ietf-httpapi-idempotency-key-header): the same key and body
get the first answer, byte for byte.

The answer commits together with what the request changed, so a crash leaves both or neither. While
the first request changes something, a second one with its key waits for it. See ADR 0013.
"""

import hashlib
import os
import sys
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from quart import Response, current_app, request

from shared.context import current_work
from shared.errors import Conflict, Invalid, Unavailable

if TYPE_CHECKING:
    from shared.database import Connection

HEADER = "Idempotency-Key"
LONGEST = 255
_NONCE = 12  # bytes; NIST SP 800-38D, 8.2


class Answer(msgspec.Struct, frozen=True):
    """What was answered first."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


class KeyReused(Invalid):
    """The key was used before, with another request."""

    def __init__(self) -> None:
        super().__init__(
            "This key was used with another request.",
            errors={HEADER: ["was used with another request"]},
        )


class AnsweredMeanwhile(Conflict):
    """Another request of this key was answered while this one ran; nobody gets to see this."""


class Abandoned(Exception):
    """Makes the transaction of a request roll back."""


class Attempt:
    """A keyed request while it runs. Its transaction, opened when one is first asked for, encloses
    all that the request changes.
    """

    def __init__(self, scope: str, key: str, content: tuple[bytes, ...]) -> None:
        self.id = _digest(b"id", scope.encode(), key.encode())
        # Only this very request yields it: an answer may hold a token, which whoever reads the
        # table must not have.
        self.secret = _digest(b"secret", scope.encode(), key.encode(), *content)
        self.fingerprint = _digest(b"fingerprint", self.secret)
        self.first: Answer | None = None
        self.db: Connection | None = None
        self._stack = AsyncExitStack()

    async def open(self) -> "Connection":
        """The transaction, once no other request of this key has one.

        Raises `AnsweredMeanwhile`, `KeyReused` or `Unavailable`.
        """
        if self.db is None:
            try:
                self.db = await self._begin()
            except BaseException:
                await self._stack.__aexit__(*sys.exc_info())
                raise
        return self.db

    async def _begin(self) -> "Connection":
        from shared.database import open_transaction

        db = await self._stack.enter_async_context(open_transaction())
        await lock_key(db, self.id)
        self.first = await find_answer(db, self)
        if self.first is not None:
            raise AnsweredMeanwhile
        return db

    async def commit(self) -> None:
        """Commit what the request changed."""
        await self._stack.aclose()

    async def abandon(self) -> None:
        """Undo what the request changed, if it was not committed."""
        with suppress(Unavailable):  # a connection that is lost has rolled back by itself
            await self._stack.__aexit__(Abandoned, Abandoned(), None)


async def begin() -> Response | None:
    """Look at the key of a POST. Returns the first answer if there was one. Raises `Invalid`, or
    `KeyReused`.
    """
    key = request.headers.get(HEADER)
    if request.method != "POST" or key is None or "database" not in current_app.extensions:
        return None
    if not key.strip() or len(key) > LONGEST or not key.isprintable():
        fault = f"must have 1 to {LONGEST} printable characters"
        raise Invalid("The key is not valid.", errors={HEADER: [fault]})
    # Here, since every service loads this module, and one without a database needs no driver.
    from shared.database import connection

    work = current_work()
    assert work is not None
    body: Any = await request.get_data()
    content = (request.path.encode(), request.query_string, bytes(body))
    attempt = Attempt(str(work.account or ""), key, content)
    async with connection() as db:
        first = await find_answer(db, attempt)
    if first is not None:
        return _response(first)
    work.enclosing = attempt
    return None


async def end(response: Response) -> Response:
    """Commit what the request changed together with its answer; one that failed on our side is not
    kept, so that it can be tried again. Raises `KeyReused` or `Unavailable`.
    """
    attempt = _attempt()
    if attempt is None or (response.status_code >= 500 and attempt.first is None):
        return response
    try:
        db = await attempt.open()
    except AnsweredMeanwhile:
        assert attempt.first is not None
        return _response(attempt.first)
    await insert_answer(db, attempt, await _answer(response), datetime.now(UTC))
    await attempt.commit()
    return response


async def abandon(_: BaseException | None) -> None:
    """Roll back a keyed request that was not answered: it failed, or its client has gone."""
    attempt = _attempt()
    if attempt is not None:
        await attempt.abandon()


def _attempt() -> Attempt | None:
    work = current_work()
    return None if work is None else work.enclosing


async def lock_key(db: "Connection", id_: bytes) -> None:
    """Wait until no other transaction holds the key, and hold it until this one ends."""
    number = int.from_bytes(id_[:8], signed=True)
    await db.execute("SELECT pg_advisory_xact_lock($1)", number)


async def find_answer(db: "Connection", attempt: Attempt) -> Answer | None:
    """The first answer to the attempt's request. Raises `KeyReused`."""
    row = await db.fetchrow(
        "SELECT fingerprint, sealed FROM idempotency_keys WHERE id = $1", attempt.id
    )
    if row is None:
        return None
    if row["fingerprint"] != attempt.fingerprint:
        raise KeyReused
    return _unsealed(attempt.secret, row["sealed"])


async def insert_answer(db: "Connection", attempt: Attempt, answer: Answer, now: datetime) -> None:
    """Keep an answer."""
    await db.execute(
        """INSERT INTO idempotency_keys (id, fingerprint, sealed, created_at)
           VALUES ($1, $2, $3, $4)""",
        attempt.id,
        attempt.fingerprint,
        _sealed(attempt.secret, answer),
        now,
    )


def _digest(*parts: bytes) -> bytes:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8) + part)
    return digest.digest()


def _sealed(secret: bytes, answer: Answer) -> bytes:
    nonce = os.urandom(_NONCE)
    return nonce + AESGCM(secret).encrypt(nonce, msgspec.msgpack.encode(answer), None)


def _unsealed(secret: bytes, sealed: bytes) -> Answer:
    packed = AESGCM(secret).decrypt(sealed[:_NONCE], sealed[_NONCE:], None)
    return msgspec.msgpack.decode(packed, type=Answer)


async def _answer(response: Response) -> Answer:
    body = await response.get_data(as_text=False)
    return Answer(response.status_code, list(response.headers.items()), body)


def _response(answer: Answer) -> Response:
    response = Response(answer.body, status=answer.status)
    response.headers.clear()
    response.headers.extend(answer.headers)
    return response
