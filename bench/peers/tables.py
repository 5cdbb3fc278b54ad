"""The content service's tables, as an ORM sees them; both Python peers read them."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, func, select
from sqlalchemy.dialects.postgresql import ARRAY, TEXT
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    joinedload,
    load_only,
    mapped_column,
    relationship,
)


class Base(DeclarativeBase):
    pass


class Author(Base):
    __tablename__ = "authors"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    username: Mapped[str]
    bio: Mapped[str]
    image: Mapped[str]


class Article(Base):
    __tablename__ = "articles"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    slug: Mapped[str]
    title: Mapped[str]
    description: Mapped[str]
    body: Mapped[str]
    tag_list: Mapped[list[str]] = mapped_column(ARRAY(TEXT))
    favorites_count: Mapped[int]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    author_id: Mapped[UUID] = mapped_column(ForeignKey("authors.id"))
    author: Mapped[Author] = relationship(lazy="raise")


class Slug(Base):
    __tablename__ = "slugs"

    slug: Mapped[str] = mapped_column(primary_key=True)
    article_id: Mapped[UUID] = mapped_column(ForeignKey("articles.id"))


class ArticleCount(Base):
    __tablename__ = "article_counts"

    stripe: Mapped[int] = mapped_column(primary_key=True)
    articles: Mapped[int]


def newest(limit: int, offset: int):
    """The newest articles with their authors, in one statement and without the long texts."""
    return (
        select(Article)
        .options(
            joinedload(Article.author, innerjoin=True),
            load_only(
                Article.slug,
                Article.title,
                Article.description,
                Article.tag_list,
                Article.favorites_count,
                Article.created_at,
                Article.updated_at,
            ),
        )
        .order_by(Article.created_at.desc(), Article.id.desc())
        .limit(limit)
        .offset(offset)
    )


def how_many():
    """How many articles there are: the count that the database keeps, which costs least."""
    return select(func.sum(ArticleCount.articles))


def named(slug: str):
    """One article with its author."""
    return (
        select(Article)
        .join(Slug, Slug.article_id == Article.id)
        .options(joinedload(Article.author, innerjoin=True))
        .where(Slug.slug == slug)
    )
