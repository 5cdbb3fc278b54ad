"""What the notifications service publishes."""

from typing import ClassVar
from uuid import UUID

import msgspec

from shared.events import Event


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """One account's notification, and its `number`: of two of one account, the larger one was
    announced later, in every outbox and on every wire.
    """

    account_id: UUID
    id: UUID
    number: int


class NotificationsCreated(Event, frozen=True, kw_only=True):
    """Accounts can see that somebody did something; `notification` is what each of them sees, but
    for the id. Numbers only grow from one event to the next.
    """

    SUBJECT: ClassVar[str] = "notifications.created.v1"

    actor_id: UUID
    notification: msgspec.Raw
    told: list[Told]

    @property
    def aggregate(self) -> str:
        return str(self.actor_id)


EVENTS: tuple[type[Event], ...] = (NotificationsCreated,)
