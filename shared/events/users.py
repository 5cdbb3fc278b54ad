"""What the users service publishes."""

from typing import ClassVar
from uuid import UUID

from shared.events import Event, SnapshotCompleted


class UserRegistered(Event, frozen=True, kw_only=True):
    """Somebody has an account now."""

    SUBJECT: ClassVar[str] = "users.registered.v1"

    account_id: UUID
    username: str
    email: str
    bio: str
    image: str

    @property
    def aggregate(self) -> str:
        return str(self.account_id)


class ProfileUpdated(Event, frozen=True, kw_only=True):
    """Somebody changed what others see of them, or where mail reaches them; all values are new, but
    the former name, which is there when another has taken its place.
    """

    SUBJECT: ClassVar[str] = "users.profile_updated.v1"

    account_id: UUID
    username: str
    email: str
    bio: str
    image: str
    former_username: str | None = None

    @property
    def aggregate(self) -> str:
        return str(self.account_id)


class UserFollowed(Event, frozen=True, kw_only=True):
    """`follower_id` wants to read what `followee_id` publishes."""

    SUBJECT: ClassVar[str] = "users.followed.v1"

    follower_id: UUID
    followee_id: UUID

    @property
    def aggregate(self) -> str:
        return f"{self.follower_id}:{self.followee_id}"


class UserUnfollowed(Event, frozen=True, kw_only=True):
    """`follower_id` no longer wants that."""

    SUBJECT: ClassVar[str] = "users.unfollowed.v1"

    follower_id: UUID
    followee_id: UUID

    @property
    def aggregate(self) -> str:
        return f"{self.follower_id}:{self.followee_id}"


class UsersSnapshotCompleted(SnapshotCompleted, frozen=True, kw_only=True):
    """The service has told again of every account and every follow."""

    SUBJECT: ClassVar[str] = "users.snapshot_completed.v1"


EVENTS: tuple[type[Event], ...] = (
    UserRegistered,
    ProfileUpdated,
    UserFollowed,
    UserUnfollowed,
    UsersSnapshotCompleted,
)
