"""Saying something about an article."""

from datetime import datetime
from uuid import UUID

from services.content import schema
from services.content.articles import ArticleNotFound, AuthorUnknown, lock
from services.content.queries.comments import (
    delete_comment,
    find_comment,
    find_comments,
    insert_comment,
)
from shared.database import Connection
from shared.errors import Forbidden, NotFound
from shared.events.content import CommentCreated, CommentDeleted
from shared.outbox import publish


class CommentNotFound(NotFound):
    """The article has no such comment."""

    def __init__(self) -> None:
        super().__init__("There is no such comment.", errors={"comment": ["not found"]})


class NotYourComment(Forbidden):
    """Only its author may delete a comment."""

    def __init__(self) -> None:
        super().__init__("This is somebody else's comment.", errors={"comment": ["forbidden"]})


async def list_comments(
    db: Connection, slug: str, viewer: UUID | None, page: schema.CommentsPage
) -> tuple[str, schema.MultipleComments]:
    """The article's slug, and its comments, newest first. Raises `ArticleNotFound`."""
    found = await find_comments(db, slug, viewer, page.before, page.limit)
    if found is None:
        raise ArticleNotFound
    current, listed = found
    return current, schema.MultipleComments(comments=listed)


async def create(
    db: Connection, slug: str, text: str, author: UUID, now: datetime
) -> schema.Comment:
    """Say something about the article. Raises `ArticleNotFound` or `AuthorUnknown`."""
    article = await lock(db, slug)
    comment = await insert_comment(db, article.id, author, text, now)
    if comment is None:
        raise AuthorUnknown
    await publish(
        db,
        CommentCreated(
            comment_id=comment.id,
            article_id=article.id,
            author_id=article.author_id,
            account_id=author,
            slug=article.slug,
        ),
        now,
    )
    return comment


async def delete(db: Connection, slug: str, comment_id: int, caller: UUID, now: datetime) -> None:
    """Delete one's own comment. Raises `ArticleNotFound`, `CommentNotFound`, `NotYourComment`."""
    article = await lock(db, slug)
    comment = await find_comment(db, article.id, comment_id)
    if comment is None:
        raise CommentNotFound
    if comment.author_id != caller:
        raise NotYourComment
    await delete_comment(db, comment.id)
    await publish(
        db,
        CommentDeleted(
            comment_id=comment.id,
            article_id=article.id,
            author_id=article.author_id,
            account_id=caller,
            slug=article.slug,
        ),
        now,
    )
