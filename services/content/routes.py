"""The content service's public operations."""

import secrets
from datetime import UTC, datetime
from uuid import UUID

from quart import Blueprint, Response
from uuid_utils.compat import uuid7

from services.content import about, articles, comments, schema
from services.content.queries.counters import select_tags
from services.content.queries.listing import select_feed
from shared.auth import caller, viewer
from shared.database import connection, transaction
from shared.http import body, operation, query, reply
from shared.tags import LISTS, tagged

MOST_TAGS = 1_000
routes = Blueprint("content", __name__)


@routes.get("/api/articles")
@operation(
    "GetArticles",
    "Recent articles of all authors, or those that fit the filters",
    access="optional",
    tag="Articles",
    query=schema.Filter,
    returns={200: schema.MultipleArticles},
)
async def list_articles() -> Response:
    wanted = query(schema.Filter)
    async with connection() as db:
        found = await articles.list_articles(db, _viewer(), wanted)
    return tagged(reply(found), about.page(found, wanted))


@routes.get("/api/articles/feed")
@operation(
    "GetArticlesFeed",
    "Recent articles of the authors whom the caller follows",
    access="required",
    tag="Articles",
    query=schema.Page,
    returns={200: schema.MultipleArticles},
)
async def feed() -> Response:
    page = query(schema.Page)
    async with connection() as db:
        return reply(await select_feed(db, caller().id, page))


@routes.get("/api/articles/<slug>")
@operation(
    "GetArticle",
    "An article, by its slug or one that it had",
    access="optional",
    tag="Articles",
    returns={200: schema.SingleArticle},
)
async def read_article(slug: str) -> Response:
    async with connection() as db:
        article = await articles.read(db, slug, _viewer())
    return tagged(reply(schema.SingleArticle(article=article)), about.article(article))


@routes.post("/api/articles")
@operation(
    "CreateArticle",
    "Publish an article",
    access="required",
    tag="Articles",
    body=schema.NewArticleRequest,
    returns={201: schema.SingleArticle},
)
async def create_article() -> Response:
    draft = (await body(schema.NewArticleRequest)).article
    async with transaction() as db:
        article = await articles.create(
            db, draft, caller().id, id=uuid7(), ending=_ending(), now=datetime.now(UTC)
        )
    return reply(schema.SingleArticle(article=article), 201)


@routes.put("/api/articles/<slug>")
@operation(
    "UpdateArticle",
    "Change one's own article; its slug follows the title",
    access="required",
    tag="Articles",
    body=schema.UpdateArticleRequest,
    returns={200: schema.SingleArticle},
)
async def update_article(slug: str) -> Response:
    changes = (await body(schema.UpdateArticleRequest)).article
    async with transaction() as db:
        article = await articles.update(
            db, slug, changes, caller().id, ending=_ending(), now=datetime.now(UTC)
        )
    return reply(schema.SingleArticle(article=article))


@routes.delete("/api/articles/<slug>")
@operation(
    "DeleteArticle",
    "Delete one's own article",
    access="required",
    tag="Articles",
    returns={204: None},
)
async def delete_article(slug: str) -> Response:
    async with transaction() as db:
        await articles.delete(db, slug, caller().id, datetime.now(UTC))
    return reply(status=204)


@routes.post("/api/articles/<slug>/favorite")
@operation(
    "CreateArticleFavorite",
    "Make an article a favourite of the caller",
    access="required",
    tag="Favorites",
    returns={200: schema.SingleArticle},
)
async def favorite(slug: str) -> Response:
    async with transaction() as db:
        article = await articles.favorite(db, slug, caller().id, datetime.now(UTC))
    return reply(schema.SingleArticle(article=article))


@routes.delete("/api/articles/<slug>/favorite")
@operation(
    "DeleteArticleFavorite",
    "Take an article from the caller's favourites",
    access="required",
    tag="Favorites",
    returns={200: schema.SingleArticle},
)
async def unfavorite(slug: str) -> Response:
    async with transaction() as db:
        article = await articles.unfavorite(db, slug, caller().id, datetime.now(UTC))
    return reply(schema.SingleArticle(article=article))


@routes.get("/api/articles/<slug>/comments")
@operation(
    "GetArticleComments",
    "Comments of an article, newest first",
    access="optional",
    tag="Comments",
    query=schema.CommentsPage,
    returns={200: schema.MultipleComments},
)
async def list_comments(slug: str) -> Response:
    page = query(schema.CommentsPage)
    async with connection() as db:
        current, found = await comments.list_comments(db, slug, _viewer(), page)
    return tagged(reply(found), about.comments(current, found))


@routes.post("/api/articles/<slug>/comments")
@operation(
    "CreateArticleComment",
    "Say something about an article",
    access="required",
    tag="Comments",
    body=schema.NewCommentRequest,
    returns={200: schema.SingleComment},
)
async def create_comment(slug: str) -> Response:
    text = (await body(schema.NewCommentRequest)).comment.body
    async with transaction() as db:
        comment = await comments.create(db, slug, text, caller().id, datetime.now(UTC))
    return reply(schema.SingleComment(comment=comment))


@routes.delete("/api/articles/<slug>/comments/<int:id>")
@operation(
    "DeleteArticleComment",
    "Delete one's own comment",
    access="required",
    tag="Comments",
    returns={204: None},
)
async def delete_comment(slug: str, id: int) -> Response:
    async with transaction() as db:
        await comments.delete(db, slug, id, caller().id, datetime.now(UTC))
    return reply(status=204)


@routes.get("/api/tags")
@operation(
    "GetTags",
    "The tags in use, those of most articles first",
    access="public",
    tag="Tags",
    returns={200: schema.Tags},
)
async def list_tags() -> Response:
    async with connection() as db:
        found = schema.Tags(tags=await select_tags(db, MOST_TAGS))
    return tagged(reply(found), [LISTS])


def _viewer() -> UUID | None:
    found = viewer()
    return None if found is None else found.id


def _ending() -> str:
    """What tells a slug apart from others' that the same title asks for."""
    return secrets.token_hex(4)
