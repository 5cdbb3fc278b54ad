"""What the users service can be told, by `USERS_…` variables."""

from typing import Annotated

from msgspec import Meta

from shared.settings import DataSettings

Positive = Annotated[int, Meta(ge=1)]
PUBLIC_KEY = "development-only"  # the kid of the key in the `dev` overlay


class Settings(DataSettings, frozen=True, kw_only=True):
    """`signing_keys` is a JWK Set. The hash settings default to the second recommended option of
    RFC 9106, with one lane: a hash then takes one core, so `hash_threads` is all that it can take.
    """

    port: int = 8001
    signing_keys: str
    token_ttl: Positive = 604_800
    hash_memory_kib: Annotated[int, Meta(ge=8)] = 65_536
    hash_time_cost: Positive = 3
    hash_parallelism: Positive = 1
    hash_threads: Positive = 2
    hash_queue: Annotated[int, Meta(ge=0)] = 32

    def unfit(self) -> dict[str, str]:
        """Also the key that everybody can read."""
        public = {"signing_keys": f"`{PUBLIC_KEY}` can be read by everybody"}
        return super().unfit() | (public if f'"{PUBLIC_KEY}"' in self.signing_keys else {})
