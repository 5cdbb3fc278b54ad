"""Publishing, changing and favouring articles."""

from datetime import datetime
from uuid import UUID

import msgspec
from msgspec import UNSET

from services.content import schema
from services.content.model import Article
from services.content.names import slug_of, username_key
from services.content.queries.articles import (
    claim_slug,
    delete_article,
    find_article,
    insert_article,
    lock_article,
    update_article,
)
from services.content.queries.counters import (
    count_deleted,
    count_published,
    count_total,
    write_tags,
)
from services.content.queries.favorites import delete_favorite, insert_favorite
from services.content.queries.listing import (
    select_by_author,
    select_favorited,
    select_newest,
    select_tagged,
)
from shared.database import Connection
from shared.errors import Conflict, Forbidden, NotFound, Unavailable
from shared.events.content import (
    ArticleDeleted,
    ArticleFavorited,
    ArticlePublished,
    ArticleUnfavorited,
    ArticleUpdated,
)
from shared.outbox import publish


class ArticleNotFound(NotFound):
    """No article has or had this slug, or it is deleted."""

    def __init__(self) -> None:
        super().__init__("There is no such article.", errors={"article": ["not found"]})


class NotYourArticle(Forbidden):
    """Only its author may change an article."""

    def __init__(self) -> None:
        super().__init__("This is somebody else's article.", errors={"article": ["forbidden"]})


class SlugTaken(Conflict):
    """Others have the slug, and the one with the random ending too."""

    def __init__(self) -> None:
        super().__init__("No free slug was found for this title.", errors={"title": ["is taken"]})


class AuthorUnknown(Unavailable):
    """The account's registration has not arrived here yet."""

    def __init__(self) -> None:
        super().__init__("The account is not known here yet.")


async def list_articles(
    db: Connection, viewer: UUID | None, wanted: schema.Filter
) -> schema.MultipleArticles:
    """The page of articles that fits every given filter, newest first."""
    author = None if wanted.author is None else username_key(wanted.author)
    favorited = None if wanted.favorited is None else username_key(wanted.favorited)
    if author is not None:
        return await select_by_author(db, viewer, wanted, author, wanted.tag, favorited)
    if favorited is not None:
        return await select_favorited(db, viewer, wanted, favorited, wanted.tag)
    if wanted.tag is not None:
        return await select_tagged(db, viewer, wanted, wanted.tag)
    return await select_newest(db, viewer, wanted)


async def read(db: Connection, slug: str, viewer: UUID | None) -> schema.Article:
    """The article as `viewer` sees it. Raises `ArticleNotFound`."""
    article = await find_article(db, slug, viewer)
    if article is None:
        raise ArticleNotFound
    return article


async def create(
    db: Connection, draft: schema.NewArticle, author: UUID, *, id: UUID, ending: str, now: datetime
) -> schema.Article:
    """Publish an article. `ending` tells its slug apart where the title alone does not.

    Raises `AuthorUnknown` or `SlugTaken`.
    """
    article = Article(
        id=id,
        author_id=author,
        slug=await _claim(db, id, draft.title, ending),
        title=draft.title,
        tag_list=_distinct(draft.tag_list),
        created_at=now,
    )
    if not await insert_article(db, article, draft.description, draft.body):
        raise AuthorUnknown
    await publish(db, _published(article), now)
    await write_tags(db, article, article.tag_list)
    await count_published(db, article)
    await count_total(db, article, 1)
    return await read(db, article.slug, author)


