"""The tags of replies: what they show, and so what makes them out of date."""

from collections.abc import Iterator

from services.content import schema
from shared import tags


def article(shown: schema.ArticleSummary) -> Iterator[str]:
    """Of a reply that shows one article."""
    yield tags.article(shown.slug)
    yield tags.author(shown.author.username)


def page(shown: schema.MultipleArticles, wanted: schema.Filter) -> Iterator[str]:
    """Of a list: what it shows, and what could come to it."""
    yield tags.LISTS
    if wanted.tag is not None:
        yield tags.tag(wanted.tag)
    if wanted.author is not None:
        yield tags.author(wanted.author)
    if wanted.favorited is not None:
        yield tags.FAVORITES
        yield tags.author(wanted.favorited)
    for one in shown.articles:
        yield tags.article(one.slug)
        yield tags.author(one.author.username)


def comments(slug: str, shown: schema.MultipleComments) -> Iterator[str]:
    """Of the comments of an article, by the slug that it has now."""
    yield tags.article(slug)
    yield tags.comments(slug)
    for one in shown.comments:
        yield tags.author(one.author.username)
