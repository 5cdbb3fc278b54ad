"""Connections to services: how they are kept, and the ways in which they fail."""

import aiohttp
from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor

from services.gateway.settings import Settings

NOT_REACHED = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)


class NothingAnswered(aiohttp.ClientError):
    """A connection ended before a reply began; the request may have been served or not."""


async def _once(
    request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Keeps aiohttp from sending again by itself, with the old deadline and to the same process."""
    try:
        return await send(request)
    except NOT_REACHED:
        raise
    except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
        raise NothingAnswered from error


def connections(settings: Settings) -> aiohttp.ClientSession:
    """Keeps connections to services; must be closed."""
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
