"""Facts of the users service, to the projections that reads need."""

from services.content.names import username_key
from services.content.queries.projections import (
    delete_authors_before,
    end_follows_before,
    upsert_author,
    upsert_follow,
)
from shared.database import Connection
from shared.events import Envelope
from shared.events.users import (
    ProfileUpdated,
    UserFollowed,
    UserRegistered,
    UsersSnapshotCompleted,
    UserUnfollowed,
)
from shared.inbox import Handlers
from shared.snapshot import require_whole


async def on_profile(
    db: Connection, event: UserRegistered | ProfileUpdated, envelope: Envelope
) -> None:
    """Keep what readers see of an author."""
    await upsert_author(
        db,
        event.account_id,
        event.username,
        username_key(event.username),
        event.bio,
        event.image,
        envelope.position,
    )


async def on_followed(db: Connection, event: UserFollowed, envelope: Envelope) -> None:
    """Keep whom a reader follows, for the feed."""
    await upsert_follow(
        db, event.follower_id, event.followee_id, following=True, position=envelope.position
    )


async def on_unfollowed(db: Connection, event: UserUnfollowed, envelope: Envelope) -> None:
    """Keep that a reader follows no longer."""
    await upsert_follow(
        db, event.follower_id, event.followee_id, following=False, position=envelope.position
    )


async def on_snapshot_completed(
    db: Connection, event: UsersSnapshotCompleted, envelope: Envelope
) -> None:
    """Forget what was not told again. Raises `SnapshotIncomplete`."""
    await require_whole(db, event)
    await delete_authors_before(db, event.since)
    await end_follows_before(db, event.since)


HANDLERS: Handlers = {
    UserRegistered: on_profile,
    ProfileUpdated: on_profile,
    UserFollowed: on_followed,
    UserUnfollowed: on_unfollowed,
    UsersSnapshotCompleted: on_snapshot_completed,
}
