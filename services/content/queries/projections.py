"""What this service keeps of the facts of the users service. An older event changes nothing."""

from uuid import UUID

from shared.database import Connection


async def upsert_author(
    db: Connection,
    account_id: UUID,
    username: str,
    username_key: str,
    bio: str,
    image: str,
    position: int,
) -> None:
    """Remember what others see of an account."""
    await db.execute(
        """INSERT INTO authors (id, username, username_key, bio, image, position)
           VALUES ($1, $2, $3, $4, $5, $6)
           ON CONFLICT (id) DO UPDATE
              SET username = EXCLUDED.username, username_key = EXCLUDED.username_key,
                  bio = EXCLUDED.bio, image = EXCLUDED.image, position = EXCLUDED.position
            WHERE authors.position < EXCLUDED.position""",
        account_id,
        username,
        username_key,
        bio,
        image,
        position,
    )


async def upsert_follow(
    db: Connection, follower_id: UUID, followee_id: UUID, *, following: bool, position: int
) -> None:
    """Remember whether one account follows another."""
    await db.execute(
        """INSERT INTO follows (follower_id, followee_id, following, position)
           VALUES ($1, $2, $3, $4)
           ON CONFLICT (follower_id, followee_id) DO UPDATE
              SET following = EXCLUDED.following, position = EXCLUDED.position
            WHERE follows.position < EXCLUDED.position""",
        follower_id,
        followee_id,
        following,
        position,
    )


async def delete_authors_before(db: Connection, position: int) -> None:
    """Forget the accounts that no event from that position on has told of."""
    await db.execute("DELETE FROM authors WHERE position < $1", position)


async def end_follows_before(db: Connection, position: int) -> None:
    """Whoever follows somebody by an event before that position follows them no longer. The row
    stays, so that no older event can bring the following back.
    """
    await db.execute(
        "UPDATE follows SET following = false, position = $1 WHERE position < $1 AND following",
        position,
    )
