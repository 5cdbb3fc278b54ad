"""Facts of users, to what this service keeps of them."""

from shared.database import Connection
from shared.events import Envelope
from shared.events.users import ProfileUpdated, UserRegistered
from shared.inbox import Handlers
from templates.service.queries import upsert_person


async def on_profile(
    db: Connection, event: UserRegistered | ProfileUpdated, envelope: Envelope
) -> None:
    """Keep what others see of an owner."""
    await upsert_person(db, event.account_id, event.username, envelope.position)


HANDLERS: Handlers = {UserRegistered: on_profile, ProfileUpdated: on_profile}
