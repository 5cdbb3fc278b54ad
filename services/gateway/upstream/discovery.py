"""The addresses behind a name: of each process of a service, where DNS names them all."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any
from urllib.parse import urlsplit

import structlog

from services.gateway.upstream.endpoints import Endpoint, Service
from shared.background import end

Resolve = Callable[[str], Awaitable[list[str]]]
SCHEME = "dns"
_log = structlog.get_logger()


async def addresses(host: str) -> list[str]:
    """The addresses of a name, of one family: a process that has two is still one. Raises
    `OSError`.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    family = socket.AF_INET if any(one[0] == socket.AF_INET for one in found) else socket.AF_INET6
    return sorted({str(one[4][0]) for one in found if one[0] == family})


async def resolved(urls: Iterable[str], resolve: Resolve = addresses) -> list[str] | None:
    """`urls` with each `dns://name:port` replaced by one of each address behind it. None where a
    name can't be resolved at the moment, which says nothing about the processes.
    """
    found: list[str] = []
    for url in urls:
        parts = urlsplit(url)
        if parts.scheme != SCHEME:
            found.append(url.rstrip("/"))
            continue
        try:
            hosts = await resolve(parts.hostname or "")
        except OSError as error:
            _log.warning("a name leads nowhere", name=parts.hostname, reason=str(error))
            return None
        found += [_url(host, parts.port or 80) for host in hosts]
    return list(dict.fromkeys(found))


def is_dynamic(urls: Iterable[str]) -> bool:
    """Whether there is a name among them that may lead elsewhere tomorrow."""
    return any(urlsplit(url).scheme == SCHEME for url in urls)


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Directory:
    """Keeps the endpoints of a service at what its URLs lead to, and has each of them probed;
    `changed` hears how many there are.
    """

    def __init__(
        self,
        service: Service,
        urls: Sequence[str],
        probe: Callable[[Endpoint], Coroutine[Any, Any, None]],
        changed: Callable[[int], None],
        resolve: Resolve = addresses,
    ) -> None:
        self._service, self._urls = service, urls
        self._probe, self._changed, self._resolve = probe, changed, resolve
        self._probes: dict[str, asyncio.Task[None]] = {}

    async def refresh(self) -> None:
        """Ask DNS; what is known stays where it does not answer."""
        urls = await resolved(self._urls, self._resolve)
        if urls is None:
            return
        kept = {one.url: one for one in self._service.endpoints}
        found = [kept.get(url) or Endpoint(self._service.name, url) for url in urls]
        self._service.endpoints = found
        self._changed(len(found))
        for url in set(self._probes) - set(urls):
            self._probes.pop(url).cancel()
        for endpoint in found:
            if endpoint.url not in self._probes:
                self._probes[endpoint.url] = asyncio.create_task(self._probe(endpoint))

    async def run(self, seconds: float) -> None:
        """Refresh for ever, each time after so many seconds; once, where no URL is a name."""
        try:
            await self.refresh()
            while is_dynamic(self._urls):
                await asyncio.sleep(seconds)
                await self.refresh()
            await asyncio.Event().wait()
        finally:
            await end(*self._probes.values())
