"""The rules of gadgets."""

from datetime import datetime
from uuid import UUID

from shared.database import Connection
from shared.errors import Unavailable
from shared.outbox import publish
from templates.service.events import GadgetAdded
from templates.service.model import Gadget
from templates.service.queries import insert_gadget


class OwnerUnknown(Unavailable):
    """The caller's registration has not arrived here yet."""

    def __init__(self) -> None:
        super().__init__("Your account is not known here yet; try again in a moment.")


async def add(db: Connection, owner_id: UUID, title: str, id_: UUID, now: datetime) -> Gadget:
    """Add what a member names, and tell of it. Raises `OwnerUnknown`."""
    added = await insert_gadget(db, owner_id, title, id_, now)
    if added is None:
        raise OwnerUnknown
    await publish(db, GadgetAdded(gadget_id=id_, owner_id=owner_id, title=title), now)
    return added
