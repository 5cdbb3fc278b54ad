"""The notifications service's public operations."""

from datetime import UTC, datetime
from uuid import UUID

from quart import Blueprint, Response, current_app

from services.notifications import letters, schema
from services.notifications.links import UNSUBSCRIBE, Unsubscription, find_unsubscription
from services.notifications.model import ChannelsChange
from services.notifications.queries.announcements import select_since
from services.notifications.queries.notifications import (
    select_inbox,
    update_all_read,
    update_read,
)
from services.notifications.queries.preferences import select_preferences, upsert_preferences
from shared.auth import caller
from shared.database import connection, transaction
from shared.http import body, operation, query, reply

routes = Blueprint("notifications", __name__)
_PAGE = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",  # the URL holds the token
}


@routes.get("/api/notifications")
@operation(
    "GetNotifications",
    "What the caller is told of, the newest first; `Link` leads to the next page",
    access="required",
    tag="Notifications",
    query=schema.NotificationsPage,
    returns={200: schema.MultipleNotifications},
)
async def list_notifications() -> Response:
    page = query(schema.NotificationsPage)
    async with connection() as db:
        inbox = await select_inbox(db, caller().id, page.before, page.limit)
    response = reply(schema.notifications(inbox))
    if inbox.more:
        response.headers["Link"] = _next(inbox.page[-1].id, page.limit)
    return response


@routes.get("/api/notifications/since")
@operation(
    "GetNotificationsSince",
    "What was announced to the caller after a number, in that order; live streams resume by it",
    access="required",
    tag="Notifications",
    query=schema.NotificationsSince,
    returns={200: schema.NumberedNotifications},
)
async def list_since() -> Response:
    page = query(schema.NotificationsSince)
    async with connection() as db:
        found = await select_since(db, caller().id, page.after, page.limit)
    return reply(schema.since(found))


@routes.put("/api/notifications/<uuid:id>/read")
@operation(
    "ReadNotification",
    "Mark a notification as read; the first time counts",
    access="required",
    tag="Notifications",
    returns={200: schema.SingleNotification},
)
async def read_notification(id: UUID) -> Response:
    async with transaction() as db:
        shown = await update_read(db, caller().id, id, datetime.now(UTC))
    return reply(schema.SingleNotification(notification=schema.notification(shown)))


@routes.put("/api/notifications/read")
@operation(
    "ReadNotifications",
    "Mark all notifications as read",
    access="required",
    tag="Notifications",
    returns={200: schema.UnreadCount},
)
async def read_notifications() -> Response:
    async with transaction() as db:
        await update_all_read(db, caller().id, datetime.now(UTC))
    return reply(schema.UnreadCount(unread_count=0))


@routes.get("/api/notifications/preferences")
@operation(
    "GetNotificationPreferences",
    "How the caller is told of each kind",
    access="required",
    tag="Notifications",
    returns={200: schema.SinglePreferences},
)
async def get_preferences() -> Response:
    async with connection() as db:
        said = await select_preferences(db, caller().id)
    return reply(schema.preferences(said))


@routes.put("/api/notifications/preferences")
@operation(
    "UpdateNotificationPreferences",
    "Change how the caller is told from now on; what is left out stays",
    access="required",
    tag="Notifications",
    body=schema.UpdatePreferencesRequest,
    returns={200: schema.SinglePreferences},
)
async def update_preferences() -> Response:
    update = await body(schema.UpdatePreferencesRequest)
    async with transaction() as db:
        said = await upsert_preferences(db, caller().id, schema.changes(update.preferences))
    return reply(schema.preferences(said))


@routes.get(UNSUBSCRIBE)
@operation(
    "ShowUnsubscribe",
    "A page that asks whether mail of one kind should end; it changes nothing, since who scans "
    "mail follows its links",
    access="public",
    tag="Notifications",
    query=schema.UnsubscribeLink,
    returns={200: None, 403: None},
)
async def show_unsubscribe() -> Response:
    what = _unsubscription()
    if what is None:
        return _bad_link()
    return _page(f"Do you want no more mail of {letters.WHAT[what.kind]}?", "No more of it")


@routes.post(UNSUBSCRIBE)
@operation(
    "Unsubscribe",
    "End mail of one kind, with one click and no token but that of the link (RFC 8058)",
    access="public",
    tag="Notifications",
    query=schema.UnsubscribeLink,
    returns={200: None, 403: None},
)
async def unsubscribe() -> Response:
    what = _unsubscription()
    if what is None:
        return _bad_link()
    async with transaction() as db:
        await upsert_preferences(db, what.account_id, {what.kind: ChannelsChange(email=False)})
    return _page(f"You get no more mail of {letters.WHAT[what.kind]}.")


def _unsubscription() -> Unsubscription | None:
    key: str = current_app.extensions["settings"].unsubscribe_key
    return find_unsubscription(key, query(schema.UnsubscribeLink).token, datetime.now(UTC))


def _bad_link() -> Response:
    return _page(
        "This link is not valid, or too old. Your settings say what mail you get.", "", 403
    )


def _page(sentence: str, button: str = "", status: int = 200) -> Response:
    return Response(letters.page(sentence, button), status=status, headers=_PAGE)


def _next(last: UUID, limit: int) -> str:
    """A link to the page after the notification (RFC 8288)."""
    return f'</api/notifications?before={last}&limit={limit}>; rel="next"'
