"""What the gateway can be told."""

from shared.settings import Server, ServiceSettings


class Settings(ServiceSettings, frozen=True, kw_only=True):
    """Settings of the gateway, `GATEWAY_…` in the environment. Times are in seconds."""

    port: int = 8000
    server: Server = "granian"
    users_url: str = "http://127.0.0.1:8001"
    content_url: str = "http://127.0.0.1:8002"
    notifications_url: str = "http://127.0.0.1:8003"
    jwks_url: str = "http://127.0.0.1:8001/.well-known/jwks.json"
    redis_url: str = "redis://127.0.0.1:6379/0"
    nats_url: str = "nats://127.0.0.1:4222"
    cache_bytes: int = 67_108_864
    cors_origins: tuple[str, ...] = ()
    connect_timeout: float = 1.0
    timeout: float = 10.0
    client_timeout: float = 30.0
    upstream_connections: int = 100

    @property
    def upstreams(self) -> dict[str, str]:
        """Where each service is."""
        return {
            "users": self.users_url,
            "content": self.content_url,
            "notifications": self.notifications_url,
        }

    @property
    def allowed_origins(self) -> tuple[str, ...]:
        """The origins whose scripts may read replies. Production names its own or has none."""
        if self.cors_origins or self.env == "production":
            return self.cors_origins
        return ("*",)
