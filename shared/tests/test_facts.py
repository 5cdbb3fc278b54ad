"""Which tags an event purges."""

from pathlib import Path
from uuid import uuid4

import msgspec
import pytest

from shared import events
from shared.events import content, users
from shared.facts import tags_of, touched
from shared.tests.bells import Rang

SAMPLES = Path(events.__file__).parent / "samples"
ABOUT = {"article_id": uuid4(), "author_id": uuid4()}


@pytest.mark.parametrize("event", [*users.EVENTS, *content.EVENTS], ids=lambda event: event.SUBJECT)
def test_every_event_is_understood(event: type[events.Event]) -> None:
    tags = tags_of(event.SUBJECT, (SAMPLES / f"{event.SUBJECT}.json").read_bytes())
    assert (tags == ["*"]) == event.SUBJECT.endswith("snapshot_completed.v1")


def test_a_former_name_is_purged_as_well() -> None:
    event = users.ProfileUpdated(
        account_id=uuid4(), username="Bé", email="", bio="", image="", former_username="ADA"
    )
    said = tags_of(event.SUBJECT, msgspec.json.encode(event))
    assert said == ["author:b%C3%A9", "author:ada", "author:*"]


def test_a_former_slug_is_purged_as_well() -> None:
    event = content.ArticleUpdated(**ABOUT, slug="b", title="", tags=["x"], former_slug="a")
    said = tags_of(event.SUBJECT, msgspec.json.encode(event))
    assert said == ["article:b", "article:a", "list", "tag:x", "article:*", "tag:*"]


@pytest.mark.parametrize(
    ("subject", "data"),
    [
        ("content.of_tomorrow.v1", b"{}"),
        ("users.registered.v1", b"{"),
        ("users.registered.v1", b""),
    ],
)
def test_what_is_not_understood_purges_everything(subject: str, data: bytes) -> None:
    assert tags_of(subject, data) == ["*"]


def test_of_an_event_that_no_page_shows_a_write_says_nothing() -> None:
    assert touched(Rang(name="a")) is None
