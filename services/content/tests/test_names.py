import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.content.names import SLUG_LENGTH, slug_of, username_key


@pytest.mark.parametrize(
    ("title", "slug"),
    [
        ("How to train your dragon", "how-to-train-your-dragon"),
        ("  Hello,   World!  ", "hello-world"),
        ("Don't panic – it’s fine", "dont-panic-its-fine"),
        ("Crème brûlée à la Ærø", "creme-brulee-a-la-aero"),
        ("Łódź, Straße, İstanbul", "lodz-strasse-istanbul"),
        ("ＦＵＬＬ ﬁdelity ²", "full-fidelity-2"),
        ("Съешь ещё этих", "съешь-ещё-этих"),
        ("हिन्दी में", "हिन्दी-में"),
        ("日本語の記事", "日本語の記事"),
        ("../../etc/passwd?x#y%00", "etc-passwd-x-y-00"),
        ("!!! ??? ❤️", "article"),
        ("-", "article"),
    ],
)
def test_a_slug_says_what_the_title_says(title: str, slug: str) -> None:
    assert slug_of(title) == slug


@given(st.text())
def test_every_title_has_a_slug_that_fits_an_address(title: str) -> None:
    slug = slug_of(title)
    assert 1 <= len(slug) <= SLUG_LENGTH
    assert not set(slug) & set(" /?#%&.\\\0")
    assert slug == slug.strip("-")
    assert "--" not in slug


def test_a_long_title_has_a_bounded_slug() -> None:
    assert slug_of("ab " * 85) == "ab-" * 33 + "a"
    assert slug_of("x" * 99 + " y") == "x" * 99


@pytest.mark.parametrize("other", ["Ada", "ADA", "ａｄａ", "ada"])
def test_spellings_of_one_username_share_a_key(other: str) -> None:
    assert username_key(other) == "ada"
