"""What the gateway can be told."""

from typing import Literal

from shared.settings import Server, ServiceSettings


class Settings(ServiceSettings, frozen=True, kw_only=True):
    """Settings of the gateway, `GATEWAY_…` in the environment. Times are in seconds; `keep_alive`
    must be less than the services drain for.
    """

    port: int = 8000
    server: Server = "http1"
    users_url: tuple[str, ...] = ("http://127.0.0.1:8001",)
    content_url: tuple[str, ...] = ("http://127.0.0.1:8002",)
    notifications_url: tuple[str, ...] = ("http://127.0.0.1:8003",)
    jwks_url: str = "http://127.0.0.1:8001/.well-known/jwks.json"
    redis_url: str = "redis://127.0.0.1:6379/0"
    nats_url: str = "nats://127.0.0.1:4222"
    policies: str = ""
    cache: Literal["on", "off"] = "on"
    cache_bytes: int = 67_108_864
    cors_origins: tuple[str, ...] = ()
    limits: Literal["on", "off"] = "on"
    trusted_proxies: tuple[str, ...] = ()
    client_header: Literal["x-forwarded-for", "forwarded"] = "x-forwarded-for"
    metrics_host: str = "127.0.0.1"
    metrics_port: int = 9464
    connect_timeout: float = 1.0
    timeout: float = 10.0
    client_timeout: float = 30.0
    upstream_connections: int = 100
    upstream_queue: int = 200
    keep_alive: float = 4.0
    vitals_pages: tuple[str, ...] = ("/docs",)
    resolve: float = 5.0
    retry_budget: float = 0.2
    breaker_ratio: float = 0.5
    breaker_least: int = 10
    breaker_pause: float = 1.0
    shedding: Literal["on", "off"] = "on"
    hedging: Literal["on", "off"] = "off"
    live_streams: int = 10_000
    live_per_account: int = 10
    live_heartbeat: float = 20.0

    @property
    def upstreams(self) -> dict[str, tuple[str, ...]]:
        """Where the processes of each service are."""
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

    def unfit(self) -> dict[str, str]:
        """Also origins that anybody may have, or change on the way."""
        if "*" in self.cors_origins:
            return super().unfit() | {"cors_origins": "`*` lets every page read replies"}
        if any(not origin.startswith("https://") for origin in self.cors_origins):
            return super().unfit() | {"cors_origins": "an origin without https:// can be forged"}
        return super().unfit()
