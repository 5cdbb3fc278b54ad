"""How accounts want to be told. What one never said is the default: the inbox, and no mail."""

from collections.abc import Mapping
from uuid import UUID

from services.notifications.model import Channels, ChannelsChange, Kind
from shared.database import Connection


async def select_preferences(db: Connection, account_id: UUID) -> dict[Kind, Channels]:
    """What the account said, by kind; the kinds that it never spoke of are not there."""
    rows = await db.fetch(
        """SELECT kind, COALESCE(inbox, true) AS inbox, COALESCE(email, false) AS email
             FROM preferences
            WHERE account_id = $1""",
        account_id,
    )
    return {row["kind"]: Channels(inbox=row["inbox"], email=row["email"]) for row in rows}


async def upsert_preferences(
    db: Connection, account_id: UUID, changes: Mapping[Kind, ChannelsChange]
) -> dict[Kind, Channels]:
    """Change what is not None, and return the same as `select_preferences`."""
    rows = await db.fetch(
        """WITH said AS (
             INSERT INTO preferences AS old (account_id, kind, inbox, email)
             SELECT $1, kind, inbox, email
               FROM unnest($2::text[], $3::boolean[], $4::boolean[]) AS new (kind, inbox, email)
             ON CONFLICT (account_id, kind) DO UPDATE
                SET inbox = COALESCE(EXCLUDED.inbox, old.inbox),
                    email = COALESCE(EXCLUDED.email, old.email)
             RETURNING kind, inbox, email)
           SELECT kind, COALESCE(inbox, true) AS inbox, COALESCE(email, false) AS email
             FROM (SELECT kind, inbox, email FROM said
                   UNION ALL
                   SELECT kind, inbox, email
                     FROM preferences
                    WHERE account_id = $1 AND kind <> ALL($2::text[])) AS all_said""",
        account_id,
        list(changes),
        [change.inbox for change in changes.values()],
        [change.email for change in changes.values()],
    )
    return {row["kind"]: Channels(inbox=row["inbox"], email=row["email"]) for row in rows}
