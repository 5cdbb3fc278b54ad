"""Requests and replies, as the RealWorld document names them."""

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from shared.http import Timestamp

TAGS_PER_ARTICLE = 20
COMMENTS_PER_PAGE = 500
_NOT_BLANK = r"\S"

Title = Annotated[str, Meta(min_length=1, max_length=255, pattern=_NOT_BLANK)]
Description = Annotated[str, Meta(min_length=1, max_length=1_000, pattern=_NOT_BLANK)]
Body = Annotated[str, Meta(min_length=1, max_length=100_000, pattern=_NOT_BLANK)]
Tag = Annotated[str, Meta(min_length=1, max_length=64, pattern=_NOT_BLANK)]
TagList = Annotated[list[Tag], Meta(max_length=TAGS_PER_ARTICLE)]
CommentBody = Annotated[str, Meta(min_length=1, max_length=10_000, pattern=_NOT_BLANK)]
Limit = Annotated[int, Meta(ge=1, le=100)]
Offset = Annotated[int, Meta(ge=0, le=100_000)]


class NewArticle(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An article to publish."""

    title: Title
    description: Description
    body: Body
    tag_list: TagList = []


class NewArticleRequest(msgspec.Struct, frozen=True, kw_only=True):
    article: NewArticle


class UpdateArticle(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What shall change; what is absent stays."""

    title: Title | UnsetType = UNSET
    description: Description | UnsetType = UNSET
    body: Body | UnsetType = UNSET
    tag_list: TagList | UnsetType = UNSET


class UpdateArticleRequest(msgspec.Struct, frozen=True, kw_only=True):
    article: UpdateArticle


class NewComment(msgspec.Struct, frozen=True, kw_only=True):
    """A comment to make."""

    body: CommentBody


class NewCommentRequest(msgspec.Struct, frozen=True, kw_only=True):
    comment: NewComment


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a list: `limit` articles after the first `offset`."""

    limit: Limit = 20
    offset: Offset = 0


class Filter(Page, frozen=True, kw_only=True):
    """Articles with this tag, by this author, and among this account's favourites; names are
    usernames.
    """

    tag: str | None = None
    author: str | None = None
    favorited: str | None = None


class CommentsPage(msgspec.Struct, frozen=True, kw_only=True):
    """The newest comments, or those older than the comment `before`."""

    limit: Annotated[int, Meta(ge=1, le=COMMENTS_PER_PAGE)] = COMMENTS_PER_PAGE
    before: Annotated[int, Meta(ge=1, le=2**63 - 1)] | None = None


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """An account as others see it; `following`: whether the viewer follows it."""

    username: str
    bio: str
    image: str
    following: bool


class ArticleSummary(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An article in a list."""

    slug: str
    title: str
    description: str
    tag_list: list[str]
    created_at: Timestamp
    updated_at: Timestamp
    favorited: bool
    favorites_count: int
    author: Profile


class Article(ArticleSummary, frozen=True, kw_only=True, rename="camel"):
    """A whole article."""

    body: str


class SingleArticle(msgspec.Struct, frozen=True, kw_only=True):
    article: Article


class MultipleArticles(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One page, and how many articles there are on all pages."""

    articles: list[ArticleSummary]
    articles_count: int


class Comment(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A comment, its author included."""

    id: int
    created_at: Timestamp
    updated_at: Timestamp
    body: str
    author: Profile


class SingleComment(msgspec.Struct, frozen=True, kw_only=True):
    comment: Comment


class MultipleComments(msgspec.Struct, frozen=True, kw_only=True):
    comments: list[Comment]


class Tags(msgspec.Struct, frozen=True, kw_only=True):
    tags: list[str]
