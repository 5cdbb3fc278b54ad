"""What the gadgetry service publishes."""

from typing import ClassVar
from uuid import UUID

from shared.events import Event


class GadgetAdded(Event, frozen=True, kw_only=True):
    """`owner_id` has one more."""

    SUBJECT: ClassVar[str] = "gadgetry.gadget_added.v1"

    gadget_id: UUID
    owner_id: UUID
    title: str

    @property
    def aggregate(self) -> str:
        return str(self.gadget_id)


EVENTS: tuple[type[Event], ...] = (GadgetAdded,)
