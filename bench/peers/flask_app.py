"""Flask with SQLAlchemy on psycopg: `gunicorn bench.peers.flask_app:app`."""

import os
from datetime import UTC, datetime
from typing import Any

from flask import Flask, Response, abort, jsonify, request
from sqlalchemy import create_engine
from sqlalchemy.orm import scoped_session, sessionmaker

from bench.peers import tables

CONNECTIONS = 10  # as many as the content service has

URL = os.environ["PEER_DATABASE_URL"]  # noqa: TID251  (a peer has no settings of ours)
engine = create_engine(
    URL.replace("postgresql://", "postgresql+psycopg://"),
    pool_size=CONNECTIONS,
    max_overflow=0,
)
db = scoped_session(sessionmaker(engine))
app = Flask(__name__)


@app.teardown_appcontext
def give_back(_: BaseException | None) -> None:
    db.remove()


@app.get("/api/articles")
def list_articles() -> Response:
    limit = request.args.get("limit", 20, type=int)
    offset = request.args.get("offset", 0, type=int)
    articles = db.scalars(tables.newest(limit, offset)).all()
    count = db.scalar(tables.how_many())
    return jsonify(articles=[_summary(one) for one in articles], articlesCount=int(count))


@app.get("/api/articles/<slug>")
def read_article(slug: str) -> Response:
    article = db.scalar(tables.named(slug))
    if article is None:
        abort(404)
    return jsonify(article=_summary(article) | {"body": article.body})


def _summary(article: tables.Article) -> dict[str, Any]:
    author = article.author
    return {
        "slug": article.slug,
        "title": article.title,
        "description": article.description,
        "tagList": article.tag_list,
        "createdAt": _written(article.created_at),
        "updatedAt": _written(article.updated_at),
        "favorited": False,  # nobody has said who they are
        "favoritesCount": article.favorites_count,
        "author": {
            "username": author.username,
            "bio": author.bio,
            "image": author.image,
            "following": False,
        },
    }


def _written(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
