"""Facts of users and content, to projections and notifications."""

from datetime import UTC, datetime

from services.notifications.delivery import (
    announce,
    begin_following,
    cease_following,
    tell_author,
    welcome,
)
from services.notifications.model import Article, FollowChange, Person
from services.notifications.queries.announcements import wake_herald
from services.notifications.queries.projections import (
    delete_articles_before,
    delete_people_before,
    end_follows_before,
    insert_follow_change,
    upsert_article,
    upsert_person,
)
from shared.database import Connection
from shared.events import Envelope
from shared.events.content import (
    ArticleDeleted,
    ArticleFavorited,
    ArticlePublished,
    ArticleUpdated,
    CommentCreated,
    ContentSnapshotCompleted,
)
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
    """Keep what others see of somebody, and where mail reaches them."""
    person = Person(
        id=event.account_id, username=event.username, image=event.image, email=event.email
    )
    await upsert_person(db, person, envelope.position)
    await wake_herald(db)  # deeds of theirs may have come before them


async def on_registered(db: Connection, event: UserRegistered, envelope: Envelope) -> None:
    """Greet them as well, unless they are told of again."""
    await on_profile(db, event, envelope)
    if not envelope.snapshot:
        await welcome(db, event.account_id, envelope.occurred_at, datetime.now(UTC))


async def on_followed(db: Connection, event: UserFollowed, envelope: Envelope) -> None:
    """Tell of the follower, and let them be told of what their author publishes."""
    change = _change(event, envelope, following=True)
    if envelope.snapshot:
        await insert_follow_change(db, change)
    else:
        await begin_following(db, change, datetime.now(UTC))


async def on_unfollowed(db: Connection, event: UserUnfollowed, envelope: Envelope) -> None:
    """Tell them no more."""
    await cease_following(db, _change(event, envelope, following=False))


async def on_published(db: Connection, event: ArticlePublished, envelope: Envelope) -> None:
    """Tell the author's followers."""
    if envelope.snapshot:
        await upsert_article(db, _article(event, envelope), envelope.occurred_at)
    else:
        await announce(db, _article(event, envelope), envelope.occurred_at, datetime.now(UTC))


async def on_updated(db: Connection, event: ArticleUpdated, envelope: Envelope) -> None:
    """Show the article by its new names."""
    await upsert_article(db, _article(event, envelope))


async def on_deleted(db: Connection, event: ArticleDeleted, envelope: Envelope) -> None:
    """Show the article no more."""
    article = Article(
        id=event.article_id,
        author_id=event.author_id,
        slug=event.slug,
        title="",
        position=envelope.position,
    )
    await upsert_article(db, article, deleted=True)


async def on_favorited(db: Connection, event: ArticleFavorited, envelope: Envelope) -> None:
    """Tell the author."""
    await tell_author(
        db,
        "favorited",
        author_id=event.author_id,
        actor_id=event.account_id,
        article_id=event.article_id,
        fact=f"{event.account_id}:{event.article_id}",
        at=envelope.occurred_at,
        now=datetime.now(UTC),
    )


async def on_commented(db: Connection, event: CommentCreated, envelope: Envelope) -> None:
    """Tell the author."""
    await tell_author(
        db,
        "commented",
        author_id=event.author_id,
        actor_id=event.account_id,
        article_id=event.article_id,
        fact=str(event.comment_id),
        at=envelope.occurred_at,
        now=datetime.now(UTC),
    )


async def on_users_told(db: Connection, event: UsersSnapshotCompleted, envelope: Envelope) -> None:
    """Forget who was not told again. Raises `SnapshotIncomplete`."""
    await require_whole(db, event)
    await delete_people_before(db, event.since)
    await end_follows_before(db, event.since, envelope.occurred_at)


async def on_content_told(
    db: Connection, event: ContentSnapshotCompleted, envelope: Envelope
) -> None:
    """Forget the articles that were not told again. Raises `SnapshotIncomplete`."""
    await require_whole(db, event)
    await delete_articles_before(db, event.since)


def _change(
    event: UserFollowed | UserUnfollowed, envelope: Envelope, *, following: bool
) -> FollowChange:
    return FollowChange(
        follower_id=event.follower_id,
        followee_id=event.followee_id,
        following=following,
        changed_at=envelope.occurred_at,
        position=envelope.position,
    )


def _article(event: ArticlePublished | ArticleUpdated, envelope: Envelope) -> Article:
    return Article(
        id=event.article_id,
        author_id=event.author_id,
        slug=event.slug,
        title=event.title,
        position=envelope.position,
    )


HANDLERS: Handlers = {
    UserRegistered: on_registered,
    ProfileUpdated: on_profile,
    UserFollowed: on_followed,
    UserUnfollowed: on_unfollowed,
    ArticlePublished: on_published,
    ArticleUpdated: on_updated,
    ArticleDeleted: on_deleted,
    ArticleFavorited: on_favorited,
    CommentCreated: on_commented,
    UsersSnapshotCompleted: on_users_told,
    ContentSnapshotCompleted: on_content_told,
}
