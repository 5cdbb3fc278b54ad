"""The services behind: asking them, how they fail, and how they are."""

import asyncio
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from opentelemetry import metrics, trace
from quart import Quart

from services.gateway.messages.answer import Failed, NothingAnswered, Unreached
from services.gateway.messages.calls import BrokenOff, Reply, Request
from services.gateway.messages.headers import Told
from services.gateway.settings import Settings
from services.gateway.upstream import hedging
from services.gateway.upstream.bulkhead import Priority
from services.gateway.upstream.connections import Connections
from services.gateway.upstream.discovery import Directory, is_dynamic
from services.gateway.upstream.endpoints import READY, Endpoint, Service
from services.gateway.upstream.gauges import observe
from services.gateway.upstream.guard import Guard
from shared.background import background
from shared.errors import BadGateway, GatewayTimeout, Unavailable
from shared.service import DEADLINE

if TYPE_CHECKING:
    from services.gateway.upstream.session import Socket

PROBE_SECONDS = 0.5
PROBE_PATIENCE = 1.0
DELIVERY_SECONDS = 0.3  # for the service to undo what it began, and its answer to get here
_meter = metrics.get_meter("quartet.gateway")
_retries = _meter.create_counter(
    "quartet.upstream.retries", "{request}", "Requests sent again, or not for want of budget"
)
_hedges = _meter.create_counter(
    "quartet.upstream.hedges", "{request}", "Reads sent to a second process since the first is late"
)


class Upstreams:
    """Sends requests to services by name, on connections that are kept."""

    def __init__(self, connections: Connections, settings: Settings) -> None:
        self._connections = connections
        self._timeout = settings.timeout
        self._upload_timeout = settings.client_timeout
        self._hedging = settings.hedging == "on"
        self._lateness = hedging.Lateness()
        chance = random.Random()  # noqa: S311  (spreads load, guards nothing)
        self.services = {
            name: Service(name, () if is_dynamic(urls) else urls, chance)
            for name, urls in settings.upstreams.items()
        }
        self.guards = {name: Guard(name, settings) for name in self.services}

    async def ask(
        self,
        upstream: str,
        method: str,
        target: str,
        fields: Told,
        body: bytes | AsyncIterator[bytes] | None = None,
        timeout: float | None = None,
        *,
        route: str = "",
        priority: Priority = Priority.ANONYMOUS,
        hedge: bool = False,
        endless: bool = False,
    ) -> Reply:
        """Send a request and wait for the reply, the head of it at least. The service is told how
        long that may take, unless the reply is `endless`.

        Raises `Unavailable` where no connection can be had or the service is spared,
        `GatewayTimeout`, and `BadGateway` for a reply that breaks off or is none.
        """
        limit = timeout or self._timeout
        upload = 0.0 if body is None or isinstance(body, bytes) else self._upload_timeout
        hedge = hedge and self._hedging
        request = Request(method, target, fields, body, limit, route, hedge, endless)
        try:
            async with asyncio.timeout(limit + upload) as patience:
                return await self._ask_guarded(upstream, request, priority, patience)
        except Unreached as error:
            raise Unavailable(f"The {upstream} service can't be reached.") from error
        except TimeoutError as error:
            raise GatewayTimeout(f"The {upstream} service did not answer in time.") from error
        except (Failed, OSError) as error:
            raise BadGateway(f"The {upstream} service gave no valid answer.") from error

    async def _ask_guarded(
        self, upstream: str, request: Request, priority: Priority, patience: asyncio.Timeout
    ) -> Reply:
        """Let the guard know how it went. Of a body that comes from the client bit by bit nobody
        knows who broke it off: it says nothing about the service.
        """
        guard = self.guards[upstream]
        begun = await guard.enter(priority)
        telling = request.body is None or isinstance(request.body, bytes)
        try:
            reply = await self._ask_any(self.services[upstream], guard, request, patience)
        except BaseException as error:
            late = isinstance(error, TimeoutError) or patience.expired()
            if telling and (late or isinstance(error, Failed | OSError)):
                guard.fail(begun, slow=late)
            else:
                guard.forget(begun)
            raise
        if reply.status >= 500:
            guard.fail(begun)
        else:
            seconds = guard.succeed(request.route, begun)
            if request.hedge:
                self._lateness.add(request.route, seconds)
        return reply

    async def _ask_any(
        self, service: Service, guard: Guard, request: Request, patience: asyncio.Timeout
    ) -> Reply:
        """Whom no connection can be had to has received nothing, so the next one is asked. Who
        breaks off before they answer may have done everything: the request is sent again, once,
        where that does no harm. Who can't serve it now has done nothing, and another may.
        """
        tried = list[Endpoint]()
        ask = self._ask_twice if request.hedge else self._ask_one
        repeatable = request.is_repeatable
        while True:
            endpoint = service.choose(tried)
            tried.append(endpoint)
            try:
                reply = await ask(service, endpoint, request, patience)
                busy = reply.status == 503 and repeatable and service.has_other(tried)
                if not busy or not _affordable(service, guard, "unavailable", len(tried)):
                    return reply
                reply.close()
            except Unreached:
                if len(tried) >= len(service.endpoints):
                    raise
                continue
            except NothingAnswered:
                if not repeatable or not _affordable(service, guard, "broke off", len(tried)):
                    raise
            repeatable, ask = False, self._ask_one

    async def _ask_twice(
        self, service: Service, endpoint: Endpoint, request: Request, patience: asyncio.Timeout
    ) -> Reply:
        """Ask another process as well, if this one is late; see `hedging`."""
        late = self._lateness.after(request.route)
        if late is None or not service.has_other([endpoint]):
            return await self._ask_one(service, endpoint, request, patience)

        def again() -> Coroutine[Any, Any, Reply] | None:
            if not self.guards[service.name].budget.withdraw(time.monotonic()):
                return None
            _hedges.add(1, {"upstream": service.name})
            other = service.choose([endpoint])
            return self._ask_one(service, other, request, patience)

        def first() -> Coroutine[Any, Any, Reply]:
            return self._ask_one(service, endpoint, request, patience)

        return await hedging.first_of(first, again, late, Reply.close)

    async def _ask_one(
        self, service: Service, endpoint: Endpoint, request: Request, patience: asyncio.Timeout
    ) -> Reply:
        try:
            reply = await self._send(endpoint, request, _left(patience))
        except Unreached:
            endpoint.note("can't be reached")
            raise
        except NothingAnswered:
            endpoint.note("broke off")
            raise
        except asyncio.CancelledError:
            if patience.expired():
                service.fail(endpoint)
            raise
        if reply.status >= 500:
            service.fail(endpoint)
        else:
            endpoint.succeed()
        return reply

    async def _send(self, endpoint: Endpoint, request: Request, left: float) -> Reply:
        endpoint.outstanding += 1
        try:
            fields = request.fields
            if not request.endless:
                fields = [*fields, (DEADLINE, _milliseconds(left))]
            reply = await self._connections.ask(endpoint.url, request, fields)
            if endpoint.is_ready and reply.fields.get(b"connection", b"").lower() == b"close":
                endpoint.note("drains")
            return reply
        finally:
            endpoint.outstanding -= 1

    async def open_socket(
        self, upstream: str, target: str, fields: Told, protocols: Sequence[str]
    ) -> "Socket":
        """Open a WebSocket to a service. Raises `Unavailable`, `GatewayTimeout`, and `BadGateway`
        where the service takes none.
        """
        endpoint = self.services[upstream].choose([])
        try:
            async with asyncio.timeout(self._timeout):
                return await self._connections.open_socket(endpoint.url + target, fields, protocols)
        except Unreached as error:
            endpoint.note("can't be reached")
            raise Unavailable(f"The {upstream} service can't be reached.") from error
        except TimeoutError as error:
            raise GatewayTimeout(f"The {upstream} service did not answer in time.") from error
        except (Failed, OSError) as error:
            raise BadGateway(f"The {upstream} service takes no WebSocket there.") from error

    async def fetch(self, upstream: str, target: str, timeout: float) -> bytes:
        """A page of a service. Raises as `ask` does, and `BadGateway` for any status but 200."""
        reply = await self.ask(upstream, "GET", target, [], timeout=timeout)
        try:
            if reply.status != 200:
                raise BadGateway(f"The {upstream} service answered {reply.status}.")
            return b"".join([piece async for piece in reply.pieces()])
        except BrokenOff as error:
            raise BadGateway(f"The {upstream} service broke off.") from error
        finally:
            reply.close()

    async def check(self, upstream: str) -> None:
        """Raises `ConnectionError` where no process of a service was ready when last asked, or its
        breaker is not closed.
        """
        self.services[upstream].check()
        state = self.guards[upstream].breaker.state
        if state != "closed":
            raise ConnectionError(f"breaker {state}")

    async def probe(self, endpoint: Endpoint) -> None:
        """Ask an endpoint again and again whether it is ready."""
        request = Request("GET", "/readyz", [], None, PROBE_PATIENCE)
        while True:
            try:
                async with asyncio.timeout(PROBE_PATIENCE):
                    reply = await self._send(endpoint, request, PROBE_PATIENCE)
                reply.close()
                endpoint.note(READY if reply.status == 200 else f"answered {reply.status}")
            except (Failed, OSError) as error:
                endpoint.note(f"does not answer ({type(error).__name__})")
            await asyncio.sleep(PROBE_SECONDS)


