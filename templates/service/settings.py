"""What the gadgetry service can be told."""

from shared.settings import DataSettings


class Settings(DataSettings, frozen=True, kw_only=True):
    """Settings of the gadgetry service, `GADGETRY_…` in the environment."""

    jwks_url: str = "http://127.0.0.1:8001/.well-known/jwks.json"
    port: int = 8009
