"""The notifications service's public operations."""

from datetime import UTC, datetime
from uuid import UUID

from quart import Blueprint, Response

from services.notifications import schema
from services.notifications.queries.notifications import (
    select_inbox,
    update_all_read,
    update_read,
)
from shared.auth import caller
from shared.database import connection, transaction
from shared.http import operation, query, reply

routes = Blueprint("notifications", __name__)


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


def _next(last: UUID, limit: int) -> str:
    """A link to the page after the notification (RFC 8288)."""
    return f'</api/notifications?before={last}&limit={limit}>; rel="next"'
