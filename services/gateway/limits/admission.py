"""How much one client may ask for: of everything, and of what costs or invites guessing.

On the wire as draft-ietf-httpapi-ratelimit-headers-10 has it.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from functools import lru_cache
from ipaddress import IPv6Address, IPv6Network
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from quart import Quart
from redis.asyncio import Redis

from services.gateway.limits.gcra import Alone, Answer, Charge, Policy, Verdict, charge_together
from services.gateway.messages.exchange import Exchange
from services.gateway.settings import Settings
from services.gateway.table import Limit, Route
from services.gateway.valkey import Breaker
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
    "vitals": Policy("vitals", quota=60, window=60),
}


class Quotas(NamedTuple):
    """What limits clients at the moment."""

    address: Policy = ADDRESS
    account: Policy = ACCOUNT
    classes: Mapping[Limit, Policy | None] = CLASSES


class Rules(Protocol):
    """Who knows the quotas, which may change at any time."""

    quotas: Quotas


_PREFIX = 64  # bits of an IPv6 address that one customer has


class TooManyRequests(AppError):
    """A quota is used up (RFC 6585, 4)."""

    status, title = 429, "Too Many Requests"


class Admission(Protocol):
    """Who lets requests in. Each is counted once, by whichever of the two comes first."""

    async def admit(self, exchange: Exchange, route: Route) -> None:
        """Count a request for a service. Raises `TooManyRequests`."""

    def admit_here(self, exchange: Exchange, route: Route) -> None:
        """Count a request that is answered here. Raises `TooManyRequests`."""

    def admit_anybody(self, scope: Any, route: Route) -> list[tuple[bytes, bytes]] | None:
        """Count a read by somebody anonymous that is answered here; gives fields of its reply, None
        where it must be refused.
        """


class Limits:
    """Counts requests in Valkey, for all gateways, and here; while it is away, here alone."""

    def __init__(self, valkey: Redis, rules: Rules) -> None:
        self._valkey, self._rules = valkey, rules
        self._alone = Alone()
        self._breaker = Breaker("each gateway limits for itself")

    async def admit(self, exchange: Exchange, route: Route) -> None:
        """Count a request, whose reply will tell how the quotas stand. Raises `TooManyRequests`
        where one is used up; such a request does not count.
        """
        if not exchange.admitted:
            charges = charges_of(exchange.scope, route, exchange.account, self._rules.quotas)
            _tell(exchange, await self._judge(charges))

    def admit_here(self, exchange: Exchange, route: Route) -> None:
        """Count a request that costs no service anything, at once: in this gateway, beside what it
        knows of all gateways together. Raises `TooManyRequests`.
        """
        if not exchange.admitted:
            charges = charges_of(exchange.scope, route, exchange.account, self._rules.quotas)
            _tell(exchange, self._alone.charge(charges))

    def admit_anybody(self, scope: Any, route: Route) -> list[tuple[bytes, bytes]] | None:
        """Count a read by somebody anonymous that is answered here, at once; gives what the reply
        tells of the quotas. None where one is used up.
        """
        allowed, verdicts = self._alone.charge(charges_of(scope, route, None, self._rules.quotas))
        return _fields(verdicts) if allowed else None

    async def _judge(self, charges: Sequence[Charge]) -> Answer:
        """What this gateway alone would refuse, Valkey would as well: a flood does not get that
        far. And what this gateway knows is there already, in the moment when Valkey is not.
        """
        ours = self._alone.charge(charges)
        if not ours[0]:
            return ours
        theirs: Answer | None = await self._breaker.ask(
            lambda: charge_together(self._valkey, charges)
        )
        return ours if theirs is None else self._alone.follow(charges, theirs)


class Unlimited:
    """Lets everything in, for load tests."""

    async def admit(self, exchange: Exchange, route: Route) -> None:
        """Count nothing."""

    def admit_here(self, exchange: Exchange, route: Route) -> None:
        """Count nothing."""

    def admit_anybody(self, scope: Any, route: Route) -> list[tuple[bytes, bytes]]:
        """Count nothing."""
        return []


def _tell(exchange: Exchange, answer: Answer) -> None:
    allowed, verdicts = answer
    exchange.admitted = True
    exchange.told += _fields(verdicts)
    if not allowed:
        worst = max(verdicts, key=lambda verdict: verdict.wait)
        said = f"Too many requests: the quota '{worst.policy.name}' is used up."
        raise TooManyRequests(said, retry_after=max(1, worst.wait))


def charges_of(scope: Any, route: Route, account: UUID | None, quotas: Quotas) -> list[Charge]:
    """What a request counts against. An account is known only where its token was valid, and is
    nothing to a route that asks for none: guesses of passwords count by address.
    """
    client = scope.get("client")
    who = network(client[0]) if client else "unknown"
    charges = [Charge(quotas.address, who)]
    if account is not None and route.access != "public":
        who = str(account)
        charges.append(Charge(quotas.account, who))
    policy = quotas.classes[route.limit or ("read" if route.method == "GET" else "write")]
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
    policies = _policies(tuple(v.policy for v in verdicts))
    states = ", ".join(f'"{v.policy.name}";r={v.remaining};t={v.full_in_seconds}' for v in verdicts)
    return [(b"ratelimit-policy", policies), (b"ratelimit", states.encode())]


@lru_cache(128)
def _policies(policies: tuple[Policy, ...]) -> bytes:
    return ", ".join(f'"{p.name}";q={p.quota};w={p.window}' for p in policies).encode()


def use_limits(app: Quart, settings: Settings) -> None:
    """Let `app` limit its clients. Needs `use_policies` and `use_valkey` before it. Raises
    `SettingsError` where production would not.
    """
    if settings.limits == "off":
        if settings.env == "production":
            raise SettingsError(["GATEWAY_LIMITS: 'off' is for load tests, never for production"])
        app.extensions["limits"] = Unlimited()
        return

    @app.while_serving
    async def limits() -> AsyncGenerator[None, None]:
        app.extensions["limits"] = Limits(app.extensions["valkey"], app.extensions["policies"])
        yield
