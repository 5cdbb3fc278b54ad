"""How much one client may ask for: of everything, and of what costs or invites guessing.

On the wire as draft-ietf-httpapi-ratelimit-headers-10 has it.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from ipaddress import IPv6Address, IPv6Network

from quart import Quart
from redis.asyncio import Redis

from services.gateway.exchange import Exchange
from services.gateway.gcra import Alone, Answer, Charge, Policy, Verdict, charge_together
from services.gateway.settings import Settings
from services.gateway.table import Limit, Route
from services.gateway.valkey import Breaker, connected
from shared.errors import AppError
from shared.settings import SettingsError

# Far over what a front end asks for, by one person; an office may share an address.
ADDRESS = Policy("address", quota=200, window=4)
ACCOUNT = Policy("account", quota=200, window=8)
# Of a class of routes, by account where one is known, else by address.
CLASSES: Mapping[Limit, Policy | None] = {
    "read": None,
    "write": Policy("write", quota=100, window=20),
    "login": Policy("login", quota=40, window=480),
    "registration": Policy("registration", quota=40, window=480),
}
_PREFIX = 64  # bits of an IPv6 address that one customer has


class TooManyRequests(AppError):
    """A quota is used up (RFC 6585, 4)."""

    status, title = 429, "Too Many Requests"


class Limits:
    """Counts requests in Valkey, for all gateways, and here; while it is away, here alone."""

    def __init__(self, valkey: Redis) -> None:
        self._valkey = valkey
        self._alone = Alone()
        self._breaker = Breaker("each gateway limits for itself")

    async def admit(self, exchange: Exchange, route: Route) -> None:
        """Count a request, whose reply will tell how the quotas stand. Raises `TooManyRequests`
        where one is used up; such a request does not count.
        """
        charges = charges_of(exchange, route)
        allowed, verdicts = await self._judge(charges)
        exchange.told += _fields(verdicts)
        if not allowed:
            worst = max(verdicts, key=lambda verdict: verdict.wait)
            said = f"Too many requests: the quota '{worst.policy.name}' is used up."
            raise TooManyRequests(said, retry_after=max(1, worst.wait))

    async def _judge(self, charges: Sequence[Charge]) -> Answer:
        """What this gateway alone would refuse, Valkey would as well: a flood does not get that
        far. And what this gateway knows is there already, in the moment when Valkey is not.
        """
        ours = self._alone.judge(charges)
        if not ours[0]:
            return ours
        theirs: Answer | None = await self._breaker.ask(
            lambda: charge_together(self._valkey, charges)
        )
        if theirs is None:
            return self._alone.charge(charges)
        if theirs[0]:
            self._alone.charge(charges)
        return theirs


class Unlimited:
    """Lets everything in, for load tests."""

    async def admit(self, exchange: Exchange, route: Route) -> None:
        """Count nothing."""


def charges_of(exchange: Exchange, route: Route) -> list[Charge]:
    """What a request counts against. An account is known only where its token was valid."""
    client = exchange.scope.get("client")
    who = network(client[0]) if client else "unknown"
    charges = [Charge(ADDRESS, who)]
    if exchange.account is not None:
        who = str(exchange.account)
        charges.append(Charge(ACCOUNT, who))
    policy = CLASSES[route.limit or ("read" if route.method == "GET" else "write")]
    if policy is not None:
        charges.append(Charge(policy, who))
    return charges


def network(address: str) -> str:
    """What of an address is one client: an IPv6 customer has many addresses of one prefix."""
    if ":" not in address:
        return address
    parsed = IPv6Address(address)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(IPv6Network((parsed.packed, _PREFIX), strict=False))


def _fields(verdicts: Sequence[Verdict]) -> list[tuple[bytes, bytes]]:
    policies = ", ".join(
        f'"{v.policy.name}";q={v.policy.quota};w={v.policy.window}' for v in verdicts
    )
    states = ", ".join(f'"{v.policy.name}";r={v.remaining};t={v.full_in_seconds}' for v in verdicts)
    return [(b"ratelimit-policy", policies.encode()), (b"ratelimit", states.encode())]


def use_limits(app: Quart, settings: Settings) -> None:
    """Let `app` limit its clients. Raises `SettingsError` where production would not."""
    if settings.limits == "off":
        if settings.env == "production":
            raise SettingsError(["GATEWAY_LIMITS: 'off' is for load tests, never for production"])
        app.extensions["limits"] = Unlimited()
        return

    @app.while_serving
    async def limits() -> AsyncGenerator[None, None]:
        async with connected(settings.redis_url) as valkey:
            app.extensions["limits"] = Limits(valkey)
            yield
