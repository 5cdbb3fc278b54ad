"""What was asked of the suite, and what came of it, as its clients saw it."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

Kind = Literal["register", "publish", "comment", "follow", "favorite"]


class Outcome(StrEnum):
    """What a client knows of its write."""

    ACKNOWLEDGED = "acknowledged"  # 2xx
    REFUSED = "refused"  # 4xx: it has changed nothing
    UNKNOWN = "unknown"  # 5xx or no answer: done or not, but wholly


@dataclass
class Write:
    """One write. `mark` is a name that no other of its kind has: a username, a title, a comment's
    text. Follows and favourites have none: they are the state of a pair, and `on` is what it was
    asked to be.
    """

    kind: Kind
    actor: str
    mark: str = ""
    target: str = ""
    on: bool = True
    began: float = 0.0
    outcome: Outcome = Outcome.UNKNOWN
    reply_id: str = ""

    @property
    def pair(self) -> tuple[str, str]:
        """Who relates to what: follower and followee, account and article's title."""
        return self.actor, self.target


@dataclass
class Request:
    """One request, reads as well; `status` 0 means that there was no answer. `said` is why it
    failed, as the suite put it.
    """

    method: str
    path: str
    began: float
    ended: float
    status: int
    said: str = ""

    @property
    def failed(self) -> bool:
        """Whether the suite, and not the client, is to blame."""
        return self.status == 0 or self.status >= 500

    def __str__(self) -> str:
        seconds = self.ended - self.began
        return f"{self.method} {self.path}: {self.status} {self.said} after {seconds:.2f} s"


@dataclass
class History:
    """All writes and requests of one run, in the order in which they began."""

    writes: list[Write] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)

    @property
    def acknowledged(self) -> int:
        """How many writes were."""
        return sum(write.outcome == Outcome.ACKNOWLEDGED for write in self.writes)

    @property
    def failed(self) -> list[Request]:
        """The requests that failed."""
        return [request for request in self.requests if request.failed]
