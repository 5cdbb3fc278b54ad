"""Who is told of what: everybody once of each fact, and nobody of their own deeds.

Follows come from users and articles from content, and the two streams have no order between them.
So the times of the facts decide, and not those of their arrival: an account is told of an article
if it followed the author when the article appeared. Whichever fact comes last settles it. An
article tells all who followed at its time; a change of following tells of, or takes back, the
articles since. Every order of arrival, and any repetition, ends the same. A lock on the author
keeps two facts from passing each other unseen.

Who wants mail gets a job for it, with an id made of the fact: mail that was sent can't be taken
back, so it is not sent again when the fact is told anew.
"""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid5

from uuid_utils.compat import uuid7

from services.notifications.jobs import Tell, Welcome, email_notification, email_welcome
from services.notifications.model import Article, FollowChange, Kind, Notification
from services.notifications.queries.announcements import wake_herald
from services.notifications.queries.notifications import (
    NEWEST,
    delete_unfollowed,
    insert_notifications,
)
from services.notifications.queries.projections import (
    insert_follow_change,
    lock_author,
    select_followed,
    select_followers,
    upsert_article,
)
from shared.database import Connection
from shared.jobs import enqueue_many

BATCH = 2_000
NEWS = timedelta(days=7)  # what is older is told by no mail: streams keep no more to be read again
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SMALLEST = UUID(int=0)
_MAILS = UUID("019abe70-5c1d-7b52-8f3a-6e0d94c7a1b8")  # namespace of the ids of jobs


async def welcome(db: Connection, account_id: UUID, at: datetime, now: datetime) -> None:
    """Greet by mail who registered at that moment."""
    if now - at < NEWS:
        greeting = {uuid5(_MAILS, f"welcome:{account_id}"): Welcome(account_id)}
        await enqueue_many(db, email_welcome, greeting, now=now)


async def announce(db: Connection, article: Article, at: datetime, now: datetime) -> None:
    """Tell of an article, which appeared at that moment, all who followed its author."""
    await lock_author(db, article.author_id)
    await upsert_article(db, article, at)
    before, found = NEWEST, BATCH
    while found == BATCH:
        followers = await select_followers(db, article.author_id, at, before, BATCH)
        await _tell(
            db,
            [_published(follower, article.author_id, article.id, at) for follower in followers],
            now,
        )
        found, before = len(followers), followers[-1] if followers else before


async def begin_following(db: Connection, change: FollowChange, now: datetime) -> None:
    """Tell the followee of their follower, and the follower of what appeared since."""
    await lock_author(db, change.followee_id)
    await insert_follow_change(db, change)
    await _tell(db, [_followed(change)], now)
    follower, author = change.follower_id, change.followee_id
    after, found = (change.changed_at, _SMALLEST), BATCH
    while found == BATCH:
        articles = await select_followed(db, follower, author, after, BATCH)
        await _tell(
            db, [_published(follower, author, article, at) for at, article in articles], now
        )
        found, after = len(articles), articles[-1] if articles else after


async def cease_following(db: Connection, change: FollowChange) -> None:
    """Take back what the follower was told of that appeared since."""
    await lock_author(db, change.followee_id)
    await insert_follow_change(db, change)
    await delete_unfollowed(db, change.follower_id, change.followee_id, change.changed_at)


async def tell_author(
    db: Connection,
    kind: Kind,
    *,
    author_id: UUID,
    actor_id: UUID,
    article_id: UUID,
    fact: str,
    at: datetime,
    now: datetime,
) -> None:
    """Tell an author of what somebody did to their article."""
    told = Notification(
        id=_id(at),
        recipient_id=author_id,
        kind=kind,
        actor_id=actor_id,
        article_id=article_id,
        fact=fact,
        created_at=at,
    )
    await _tell(db, [told], now)


async def _tell(db: Connection, batch: list[Notification], now: datetime) -> None:
    others = [told for told in batch if told.recipient_id != told.actor_id]
    if not others:
        return
    by_mail = await insert_notifications(db, others)
    await wake_herald(db)
    mails = {
        uuid5(_MAILS, f"{told.recipient_id}:{told.kind}:{told.fact}"): _mail(told)
        for told in others
        if told.id in by_mail and now - told.created_at < NEWS
    }
    if mails:
        await enqueue_many(db, email_notification, mails, now=now)


def _mail(told: Notification) -> Tell:
    return Tell(
        recipient_id=told.recipient_id,
        kind=told.kind,
        actor_id=told.actor_id,
        article_id=told.article_id,
    )


def _followed(change: FollowChange) -> Notification:
    return Notification(
        id=_id(change.changed_at),
        recipient_id=change.followee_id,
        kind="followed",
        actor_id=change.follower_id,
        article_id=None,
        fact=str(change.follower_id),
        created_at=change.changed_at,
    )


def _published(follower_id: UUID, author_id: UUID, article_id: UUID, at: datetime) -> Notification:
    return Notification(
        id=_id(at),
        recipient_id=follower_id,
        kind="published",
        actor_id=author_id,
        article_id=article_id,
        fact=str(article_id),
        created_at=at,
    )


def _id(at: datetime) -> UUID:
    """Ids are in the order of the facts, so that a page of the newest is one of the index."""
    return uuid7(nanoseconds=(at - _EPOCH) // timedelta(microseconds=1) * 1_000)
