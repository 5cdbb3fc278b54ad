"""One document while it is executed: how its fields ask the services."""

import asyncio
import hashlib
from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from services.gateway.asking import Asking, Part
from services.gateway.graph.calls import PROFILES, Call
from services.gateway.graph.loader import Loader
from services.gateway.messages.exchange import Exchange
from services.gateway.table import Route
from shared.auth import bearer
from shared.errors import BadGateway


class Admits(Protocol):
    """Counts a request against its quotas."""

    async def admit(self, exchange: Exchange, route: Route) -> None:
        """Raises `TooManyRequests`."""
        ...


class Refusal(msgspec.Struct, frozen=True):
    """What of a service's problem document a client gets to see."""

    title: str = "Bad Gateway"
    status: int = 502
    detail: str = ""
    errors: dict[str, list[str]] = {}


class Refused(Exception):
    """A service said no."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.detail)
        self.refusal = refusal


class Visit:
    """Asks for the fields of one document. A service is asked the same question once. The first
    question counted as the document; each other counts as the request that it saves its client.
    """

    def __init__(self, asking: Asking, limits: Admits) -> None:
        self.asking, self._limits = asking, limits
        self._exchange = asking.exchange
        self._answers: dict[str, asyncio.Task[Part]] = {}  # by target
        self.profiles = Loader(self._profiles)

    async def read(self, call: Call, arguments: Mapping[str, Any]) -> Any:
        """The value of a field. Raises `Refused`, or `AppError` where no service answered."""
        route = call.route
        if route.access == "required" and self._exchange.account is None:
            if call.absent:
                return None
            bearer("")
        target = call.target(arguments)
        if target not in self._answers:
            asked = self._asked(route, target, counted=not self._answers)
            self._answers[target] = asyncio.create_task(asked)
        return _value(call, await self._answers[target])

    async def write(self, call: Call, arguments: Mapping[str, Any], name: str) -> Any:
        """Do what a field of a mutation says; `name` is the field's in the reply. Counts against
        the quota of the route that does the same. Raises as `read` does, and `TooManyRequests`.
        """
        route = call.route
        if route.access == "required" and self._exchange.account is None:
            bearer("")
        await self._admit(route)
        part = await self.asking.ask(
            route.upstream,
            call.method,
            call.target(arguments),
            call.body(arguments),
            self._key(name) if call.method == "POST" else "",
            route=route.path,
        )
        return _value(call, part)

    async def _asked(self, route: Route, target: str, *, counted: bool) -> Part:
        if not counted:
            await self._admit(route)
        return await self.asking.ask(route.upstream, "GET", target, route=route.path)

    async def _admit(self, route: Route) -> None:
        """Count a question. The reply tells how the quotas stand after the last."""
        exchange = self._exchange
        exchange.admitted = False  # as a request of its own
        await self._limits.admit(exchange, route)
        quotas = [field for field in exchange.told if field[0].startswith(b"ratelimit")]
        others = [field for field in exchange.told if field not in quotas]
        exchange.told = others + quotas[-2:]  # the policy and the state

    def _key(self, name: str) -> str:
        """The document's key makes one for each of its fields: they are different requests."""
        given = self._exchange.fields.get(b"idempotency-key", b"")
        return hashlib.sha256(given + b"\0" + name.encode()).hexdigest() if given else ""

    async def _profiles(self, names: list[str]) -> list[Any]:
        found = await self.read(PROFILES, {"username": names})
        if not isinstance(found, list) or len(found) != len(names):
            raise BadGateway("The users service gave no valid answer.")
        return found


def _value(call: Call, part: Part) -> Any:
    if part.status == 404 and call.absent:
        return None
    try:
        if part.status >= 400:
            raise Refused(msgspec.json.decode(part.body, type=Refusal))
        if not part.body:
            return True
        value = msgspec.json.decode(part.body)
        return value[call.take] if call.take else value
    except (msgspec.MsgspecError, KeyError, TypeError) as error:
        said = f"The {call.route.upstream} service gave no valid answer."
        raise BadGateway(said) from error
