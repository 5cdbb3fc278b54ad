"""Facts that services publish: one module per publisher, additive change only.

A subject is `<publisher>.<fact>.v<N>`. Anything but an added optional field is a `.v<N+1>` beside
the old one. A golden sample per event, in `samples/`, must decode for ever.
"""

from datetime import datetime
from typing import ClassVar
from uuid import UUID

import msgspec


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """A fact in the past tense. `SUBJECT` is its NATS subject; `aggregate` what it happened to:
    events of one aggregate are published, and take effect, in the order of their commits.
    """

    SUBJECT: ClassVar[str]

    @property
    def aggregate(self) -> str:
        raise NotImplementedError


class SnapshotCompleted(Event, frozen=True, kw_only=True):
    """All that exists at the source was told again, at positions above `since`, by `events` events
    whose ids count up from `first`.
    """

    since: int
    first: UUID
    events: int

    @property
    def aggregate(self) -> str:
        return str(self.first)


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """CloudEvents 1.0 attributes of one event: `position` is its number in its source's outbox. A
    `snapshot` tells again how things are: nothing has happened.
    """

    id: UUID
    source: str
    position: int
    subject: str
    occurred_at: datetime
    snapshot: bool = False
