"""A link ends one kind of mail for one account, for a year, and nobody can make another."""

from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.notifications.links import (
    LASTS,
    Unsubscription,
    article_link,
    find_unsubscription,
    profile_link,
    unsubscribe_link,
)

KEY, OTHER = "k" * 32, "o" * 32
NOW = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)
SITE = "https://example.org"


def token_of(link: str) -> str:
    (token,) = parse_qs(urlsplit(link).query)["token"]
    return token


def test_a_link_says_whose_mail_of_what_kind_ends() -> None:
    account = uuid4()
    link = unsubscribe_link(SITE, KEY, account, "commented", NOW)
    assert link.startswith("https://example.org/api/notifications/unsubscribe?token=")
    expires = int((NOW + LASTS).timestamp())
    found = find_unsubscription(KEY, token_of(link), NOW)
    assert found == Unsubscription(account, "commented", expires)


def test_a_link_is_of_no_use_after_its_time() -> None:
    token = token_of(unsubscribe_link(SITE, KEY, uuid4(), "followed", NOW))
    assert find_unsubscription(KEY, token, NOW + LASTS - timedelta(seconds=1))
    assert find_unsubscription(KEY, token, NOW + LASTS) is None


def test_a_link_of_another_key_is_of_no_use() -> None:
    token = token_of(unsubscribe_link(SITE, OTHER, uuid4(), "followed", NOW))
    assert find_unsubscription(KEY, token, NOW) is None


def test_no_part_of_a_link_can_be_put_into_another() -> None:
    mine = token_of(unsubscribe_link(SITE, KEY, uuid4(), "followed", NOW))
    theirs = token_of(unsubscribe_link(SITE, KEY, uuid4(), "published", NOW))
    what, _, _ = theirs.rpartition(".")
    _, _, signature = mine.rpartition(".")
    assert find_unsubscription(KEY, f"{what}.{signature}", NOW) is None


@given(st.integers(min_value=0), st.characters(exclude_categories=["Cs"]))
def test_a_link_with_any_other_character_is_of_no_use(place: int, char: str) -> None:
    token = token_of(unsubscribe_link(SITE, KEY, uuid4(), "followed", NOW))
    place %= len(token) - 1  # the last one holds bits that say nothing
    if token[place] != char:
        changed = token[:place] + char + token[place + 1 :]
        assert find_unsubscription(KEY, changed, NOW) is None


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=200))
def test_no_text_is_a_link_by_chance(token: str) -> None:
    assert find_unsubscription(KEY, token, NOW) is None


@pytest.mark.parametrize("name", ["a b", "a/b", "a?b#c", "ü", '"><script>', "%2e"])
def test_a_name_is_one_segment_of_its_page(name: str) -> None:
    for link in (article_link(SITE, name), profile_link(SITE, name)):
        parts = urlsplit(link)
        assert parts.path.count("/") == 2
        assert (parts.query, parts.fragment) == ("", "")
        assert link.isascii()
        assert '"' not in link
