"""Every SQL statement of the users service."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from uuid import UUID

import asyncpg
import msgspec

from services.users import names
from services.users.model import Account, Profile
from shared.auth import invalid_token
from shared.database import Connection
from shared.errors import AppError

_REFUSALS: dict[str, Callable[[], AppError]] = {
    "accounts_email_taken": names.EmailTaken,
    "accounts_username_taken": names.UsernameTaken,
    "follows_follower": invalid_token,  # a valid token of an account that is not there
}


@contextmanager
def _refused_by_constraint() -> Iterator[None]:
    """Turn a violated constraint into the refusal that it stands for."""
    try:
        yield
    except asyncpg.IntegrityConstraintViolationError as error:
        refusal = _REFUSALS.get(error.constraint_name or "")
        if refusal is None:
            raise
        raise refusal() from error


async def insert_account(db: Connection, account: Account, now: datetime) -> None:
    """Raises `EmailTaken` or `UsernameTaken`."""
    with _refused_by_constraint():
        await db.execute(
            """INSERT INTO accounts (id, email, email_key, username, username_key, password_hash,
                                     bio, image, created_at, updated_at)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9)""",
            account.id,
            account.email,
            names.key(account.email),
            account.username,
            names.key(account.username),
            account.password_hash,
            account.bio,
            account.image,
            now,
        )


async def find_account(db: Connection, id_: UUID) -> Account | None:
    """The account, if it is there."""
    row = await db.fetchrow(
        """SELECT id, email, username, password_hash, bio, image
             FROM accounts
            WHERE id = $1""",
        id_,
    )
    return row and msgspec.convert(row, Account)


async def find_account_by_email(db: Connection, email_key: str) -> Account | None:
    """The account with this address, if there is one."""
    row = await db.fetchrow(
        """SELECT id, email, username, password_hash, bio, image
             FROM accounts
            WHERE email_key = $1""",
        email_key,
    )
    return row and msgspec.convert(row, Account)


async def lock_account(db: Connection, id_: UUID) -> Account | None:
    """The account, locked against other changes until the transaction ends; follows of it pass."""
    row = await db.fetchrow(
        """SELECT id, email, username, password_hash, bio, image
             FROM accounts
            WHERE id = $1
              FOR NO KEY UPDATE""",
        id_,
    )
    return row and msgspec.convert(row, Account)


async def update_account(db: Connection, account: Account, now: datetime) -> None:
    """Raises `EmailTaken` or `UsernameTaken`."""
    with _refused_by_constraint():
        await db.execute(
            """UPDATE accounts
                  SET email = $2, email_key = $3, username = $4, username_key = $5,
                      password_hash = $6, bio = $7, image = $8, updated_at = $9
                WHERE id = $1""",
            account.id,
            account.email,
            names.key(account.email),
            account.username,
            names.key(account.username),
            account.password_hash,
            account.bio,
            account.image,
            now,
        )


async def update_password_hash(db: Connection, id_: UUID, outdated: str, fresh: str) -> None:
    """Replace a hash by a stronger one of the same password, unless the password has changed."""
    await db.execute(
        "UPDATE accounts SET password_hash = $3 WHERE id = $1 AND password_hash = $2",
        id_,
        outdated,
        fresh,
    )


async def find_profile(db: Connection, username_key: str, viewer_id: UUID | None) -> Profile | None:
    """The profile of that name, as the viewer sees it, if there is one."""
    row = await db.fetchrow(
        """SELECT id, username, bio, image,
                  EXISTS (SELECT FROM follows
                           WHERE follower_id = $2 AND followee_id = accounts.id) AS following
             FROM accounts
            WHERE username_key = $1""",
        username_key,
        viewer_id,
    )
    return row and msgspec.convert(row, Profile)


async def select_profiles(
    db: Connection, username_keys: list[str], viewer_id: UUID | None
) -> dict[str, Profile]:
    """The profiles of those names that there are, as the viewer sees them, by their keys."""
    rows = await db.fetch(
        """SELECT id, username, username_key, bio, image,
                  EXISTS (SELECT FROM follows
                           WHERE follower_id = $2 AND followee_id = accounts.id
                          OFFSET 0) AS following
             FROM accounts
            WHERE username_key = ANY($1::text[])""",
        username_keys,
        viewer_id,
    )
    return {row["username_key"]: msgspec.convert(row, Profile) for row in rows}


async def insert_follow(
    db: Connection, follower_id: UUID, followee_id: UUID, now: datetime
) -> bool:
    """Whether it is new. Raises `Unauthorized` when the follower is nobody."""
    with _refused_by_constraint():
        status = await db.execute(
            """INSERT INTO follows (follower_id, followee_id, created_at) VALUES ($1, $2, $3)
               ON CONFLICT DO NOTHING""",
            follower_id,
            followee_id,
            now,
        )
    return status == "INSERT 0 1"


async def delete_follow(db: Connection, follower_id: UUID, followee_id: UUID) -> bool:
    """Whether it was there."""
    status = await db.execute(
        "DELETE FROM follows WHERE follower_id = $1 AND followee_id = $2", follower_id, followee_id
    )
    return status == "DELETE 1"


async def lock_accounts(db: Connection, after: UUID, limit: int) -> list[tuple[Account, datetime]]:
    """The accounts after an id, locked against changes, and when each was changed last."""
    rows = await db.fetch(
        """SELECT id, email, username, password_hash, bio, image, updated_at
             FROM accounts
            WHERE id > $1
            ORDER BY id
            LIMIT $2
              FOR SHARE""",
        after,
        limit,
    )
    return [(msgspec.convert(row, Account), row["updated_at"]) for row in rows]


async def lock_follows(
    db: Connection, after: tuple[UUID, UUID], limit: int
) -> list[tuple[UUID, UUID, datetime]]:
    """Who follows whom, after a pair, and since when; locked against changes."""
    rows = await db.fetch(
        """SELECT follower_id, followee_id, created_at
             FROM follows
            WHERE (follower_id, followee_id) > ($1, $2)
            ORDER BY follower_id, followee_id
            LIMIT $3
              FOR SHARE""",
        *after,
        limit,
    )
    return [(row["follower_id"], row["followee_id"], row["created_at"]) for row in rows]
