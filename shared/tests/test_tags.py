"""What a reply says that it is about."""

from quart import Response

from shared import tags


def test_a_name_is_one_token_whatever_it_holds() -> None:
    assert tags.article("a, b/c") == "article:a%2C%20b%2Fc"
    assert tags.comments("é") == "comments:%C3%A9"
    assert tags.tag("a:b") == "tag:a%3Ab"


def test_spellings_of_one_username_are_one_tag() -> None:
    assert tags.author("ADA") == tags.author("ada") == tags.author("\uff21da") == "author:ada"


def test_each_is_named_once() -> None:
    said = tags.tagged(Response(""), ["list", "article:a", "list"])
    assert said.headers[tags.TAGS] == "list, article:a"


def test_where_there_are_too_many_their_kinds_are_named() -> None:
    names = ["list", *(tags.article(f"{number:0100}") for number in range(50)), tags.author("ada")]
    said = tags.tagged(Response(""), names)
    assert said.headers[tags.TAGS] == "list, article:*, author:*"


def test_a_write_says_what_it_changed_or_that_it_was_too_much() -> None:
    response = Response("")
    tags.changing(response, ["list", "article:a", "list"], "one")
    assert response.headers[tags.TAGS] == "list, article:a"
    assert response.headers[tags.AGGREGATE] == "one"
    tags.changing(response, (tags.tag(f"{number:0100}") for number in range(50)), "one")
    assert response.headers[tags.TAGS] == tags.EVERYTHING
