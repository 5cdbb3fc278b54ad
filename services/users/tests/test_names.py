"""Names: what is valid, and what is the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.users import names
from shared.errors import Invalid


@given(st.text())
def test_a_key_is_its_own_key(name: str) -> None:
    assert names.key(names.key(name)) == names.key(name)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Ada", "aDA"),
        ("straße", "STRASSE"),
        ("ﬁne", "FINE"),  # a ligature
        ("Ａｄａ", "ada"),  # full width
        ("ΌΣΟΣ", "όσος"),  # final sigma
        ("e\u0301cole", "\u00c9COLE"),  # combining accent
    ],
)
def test_people_take_these_for_the_same(one: str, other: str) -> None:
    assert names.key(one) == names.key(other)


@pytest.mark.parametrize("name", ["a", "Ada Lovelace", "李小龍", "o'neill", "a.b", "x" * 64, "🦉"])
def test_a_username_can_be_nearly_anything(name: str) -> None:
    names.check(username=name)


@pytest.mark.parametrize(
    "name",
    [
        " ada",
        "ada ",
        "a\nb",
        "a\x7f",
        "a\u200bb",  # zero width space
        "a\u202eb",  # right-to-left override
        "a\u2028b",  # line separator
        "a/b",
        "a／b",  # full width
        ".",
        "..",
        "．．",
        "\u0378",  # not assigned
    ],
)
def test_a_username_that_no_path_can_hold_is_invalid(name: str) -> None:
    with pytest.raises(Invalid) as refusal:
        names.check(username=name)
    assert refusal.value.errors == {"username": ["is invalid"]}


@pytest.mark.parametrize("address", ["a@b", "ada+tag@example.org", "用户@例子.广告", "o'n@x.y"])
def test_an_address_has_a_name_and_a_place(address: str) -> None:
    names.check(email=address)


@pytest.mark.parametrize(
    "address", ["ada", "@b", "a@", "a@b@c", "a b@c", "a@b\n", "a\u00a0@b", "a@b\u200b", "a@b＠c"]
)
def test_what_is_no_address_is_invalid(address: str) -> None:
    with pytest.raises(Invalid) as refusal:
        names.check(email=address)
    assert refusal.value.errors == {"email": ["is invalid"]}


def test_both_faults_are_told_at_once() -> None:
    with pytest.raises(Invalid) as refusal:
        names.check("..", "nowhere")
    assert refusal.value.errors.keys() == {"username", "email"}


def test_a_key_that_outgrows_the_limit_is_too_long() -> None:
    swelling = "\ufdfa"  # one character that stands for eighteen
    with pytest.raises(Invalid) as refusal:
        names.check(swelling * 64, swelling * 200 + "@b")
    assert refusal.value.errors == {
        "username": ["is too long (maximum is 64 characters)"],
        "email": ["is too long (maximum is 254 characters)"],
    }


def test_nobody_is_looked_up_by_an_endless_name() -> None:
    assert names.lookup_key("ADA") == "ada"
    with pytest.raises(Invalid):
        names.lookup_key("x" * 65)
