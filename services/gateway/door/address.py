"""Who is at the other end: the peer, or whom a proxy of ours saw at its own."""

import re
from collections.abc import Iterable, Iterator
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Any

from services.gateway.settings import Settings
from shared.settings import SettingsError

_Address = IPv4Address | IPv6Address
_FOR = re.compile(r'(?:^|;)\s*for="?\[?([0-9A-Fa-f:.]+)', re.IGNORECASE)
_BARE = re.compile(r"^\[?([0-9A-Fa-f:.]+)")
_V4_PORT = re.compile(r"([0-9.]+):\d+")


class Clients:
    """Finds the client of a request. Only what a declared proxy says of it is believed, in the one
    header that the proxies write: another may come from the client itself.

    Raises `SettingsError`.
    """

    def __init__(self, settings: Settings) -> None:
        self._proxies = _networks(settings.trusted_proxies)
        self._header = settings.client_header.encode()
        self._pattern = _FOR if settings.client_header == "forwarded" else _BARE

    def found(self, scope: Any) -> Any:
        """The request's scope, where `client` is who sent it, as far as that can be known."""
        client = scope.get("client")
        if not self._proxies or not client:
            return scope
        peer = _parsed(client[0])
        if peer is None or not self._is_proxy(peer):
            return scope
        return {**scope, "client": (str(self._behind(peer, scope["headers"])), 0)}

    def _behind(self, peer: _Address, headers: Iterable[tuple[bytes, bytes]]) -> _Address:
        """The nearest that is no proxy of ours: each proxy adds its peer at the end, and what
        stands before the client's own address is the client's invention.
        """
        for said in reversed(list(self._said(headers))):
            address = _parsed(said)
            if address is None:
                break
            peer = address
            if not self._is_proxy(peer):
                break
        return peer

    def _said(self, headers: Iterable[tuple[bytes, bytes]]) -> Iterator[str]:
        for name, value in headers:
            if name == self._header:
                for part in value.decode("latin-1").split(","):
                    match = self._pattern.search(part.strip())
                    yield match[1] if match else ""

    def _is_proxy(self, address: _Address) -> bool:
        return any(address in network for network in self._proxies)


def _parsed(text: str) -> _Address | None:
    """An address, without the port that some proxies add."""
    match = _V4_PORT.fullmatch(text)
    try:
        address = ip_address(match[1] if match else text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _networks(texts: Iterable[str]) -> tuple[IPv4Network | IPv6Network, ...]:
    try:
        return tuple(ip_network(text) for text in texts)
    except ValueError as error:
        raise SettingsError([f"GATEWAY_TRUSTED_PROXIES: {error}"]) from error
