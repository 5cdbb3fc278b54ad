"""The services behind: connections to them, how they fail, and how they are."""

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import suppress
from functools import partial

import aiohttp
import msgspec
import yarl
from multidict import CIMultiDict
from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor
from quart import Quart

from services.gateway.body import ONE_PIECE
from services.gateway.endpoints import READY, Endpoint, Service
from services.gateway.settings import Settings
from shared import idempotency
from shared.errors import BadGateway, GatewayTimeout, Unavailable
from shared.service import DEADLINE

PROBE_SECONDS = 0.5
PROBE_PATIENCE = 1.0
SOCKET_HEARTBEAT = 20.0  # between pings to a service
LONGEST_MESSAGE = 1_048_576
DELIVERY_SECONDS = 0.3  # for the service to undo what it began, and its answer to get here
_IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS"})
_NOT_REACHED = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
_NOT_ADDED = frozenset({"Accept", "Accept-Encoding", "Content-Type", "User-Agent"})


class BrokenOff(Exception):
    """A reply ended before its end, when its head had gone to the client already."""


class NothingAnswered(aiohttp.ClientError):
    """A connection ended before a reply began; the request may have been served or not."""


class Reply:
    """A service's reply: small bodies are here as `whole`, others come by `pieces`."""

    def __init__(self, response: aiohttp.ClientResponse, whole: bytes | None) -> None:
        self._response = response
        self.status = response.status
        self.headers = response.headers
        self.raw_headers: Sequence[tuple[bytes, bytes]] = response.raw_headers
        self.whole = whole

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it comes. Raises `BrokenOff`."""
        if self.whole is not None:
            yield self.whole
            return
        try:
            async for piece in self._response.content.iter_any():
                yield piece
        except (aiohttp.ClientError, OSError) as error:
            raise BrokenOff from error

    def close(self) -> None:
        """Give the connection back; one with something left on it is closed."""
        self._response.close()


class Request(msgspec.Struct, frozen=True):
    """What to send, and for how many seconds to wait while nothing comes: for the head only, where
    the reply is `endless`.
    """

    method: str
    target: str
    headers: CIMultiDict[str]
    body: bytes | AsyncIterator[bytes] | None
    limit: float
    endless: bool = False

    @property
    def is_repeatable(self) -> bool:
        """Whether to send it twice is no worse than once (RFC 9110, 9.2.2), and possible."""
        harmless = self.method in _IDEMPOTENT or idempotency.HEADER in self.headers
        return harmless and (self.body is None or isinstance(self.body, bytes))


class Upstreams:
    """Sends requests to services by name, on connections that are kept."""

    def __init__(self, session: aiohttp.ClientSession, settings: Settings) -> None:
        self._session = session
        self._timeout = settings.timeout
        self._connect_timeout = settings.connect_timeout
        self._upload_timeout = settings.client_timeout
        chance = random.Random()  # noqa: S311  (spreads load, guards nothing)
        self.services = {
            name: Service(name, urls, chance) for name, urls in settings.upstreams.items()
        }

    async def ask(
        self,
        upstream: str,
        method: str,
        target: str,
        headers: CIMultiDict[str],
        body: bytes | AsyncIterator[bytes] | None = None,
        timeout: float | None = None,
        *,
        endless: bool = False,
    ) -> Reply:
        """Send a request and wait for the reply, the head of it at least. The service is told how
        long that may take, unless the reply is `endless`.

        Raises `Unavailable` where no connection can be had, `GatewayTimeout`, and `BadGateway` for
        a reply that breaks off or is none.
        """
        limit = timeout or self._timeout
        upload = 0.0 if body is None or isinstance(body, bytes) else self._upload_timeout
        request = Request(method, target, headers, body, limit, endless)
        try:
            async with asyncio.timeout(limit + upload) as patience:
                return await self._ask_any(self.services[upstream], request, patience)
        except _NOT_REACHED as error:
            raise Unavailable(f"The {upstream} service can't be reached.") from error
        except TimeoutError as error:
            raise GatewayTimeout(f"The {upstream} service did not answer in time.") from error
        except (aiohttp.ClientError, OSError) as error:
            raise BadGateway(f"The {upstream} service gave no valid answer.") from error

    async def _ask_any(
        self, service: Service, request: Request, patience: asyncio.Timeout
    ) -> Reply:
        """Whom no connection can be had to has received nothing, so the next one is asked. Who
        breaks off before they answer may have done everything: the request is sent again, once,
        where that does no harm.
        """
        endpoint, tried = service.choose(), list[Endpoint]()
        repeatable = request.is_repeatable
        while True:
            tried.append(endpoint)
            try:
                return await self._ask_one(endpoint, request, _left(patience))
            except _NOT_REACHED:
                endpoint.note("can't be reached")
                if len(tried) >= len(service.endpoints):
                    raise
            except NothingAnswered:
                endpoint.note("broke off")
                if not repeatable:
                    raise
                repeatable = False
            endpoint = service.choose(tried)

    async def _ask_one(self, endpoint: Endpoint, request: Request, left: float) -> Reply:
        endpoint.outstanding += 1
        try:
            response = await self._session.request(
                request.method,
                yarl.URL(endpoint.url + request.target, encoded=True),
                headers=_with_deadline(request, left),
                data=request.body,
                allow_redirects=False,
                skip_auto_headers=_NOT_ADDED,
                timeout=aiohttp.ClientTimeout(
                    total=None,
                    connect=self._connect_timeout,
                    sock_connect=self._connect_timeout,
                    sock_read=None if request.endless else request.limit,
                ),
            )
            if endpoint.is_ready and response.headers.get("Connection", "").lower() == "close":
                endpoint.note("drains")
            return Reply(response, await _whole(response))
        finally:
            endpoint.outstanding -= 1

    async def open_socket(
        self, upstream: str, target: str, headers: CIMultiDict[str], protocols: Sequence[str]
    ) -> aiohttp.ClientWebSocketResponse:
        """Open a WebSocket to a service. Raises `Unavailable`, `GatewayTimeout`, and `BadGateway`
        where the service takes none.
        """
        endpoint = self.services[upstream].choose()
        try:
            async with asyncio.timeout(self._timeout):
                return await self._session.ws_connect(
                    yarl.URL(endpoint.url + target, encoded=True),
                    headers=headers,
                    protocols=protocols,
                    heartbeat=SOCKET_HEARTBEAT,
                    max_msg_size=LONGEST_MESSAGE,
                )
        except _NOT_REACHED as error:
            endpoint.note("can't be reached")
            raise Unavailable(f"The {upstream} service can't be reached.") from error
        except TimeoutError as error:
            raise GatewayTimeout(f"The {upstream} service did not answer in time.") from error
        except (aiohttp.ClientError, OSError) as error:
            raise BadGateway(f"The {upstream} service takes no WebSocket there.") from error

    async def fetch(self, upstream: str, target: str, timeout: float) -> bytes:
        """A page of a service. Raises as `ask` does, and `BadGateway` for any status but 200."""
        reply = await self.ask(upstream, "GET", target, CIMultiDict(), timeout=timeout)
        try:
            if reply.status != 200:
                raise BadGateway(f"The {upstream} service answered {reply.status}.")
            return b"".join([piece async for piece in reply.pieces()])
        except BrokenOff as error:
            raise BadGateway(f"The {upstream} service broke off.") from error
        finally:
            reply.close()

    async def check(self, upstream: str) -> None:
        """Raises `ConnectionError` where no process of a service was ready when last asked."""
        self.services[upstream].check()

    async def probe(self, endpoint: Endpoint) -> None:
        """Ask an endpoint again and again whether it is ready."""
        request = Request("GET", "/readyz", CIMultiDict(), None, PROBE_PATIENCE)
        while True:
            try:
                async with asyncio.timeout(PROBE_PATIENCE):
                    reply = await self._ask_one(endpoint, request, PROBE_PATIENCE)
                reply.close()
                endpoint.note(READY if reply.status == 200 else f"answered {reply.status}")
            except (aiohttp.ClientError, OSError) as error:
                endpoint.note(f"does not answer ({type(error).__name__})")
            await asyncio.sleep(PROBE_SECONDS)


def _with_deadline(request: Request, left: float) -> CIMultiDict[str]:
    if request.endless:
        return request.headers
    return CIMultiDict(request.headers, **{DEADLINE: _milliseconds(left)})


def _left(patience: asyncio.Timeout) -> float:
    return (patience.when() or 0.0) - asyncio.get_running_loop().time()


def _milliseconds(left: float) -> str:
    """What the service may take of it: its answer needs a moment to get here."""
    return str(max(1, round((left - DELIVERY_SECONDS) * 1000)))


async def _once(
    request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Keeps aiohttp from sending again by itself, with the old deadline and to the same process."""
    try:
        return await send(request)
    except _NOT_REACHED:
        raise
    except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
        raise NothingAnswered from error


