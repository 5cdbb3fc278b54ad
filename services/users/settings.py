"""What the users service can be told, by `USERS_…` variables."""

from typing import Annotated

from msgspec import Meta

from shared.settings import DataSettings

Positive = Annotated[int, Meta(ge=1)]


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
