"""What strangers call themselves and their articles is text, and one line of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.notifications.letters import LONGEST_TITLE, Letter, line, notification, page, welcome
from services.notifications.model import Kind

SITE, LINK, END = "https://example.org", "https://example.org/article/x", "https://example.org/end"
BREAKS = "\r\n\v\f\x1c\x1d\x1e\x85\u2028\u2029\0"


def told(kind: Kind, actor: str = "ada", title: str = "On looms") -> Letter:
    return notification(kind, actor, title, LINK, END)


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("followed", "ada follows you now"),
        ("favorited", "ada likes “On looms”"),
        ("commented", "ada commented on “On looms”"),
        ("published", "ada published “On looms”"),
    ],
)
def test_a_letter_says_what_happened_and_how_to_get_no_more(kind: Kind, sentence: str) -> None:
    letter = told(kind)
    assert letter.subject == sentence
    assert letter.unsubscribe == END
    for form in (letter.text, letter.html):
        assert sentence in form
        assert LINK in form
        assert END in form


def test_a_welcome_names_the_reader_and_ends_nothing() -> None:
    letter = welcome("ada", SITE)
    assert letter.subject == "Welcome to Quartet, ada"
    assert letter.unsubscribe is None
    for form in (letter.text, letter.html):
        assert "Hello ada," in form
        assert SITE in form


def test_html_takes_names_for_text() -> None:
    evil = '<img src=x onerror="alert(1)">&'
    for letter in (told("published", evil, evil), welcome(evil, SITE)):
        assert "<img" not in letter.html
        assert "&lt;img src=x onerror=&#34;alert(1)&#34;&gt;&amp;" in letter.html
        assert evil in letter.text


@given(st.text(st.sampled_from(BREAKS + "ab: <>=?")))
def test_no_name_ends_a_line(name: str) -> None:
    assert not set(line(name)) & set(BREAKS)
    assert len(line(name).splitlines()) <= 1
    plain = told("commented", "ada", "x").text.count("\n")
    assert told("commented", name, name).text.count("\n") == plain


def test_no_header_takes_a_name_for_an_encoded_word() -> None:
    assert "=?" not in told("followed", "=?utf-8?q?a=0ABcc=3A_b?=").subject
    assert "=?" not in line("=\n?")


def test_a_long_title_is_cut() -> None:
    subject = told("published", title="x" * 1_000).subject
    assert subject == f"ada published “{'x' * (LONGEST_TITLE - 1)}…”"


def test_a_page_has_a_button_only_to_ask() -> None:
    assert "<form" in page("Really?", "Yes")
    assert "<form" not in page("Done.")