def _left(patience: asyncio.Timeout) -> float:
    return (patience.when() or 0.0) - asyncio.get_running_loop().time()


def _milliseconds(left: float) -> str:
    """What the service may take of it: its answer needs a moment to get here."""
    return str(max(1, round((left - DELIVERY_SECONDS) * 1000)))


def _affordable(service: Service, guard: Guard, reason: str, tries: int) -> bool:
    """Whether the budget has room for one more request; the trace tells of it."""
    granted = guard.budget.withdraw(time.monotonic())
    outcome = "sent" if granted else "over budget"
    _retries.add(1, {"upstream": service.name, "reason": reason, "outcome": outcome})
    if granted:
        trace.get_current_span().set_attribute("http.request.resend_count", tries)
    return granted


def use_upstreams(app: Quart, settings: Settings) -> None:
    """Give `app` its connections to the services, and let it know how they are."""

    @app.while_serving
    async def upstreams() -> AsyncGenerator[None, None]:
        async with Connections(settings) as connections, AsyncExitStack() as stack:
            upstreams = app.extensions["upstreams"] = Upstreams(connections, settings)
            observe(upstreams.services, upstreams.guards)
            for name, urls in settings.upstreams.items():
                app.extensions["soft_checks"][name] = partial(upstreams.check, name)
                service, resize = upstreams.services[name], upstreams.guards[name].resize
                directory = Directory(service, urls, upstreams.probe, resize)
                if is_dynamic(urls):  # what needs no DNS is known already
                    with suppress(TimeoutError):
                        await asyncio.wait_for(directory.refresh(), settings.connect_timeout)
                await stack.enter_async_context(background(directory.run(settings.resolve)))
            yield
