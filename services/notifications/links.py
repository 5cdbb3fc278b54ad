"""Links in mail: to the front end, and to end mail of one kind without logging in."""

import hashlib
from datetime import datetime, timedelta
from urllib.parse import quote
from uuid import UUID

import msgspec
from itsdangerous import BadData, URLSafeSerializer

from services.notifications.model import Kind

UNSUBSCRIBE = "/api/notifications/unsubscribe"
LASTS = timedelta(days=365)


class Unsubscription(msgspec.Struct, frozen=True, array_like=True):
    """Whose mail of what kind ends; nothing ends after `expires`, in seconds since 1970."""

    account_id: UUID
    kind: Kind
    expires: int


def unsubscribe_link(site: str, key: str, account_id: UUID, kind: Kind, now: datetime) -> str:
    """An URL which proves that its holder got the account's mail of that kind."""
    what = Unsubscription(account_id, kind, int((now + LASTS).timestamp()))
    return f"{site}{UNSUBSCRIBE}?token={_signer(key).dumps(msgspec.to_builtins(what))}"


def find_unsubscription(key: str, token: str, now: datetime) -> Unsubscription | None:
    """What a token is for; None for one that was not made here, or is too old."""
    try:
        what = msgspec.convert(_signer(key).loads(token), Unsubscription)
    except (BadData, msgspec.ValidationError):
        return None
    return what if now.timestamp() < what.expires else None


def article_link(site: str, slug: str) -> str:
    """The page of an article, where RealWorld's front ends have it."""
    return f"{site}/article/{quote(slug, safe='')}"


def profile_link(site: str, username: str) -> str:
    """The page of somebody, where RealWorld's front ends have it."""
    return f"{site}/profile/{quote(username, safe='')}"


def _signer(key: str) -> URLSafeSerializer:
    return URLSafeSerializer(
        key,
        salt="unsubscribe",
        signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256},
    )
