"""What the content service can be told."""

from shared.settings import DataSettings, Server


class Settings(DataSettings, frozen=True, kw_only=True):
    """Settings of the content service, `CONTENT_…` in the environment."""

    jwks_url: str = "http://127.0.0.1:8001/.well-known/jwks.json"
    port: int = 8002
    server: Server = "http1"
