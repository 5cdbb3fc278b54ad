"""What the worker does: mail, and the nightly clean-up.

Mail is sent by the time that its job is recorded as done, and a crash between the two sends it
twice, by the same Message-ID; nothing else does.
"""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from quart import current_app

from services.notifications.letters import Letter, notification, welcome
from services.notifications.links import article_link, profile_link, unsubscribe_link
from services.notifications.mail import COMMAND_SECONDS, DATA_SECONDS, Mail
from services.notifications.model import Kind, Tidings
from services.notifications.queries.mail import find_addressee, find_tidings
from services.notifications.queries.notifications import delete_read
from services.notifications.settings import Settings
from shared.database import connection, transaction
from shared.jobs import Job, Periodic, current_job, job

ATTEMPTS = 30  # some hours: an SMTP server may be away for as long
SECONDS = 10 * COMMAND_SECONDS + DATA_SECONDS  # longer than the server can take
KEPT = timedelta(days=90)
BATCH = 1_000


class NotKnownYet(Exception):
    """The event that tells of a person or an article has not been taken in."""


class Welcome(msgspec.Struct, frozen=True):
    """Whom to greet."""

    account_id: UUID


class Tell(msgspec.Struct, frozen=True, kw_only=True):
    """Whom to tell of whose deed."""

    recipient_id: UUID
    kind: Kind
    actor_id: UUID
    article_id: UUID | None


class Clean(msgspec.Struct, frozen=True):
    """Nothing to say."""


@job("email.welcome", priority="high", attempts=ATTEMPTS, timeout=SECONDS)
async def email_welcome(payload: Welcome) -> None:
    """Greet somebody."""
    async with connection() as db:
        reader = await find_addressee(db, payload.account_id)
    if reader is None:
        raise NotKnownYet
    await _send(reader.email, welcome(reader.username, _settings().public_url), datetime.now(UTC))


@job("email.notification", attempts=ATTEMPTS, timeout=SECONDS)
async def email_notification(payload: Tell) -> None:
    """Tell somebody of a deed, unless they have changed their mind or the article is gone."""
    async with connection() as db:
        tidings = await find_tidings(
            db, payload.kind, payload.recipient_id, payload.actor_id, payload.article_id
        )
    if tidings is None:
        raise NotKnownYet
    if tidings.wanted:
        now = datetime.now(UTC)
        await _send(tidings.email, _letter(payload, tidings, now), now)


@job("notifications.clean", priority="low", timeout=600)
async def clean_notifications(_: Clean) -> None:
    """Remove what is read and old, some at a time: no long locks, and all the same if it stops."""
    before, removed = datetime.now(UTC) - KEPT, BATCH
    while removed == BATCH:
        async with transaction() as db:
            removed = await delete_read(db, before, BATCH)


def _letter(payload: Tell, tidings: Tidings, now: datetime) -> Letter:
    settings = _settings()
    site, slug = settings.public_url, tidings.slug
    link = profile_link(site, tidings.actor) if slug is None else article_link(site, slug)
    end = unsubscribe_link(site, settings.unsubscribe_key, payload.recipient_id, payload.kind, now)
    return notification(payload.kind, tidings.actor, tidings.title or "", link, end)


async def _send(to: str, letter: Letter, now: datetime) -> None:
    mail = Mail(id=current_job(), to=to, letter=letter, at=now)
    await current_app.extensions["mailer"].send(mail)


def _settings() -> Settings:
    settings: Settings = current_app.extensions["settings"]
    return settings


JOBS: tuple[Job[Any], ...] = (email_welcome, email_notification, clean_notifications)
PERIODIC = (Periodic("0 3 * * *", clean_notifications, Clean()),)