async def update(
    db: Connection,
    slug: str,
    changes: schema.UpdateArticle,
    caller: UUID,
    *,
    ending: str,
    now: datetime,
) -> schema.Article:
    """Change what is given. The slug follows the title, and the old one still leads here.

    Raises `ArticleNotFound`, `NotYourArticle` or `SlugTaken`.
    """
    article = await lock_own(db, slug, caller)
    if changes == schema.UpdateArticle():
        return await read(db, slug, caller)
    changed = msgspec.structs.replace(
        article,
        slug=await _following(db, article, changes, ending),
        title=article.title if changes.title is UNSET else changes.title,
        tag_list=article.tag_list if changes.tag_list is UNSET else _distinct(changes.tag_list),
    )
    await update_article(db, changed, _given(changes.description), _given(changes.body), now)
    await publish(db, _updated(changed, article), now)
    if changed.tag_list != article.tag_list:
        await write_tags(db, changed, changed.tag_list)
    return await read(db, changed.slug, caller)


async def delete(db: Connection, slug: str, caller: UUID, now: datetime) -> None:
    """Delete an article with its comments and favourites; nobody else will get its slugs.

    Raises `ArticleNotFound` or `NotYourArticle`.
    """
    article = await lock_own(db, slug, caller)
    await publish(
        db,
        ArticleDeleted(article_id=article.id, author_id=article.author_id, slug=article.slug),
        now,
    )
    await write_tags(db, article, [])
    await count_deleted(db, article)
    await count_total(db, article, -1)
    await delete_article(db, article.id)


async def favorite(db: Connection, slug: str, account: UUID, now: datetime) -> schema.Article:
    """Let the article be a favourite of the account; once more changes nothing.

    Raises `ArticleNotFound`.
    """
    article = await lock(db, slug)
    if await insert_favorite(db, article, account, now):
        await _tell_favorite(db, ArticleFavorited, article, account, now)
    return await read(db, slug, account)


async def unfavorite(db: Connection, slug: str, account: UUID, now: datetime) -> schema.Article:
    """Let the article be no favourite of the account; once more changes nothing.

    Raises `ArticleNotFound`.
    """
    article = await lock(db, slug)
    if await delete_favorite(db, article, account):
        await _tell_favorite(db, ArticleUnfavorited, article, account, now)
    return await read(db, slug, account)


async def lock(db: Connection, slug: str) -> Article:
    """The article, held until the transaction ends. Raises `ArticleNotFound`."""
    article = await lock_article(db, slug)
    if article is None:
        raise ArticleNotFound
    return article


async def lock_own(db: Connection, slug: str, caller: UUID) -> Article:
    """The caller's article, held until the transaction ends.

    Raises `ArticleNotFound` or `NotYourArticle`.
    """
    article = await lock(db, slug)
    if article.author_id != caller:
        raise NotYourArticle
    return article


async def _claim(db: Connection, article_id: UUID, title: str, ending: str) -> str:
    wanted = slug_of(title)
    slug = await claim_slug(db, article_id, wanted, f"{wanted}-{ending}")
    if slug is None:
        raise SlugTaken
    return slug


async def _following(
    db: Connection, article: Article, changes: schema.UpdateArticle, ending: str
) -> str:
    if changes.title is UNSET or slug_of(changes.title) == slug_of(article.title):
        return article.slug
    return await _claim(db, article.id, changes.title, ending)


def _published(article: Article) -> ArticlePublished:
    return ArticlePublished(
        article_id=article.id,
        author_id=article.author_id,
        slug=article.slug,
        title=article.title,
        tags=article.tag_list,
    )


def _updated(article: Article, before: Article) -> ArticleUpdated:
    return ArticleUpdated(
        article_id=article.id,
        author_id=article.author_id,
        slug=article.slug,
        title=article.title,
        tags=article.tag_list,
        former_slug=before.slug if before.slug != article.slug else None,
    )


async def _tell_favorite(
    db: Connection,
    fact: type[ArticleFavorited] | type[ArticleUnfavorited],
    article: Article,
    account: UUID,
    now: datetime,
) -> None:
    event = fact(
        article_id=article.id,
        author_id=article.author_id,
        account_id=account,
        slug=article.slug,
    )
    await publish(db, event, now)


def _distinct(tags: list[str]) -> list[str]:
    return list(dict.fromkeys(tags))


def _given(text: str | msgspec.UnsetType) -> str | None:
    return None if text is UNSET else text
