"""FastAPI with SQLAlchemy's asyncio extension on asyncpg: `uvicorn bench.peers.fastapi_app:app`."""

import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Query
from pydantic import AliasGenerator, BaseModel, ConfigDict, PlainSerializer
from pydantic.alias_generators import to_camel
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from bench.peers import tables

CONNECTIONS = 10  # as many as the content service has

URL = os.environ["PEER_DATABASE_URL"]  # noqa: TID251  (a peer has no settings of ours)
engine = create_async_engine(
    URL.replace("postgresql://", "postgresql+asyncpg://"),
    pool_size=CONNECTIONS,
    max_overflow=0,
)
sessions = async_sessionmaker(engine, expire_on_commit=False)
app = FastAPI()


def _written(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


Moment = Annotated[datetime, PlainSerializer(_written, return_type=str)]


class Model(BaseModel):
    model_config = ConfigDict(
        from_attributes=True, alias_generator=AliasGenerator(serialization_alias=to_camel)
    )


class Profile(Model):
    username: str
    bio: str
    image: str
    following: bool = False  # nobody has said who they are


class ArticleSummary(Model):
    slug: str
    title: str
    description: str
    tag_list: list[str]
    created_at: Moment
    updated_at: Moment
    favorited: bool = False
    favorites_count: int
    author: Profile


class Article(ArticleSummary):
    body: str


class SingleArticle(Model):
    article: Article


class MultipleArticles(Model):
    articles: list[ArticleSummary]
    articles_count: int


class Constant(Model):
    tags: list[str]


async def session() -> AsyncIterator[AsyncSession]:
    async with sessions() as opened:
        yield opened


Session = Annotated[AsyncSession, Depends(session)]


@app.get("/constant")
async def constant() -> Constant:
    """What costs a framework least."""
    return Constant(tags=["python", "asyncio"])


@app.get("/api/articles")
async def list_articles(
    db: Session,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    offset: Annotated[int, Query(ge=0, le=100_000)] = 0,
) -> MultipleArticles:
    articles = (await db.scalars(tables.newest(limit, offset))).all()
    count = await db.scalar(tables.how_many())
    return MultipleArticles(articles=articles, articles_count=count)


@app.get("/api/articles/{slug}")
async def read_article(slug: str, db: Session) -> SingleArticle:
    article = await db.scalar(tables.named(slug))
    if article is None:
        raise HTTPException(404)
    return SingleArticle(article=article)
