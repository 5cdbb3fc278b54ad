"""The services behind: connections to them, how they fail, and how they are."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import suppress

import aiohttp
import structlog
import yarl
from multidict import CIMultiDict
from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor
from quart import Quart

from services.gateway.body import ONE_PIECE
from services.gateway.settings import Settings
from shared.errors import BadGateway, GatewayTimeout, Unavailable

KEEP_ALIVE_SECONDS = 15.0  # less than any server of ours keeps an idle connection
PROBE_SECONDS = 1.0
_NOT_ADDED = frozenset({"Accept", "Accept-Encoding", "Content-Type", "User-Agent"})
_log = structlog.get_logger()


class BrokenOff(Exception):
    """A reply ended before its end, when its head had gone to the client already."""


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


class Upstreams:
    """Sends requests to services by name, on connections that are kept."""

    def __init__(self, session: aiohttp.ClientSession, settings: Settings) -> None:
        self._session = session
        self._timeout = settings.timeout
        self._connect_timeout = settings.connect_timeout
        self._upload_timeout = settings.client_timeout
        self._bases = {name: url.rstrip("/") for name, url in settings.upstreams.items()}
        self._states = dict.fromkeys(self._bases, "not asked yet")

    async def ask(
        self,
        upstream: str,
        method: str,
        target: str,
        headers: CIMultiDict[str],
        body: bytes | AsyncIterator[bytes] | None = None,
        timeout: float | None = None,
    ) -> Reply:
        """Send a request and wait for the reply, the head of it at least. An idempotent request is
        sent again, once, where a kept connection turns out to be closed (aiohttp does that).

        Raises `Unavailable` where no connection can be had, `GatewayTimeout`, and `BadGateway` for
        a reply that breaks off or is none.
        """
        limit = timeout or self._timeout
        upload = 0.0 if body is None or isinstance(body, bytes) else self._upload_timeout
        try:
            async with asyncio.timeout(limit + upload):
                response = await self._session.request(
                    method,
                    yarl.URL(self._bases[upstream] + target, encoded=True),
                    headers=headers,
                    data=body,
                    allow_redirects=False,
                    skip_auto_headers=_NOT_ADDED,
                    timeout=aiohttp.ClientTimeout(
                        total=None,
                        connect=self._connect_timeout,
                        sock_connect=self._connect_timeout,
                        sock_read=limit,
                    ),
                )
                return Reply(response, await _whole(response))
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise Unavailable(f"The {upstream} service can't be reached.") from error
        except TimeoutError as error:
            raise GatewayTimeout(f"The {upstream} service did not answer in time.") from error
        except (aiohttp.ClientError, OSError) as error:
            raise BadGateway(f"The {upstream} service gave no valid answer.") from error

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
        """Raises `ConnectionError` where a service was not ready when last asked."""
        if self._states[upstream] != "ok":
            raise ConnectionError(self._states[upstream])

    async def probe(self, upstream: str) -> None:
        """Ask a service again and again whether it is ready."""
        while True:
            try:
                await self.fetch(upstream, "/readyz", timeout=1.0)
                state = "ok"
            except (Unavailable, GatewayTimeout, BadGateway) as error:
                state = error.detail
            if state != self._states[upstream]:
                _log.info("upstream", upstream=upstream, state=state)
                self._states[upstream] = state
            await asyncio.sleep(PROBE_SECONDS)


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
            for name in settings.upstreams:
                app.extensions["soft_checks"][name] = lambda name=name: upstreams.check(name)
                probes.append(asyncio.create_task(upstreams.probe(name)))
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
            keepalive_timeout=KEEP_ALIVE_SECONDS,
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        raise_for_status=False,
        trust_env=False,
    )
    # The gateway's own span is the service's parent: one more in between would tell nothing new.
    AioHttpClientInstrumentor.uninstrument_session(session)
    return session
