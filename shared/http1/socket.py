"""A WebSocket (RFC 6455), between its connection and an ASGI app."""

import asyncio
import binascii
from base64 import b64decode
from collections import deque
from typing import TYPE_CHECKING, Any

from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Message, Ping, TextMessage
from wsproto.utilities import generate_accept_token

from shared.errors import AppError, BadRequest, Forbidden
from shared.http1.messages import Field, lines, refusal, reply

if TYPE_CHECKING:
    from shared.http1.connection import Service

NORMAL, GOING_AWAY, ABNORMAL, TOO_BIG, FAULT = 1000, 1001, 1006, 1009, 1011
_MOST_WAITING = 16  # messages that nobody has taken
_VERSION = b"13"


class UpgradeRequired(AppError):
    """The client speaks another version of WebSockets (RFC 6455, 4.4)."""

    status, title = 426, "Upgrade Required"


def asks_for_socket(scope: dict[str, Any]) -> bool:
    """Whether a request that asks for another protocol asks for this one."""
    said = dict(scope["headers"])
    upgrade: bytes = said.get(b"upgrade", b"")
    is_get: bool = scope["method"] == "GET" and scope["http_version"] == "1.1"
    return is_get and upgrade.lower() == b"websocket"


class Socket(asyncio.Protocol):
    """ASGI's `receive` and `send` for a WebSocket; `open` begins."""

    def __init__(
        self, service: "Service", transport: asyncio.Transport, scope: dict[str, Any]
    ) -> None:
        self._service, self._transport = service, transport
        self._loop = asyncio.get_running_loop()
        self._frames = Connection(ConnectionType.SERVER)
        self._said = dict(scope["headers"])
        protocols = self._said.get(b"sec-websocket-protocol", b"").decode("latin-1")
        scheme = "wss" if scope["scheme"] == "https" else "ws"
        self._scope = scope | {
            "type": "websocket",
            "scheme": scheme,
            "subprotocols": [part.strip() for part in protocols.split(",") if part.strip()],
            "extensions": {"websocket.http.response": {}},
        }
        self._messages: deque[dict[str, Any]] = deque([{"type": "websocket.connect"}])
        self._parts: list[str | bytes] = []
        self._size = 0
        self._held = b""
        self._taken = self._refused = self._over = self._paused = False
        self._refusal: tuple[int, list[Field]] | None = None
        self._wake: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None

    def open(self, rest: bytes) -> None:
        """Let the app take or refuse it; `rest` are bytes that have come already."""
        self._held = rest
        self._service.connections.add(self)
        fault = self._fault()
        if fault is None:
            self._pause()
            self._task = self._loop.create_task(self._run())
        else:
            self._refuse(fault)

    def _fault(self) -> AppError | None:
        """What is wrong with the handshake (RFC 6455, 4.2.1)."""
        if self._said.get(b"sec-websocket-version") != _VERSION:
            return UpgradeRequired("WebSockets of version 13 are spoken here.")
        try:
            nonce = b64decode(self._said.get(b"sec-websocket-key", b""), validate=True)
        except binascii.Error:
            nonce = b""
        return None if len(nonce) == 16 else BadRequest("The Sec-WebSocket-Key is malformed.")

    def _refuse(self, error: AppError) -> None:
        told = [(b"sec-websocket-version", _VERSION)] if isinstance(error, UpgradeRequired) else []
        self._refused = True
        self._transport.write(refusal(error, *told))
        self._transport.close()

    async def _run(self) -> None:
        try:
            await self._service.app(self._scope, self.receive, self.send)
        except Exception:  # the app has logged it
            self._part(FAULT)
        except BaseException:
            self._part(GOING_AWAY)
            raise
        else:
            self._part(NORMAL)

    def _part(self, code: int) -> None:
        """The app has ended; so does the connection."""
        if not self._taken and not self._refused:
            self._refuse(AppError("The request could not be completed."))
        elif self._taken:
            self._close(code, "")
        self._transport.close()
        self._loop.call_later(self._service.patience, self._transport.abort)

    def end(self) -> None:
        """The app says farewell itself."""

    def abort(self) -> None:
        """Let go of the client at once."""
        self._transport.abort()

    def connection_lost(self, _: Exception | None) -> None:
        self._service.leave(self)
        self._disconnect(ABNORMAL)
        self.resume_writing()

    def data_received(self, data: bytes) -> None:
        if not self._taken or self._paused:
            self._held += data
            return
        self._frames.receive_data(data)
        for event in self._frames.events():
            self._hear(event)
        if len(self._messages) > _MOST_WAITING:
            self._pause()

    def _hear(self, event: Event) -> None:
        if isinstance(event, Ping):
            self._transport.write(self._frames.send(event.response()))
        elif isinstance(event, CloseConnection):
            if self._frames.state is ConnectionState.REMOTE_CLOSING:
                self._transport.write(self._frames.send(event.response()))
            self._disconnect(event.code, event.reason or "")
        elif isinstance(event, TextMessage | BytesMessage) and not self._over:
            self._collect(event)

    def _collect(self, event: Message[Any]) -> None:
        self._parts.append(event.data)
        self._size += len(event.data)
        if self._size > self._service.largest:
            self._close(TOO_BIG, "too long")
            self._disconnect(TOO_BIG)
        elif event.message_finished:
            text = isinstance(event, TextMessage)
            whole: Any = "".join(map(str, self._parts)) if text else b"".join(self._parts)  # type: ignore[arg-type]
            self._parts, self._size = [], 0
            self._add({"type": "websocket.receive", "text" if text else "bytes": whole})

    def _disconnect(self, code: int, reason: str = "") -> None:
        if not self._over:
            self._over = True
            self._add({"type": "websocket.disconnect", "code": code, "reason": reason})

    def _add(self, message: dict[str, Any]) -> None:
        self._messages.append(message)
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def receive(self) -> dict[str, Any]:
        """The next of ASGI's messages; the last is `websocket.disconnect`, again and again."""
        while not self._messages:
            self._wake = self._loop.create_future()
            await self._wake
        if len(self._messages) == 1 and self._over:
            return self._messages[0]
        message = self._messages.popleft()
        if self._paused and self._taken and not self._messages:
            self._go_on()
        return message

    async def send(self, message: Any) -> None:
        """Take or refuse it, tell, or close. What comes after the client is gone is lost.

        Raises `RuntimeError` for what can't be said now.
        """
        kind = message["type"]
        if self._over or self._refused:
            return
        if kind == "websocket.accept" and not self._taken:
            self._accept(message.get("subprotocol"), list(message.get("headers", ())))
        elif kind == "websocket.send" and self._taken:
            await self._tell(message)
        elif kind == "websocket.close":
            if self._taken:
                self._close(message.get("code", 1000), message.get("reason") or "")
            else:
                self._refuse(Forbidden("The WebSocket is refused."))
        elif kind == "websocket.http.response.start" and not self._taken:
            self._refusal = message["status"], list(message.get("headers", ()))
        elif kind == "websocket.http.response.body" and self._refusal is not None:
            self._answer(*self._refusal, message.get("body", b""))
        else:
            raise RuntimeError(f"{kind} can't be said now")

    def _accept(self, protocol: str | None, fields: list[Field]) -> None:
        token = generate_accept_token(self._said[b"sec-websocket-key"])
        said = [
            (b"upgrade", b"websocket"),
            (b"connection", b"Upgrade"),
            (b"sec-websocket-accept", token),
            *fields,
        ]
        if protocol is not None:
            said.append((b"sec-websocket-protocol", protocol.encode()))
        self._transport.write(b"HTTP/1.1 101 Switching Protocols\r\n" + lines(said) + b"\r\n")
        self._taken = True
        self._go_on()

    def _answer(self, status: int, fields: list[Field], body: bytes) -> None:
        self._refused = True
        self._transport.write(reply(status, fields, body))
        self._transport.close()

    async def _tell(self, message: Any) -> None:
        text = message.get("text")
        told = BytesMessage(data=message["bytes"]) if text is None else TextMessage(data=text)
        if self._frames.state is ConnectionState.OPEN:
            self._transport.write(self._frames.send(told))
        if self._writable is not None:
            await self._writable

    def _close(self, code: int, reason: str) -> None:
        if self._frames.state is ConnectionState.OPEN:
            self._transport.write(self._frames.send(CloseConnection(code=code, reason=reason)))

    def _pause(self) -> None:
        if not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def _go_on(self) -> None:
        self._paused = False
        held, self._held = self._held, b""
        if held:
            self.data_received(held)
        if not self._paused and not self._transport.is_closing():
            self._transport.resume_reading()

    def pause_writing(self) -> None:
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)
