"""Everything that others keep of accounts and follows, told again."""

from uuid import UUID

from services.users.accounts import fact
from services.users.queries import lock_accounts, lock_follows
from shared.database import Connection
from shared.events.users import UserFollowed, UsersSnapshotCompleted
from shared.snapshot import Fact, Kind, Snapshot

_NOBODY = UUID(int=0)


async def profiles(db: Connection, after: UUID, limit: int) -> list[Fact]:
    """Accounts, by id."""
    accounts = await lock_accounts(db, after, limit)
    return [Fact(account.id, fact(account), changed_at) for account, changed_at in accounts]


async def follows(db: Connection, after: tuple[UUID, UUID], limit: int) -> list[Fact]:
    """Who follows whom; the event is of the time when they began to."""
    return [
        Fact((follower, followee), UserFollowed(follower_id=follower, followee_id=followee), since)
        for follower, followee, since in await lock_follows(db, after, limit)
    ]


SNAPSHOT = Snapshot(
    kinds=(Kind(_NOBODY, profiles), Kind((_NOBODY, _NOBODY), follows)),
    completed=UsersSnapshotCompleted,
)