async def _whole(response: aiohttp.ClientResponse) -> bytes | None:
    """The body, where it is small; in one piece it costs least, and can break off unnoticed."""
    length = response.content_length
    try:
        return await response.read() if length is not None and length <= ONE_PIECE else None
    except BaseException:
        response.close()
        raise


def use_upstreams(app: Quart, settings: Settings) -> None:
    """Give `app` its connections to the services, and let it know how they are."""

    @app.while_serving
    async def upstreams() -> AsyncGenerator[None, None]:
        async with _session(settings) as session:
            upstreams = Upstreams(session, settings)
            app.extensions["upstreams"] = upstreams
            probes = []
            for name, service in upstreams.services.items():
                app.extensions["soft_checks"][name] = partial(upstreams.check, name)
                probes += [asyncio.create_task(upstreams.probe(one)) for one in service.endpoints]
            yield
            for probe in probes:
                probe.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.gather(*probes)


def _session(settings: Settings) -> aiohttp.ClientSession:
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=0,
            limit_per_host=settings.upstream_connections,
            keepalive_timeout=settings.keep_alive,
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        raise_for_status=False,
        middlewares=(_once,),
        trust_env=False,
    )
    # The gateway's own span is the service's parent: one more in between would tell nothing new.
    AioHttpClientInstrumentor.uninstrument_session(session)
    return session
