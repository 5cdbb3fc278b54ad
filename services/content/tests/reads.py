"""The reads of content on 100,000 articles."""

from math import inf
from pathlib import Path
from uuid import UUID

import asyncpg

from deploy.local.plans import Read
from services.content.queries.articles import find_article
from services.content.queries.comments import find_comments
from services.content.queries.counters import recount, select_tags
from services.content.queries.listing import (
    select_by_author,
    select_favorited,
    select_feed,
    select_newest,
    select_tagged,
)
from services.content.schema import Page

ARTICLES = 100_000
PAGE = Page()
# Counts all articles in 16 stripes, however many there are.
STRIPES = frozenset({"article_counts"})


def account(number: int) -> UUID:
    """The id of the corpus's author of that number."""
    return UUID(f"00000000-0000-7000-8000-{number:012x}")


VIEWER = account(5)
PAGES = {
    "all": Read(run=lambda db: select_newest(db, VIEWER, PAGE), whole=STRIPES),
    "all, nobody's": Read(run=lambda db: select_newest(db, None, PAGE), whole=STRIPES),
    "by tag": Read(run=lambda db: select_tagged(db, VIEWER, PAGE, "tag3")),
    "by author": Read(run=lambda db: select_by_author(db, VIEWER, PAGE, "author7", None, None)),
    "favorited": Read(run=lambda db: select_favorited(db, VIEWER, PAGE, "author9", None)),
    "feed": Read(run=lambda db: select_feed(db, account(1), PAGE)),
    # Each follow twice, each author's newest article and count, and some twenty articles.
    "feed of 1,000": Read(
        run=lambda db: select_feed(db, account(2), PAGE), most=20 + 4 * 1_000 / 20
    ),
    "article": Read(run=lambda db: find_article(db, "article-77", VIEWER)),
    "comments": Read(run=lambda db: find_comments(db, "article-1", VIEWER, None, 500)),
    "tags": Read(run=lambda db: select_tags(db, 1_000)),
}
# What several filters leave, or a page far down, takes what it takes, and no table whole.
FILTERED = {
    "author, tag": Read(
        run=lambda db: select_by_author(db, VIEWER, PAGE, "author7", "tag3", None), most=inf
    ),
    "author, fan": Read(
        run=lambda db: select_by_author(db, VIEWER, PAGE, "author7", None, "author9"), most=inf
    ),
    "tag, fan": Read(
        run=lambda db: select_favorited(db, VIEWER, PAGE, "author9", "tag3"), most=inf
    ),
    "all three": Read(
        run=lambda db: select_by_author(db, VIEWER, PAGE, "author7", "tag3", "author9"), most=inf
    ),
    "deep": Read(
        run=lambda db: select_newest(db, VIEWER, Page(offset=5_000)), most=inf, whole=STRIPES
    ),
    "deep feed": Read(run=lambda db: select_feed(db, account(2), Page(offset=2_000)), most=inf),
}
READS = PAGES | FILTERED


async def fill(db: asyncpg.Connection) -> None:
    """Make the corpus."""
    corpus = Path(__file__).with_name("corpus.sql").read_text()
    await db.execute(corpus.replace("$articles$", str(ARTICLES)))
    await recount(db)
