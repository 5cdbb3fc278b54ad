"""A WebSocket (RFC 6455), between its connection and an ASGI app."""

import asyncio
import binascii
from base64 import b64decode
from collections import deque
from typing import Any

from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Message, Ping, TextMessage
from wsproto.utilities import generate_accept_token

from shared.errors import AppError, BadRequest, Forbidden
from shared.http1.line import Line
from shared.http1.messages import Field, lines, refusal, reply
from shared.http1.service import Service

NORMAL, GOING_AWAY, ABNORMAL, TOO_BIG, FAULT = 1000, 1001, 1006, 1009, 1011
_MOST_WAITING = 16  # messages that nobody has taken
_PIECE = 4096  # bytes that are heard at once
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


class Socket(Line):
    """ASGI's `receive` and `send` for a WebSocket; `open` begins."""

    def __init__(
        self, service: Service, transport: asyncio.Transport, scope: dict[str, Any]
    ) -> None:
        super().__init__(service)
        self._transport = transport
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
        self._stored = 0  # bytes of the messages
        self._part, self._held = bytearray(), bytearray()
        self._taken = self._refused = self._over = self._is_deaf = False
        self._refusal: tuple[int, list[Field]] | None = None
        self._wake: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None

    def open(self, rest: bytes) -> None:
        """Let the app take or refuse it; `rest` are bytes that have come already."""
        self._service.join(self)
        fault = self._fault()
        if fault is None:
            self.data_received(rest)
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
        self._answer(refusal(error, *told))

    def _answer(self, refusal: bytes) -> None:
        self._refused = True
        self.write(refusal)
        self._leave()

    def _leave(self) -> None:
        """Hear nothing more, and go once the client had the time to hear all."""
        self._is_deaf = True
        self._linger()
        self._loop.call_soon(self.go_on)

    async def _run(self) -> None:
        try:
            await self._service.app(self._scope, self.receive, self.send)
        except Exception:  # the app has logged it
            self._end_after(FAULT)
        except BaseException:
            self._end_after(GOING_AWAY)
            raise
        else:
            self._end_after(NORMAL)

    def _end_after(self, code: int) -> None:
        """The app has ended; so does the connection."""
        if self._taken:
            self._close(code, "")
        elif not self._refused:
            self._refuse(AppError("The request could not be completed."))

    def end(self) -> None:
        """The app says farewell itself."""

    def connection_lost(self, _: Exception | None) -> None:
        self._service.leave(self)
        self._cancel()
        self._is_deaf = True
        self._held.clear()
        self._disconnect(ABNORMAL)
        self.resume_writing()

    def data_received(self, data: bytes) -> None:
        self._held += data
        self.go_on()

    def _is_full(self) -> bool:
        """Whether the app has to do before more is heard."""
        if self._is_deaf or not self._taken:
            return not self._is_deaf
        full = len(self._messages) > _MOST_WAITING or self._stored > self._service.largest
        return full and self._frames.state is ConnectionState.OPEN

    def go_on(self) -> None:
        """Hear a piece of what has come, and read on once it is all heard. Between two pieces,
        others have their turn.
        """
        if self._transport.is_closing():
            return
        if self._held and not self._is_full():
            piece = bytes(self._held[:_PIECE])
            del self._held[:_PIECE]
            self._hear(piece)
            if self._held:
                self._loop.call_soon(self.go_on)
        if self._held or self._is_full():
            self._transport.pause_reading()
        elif not self._transport.is_closing():
            self._transport.resume_reading()

    def _hear(self, piece: bytes) -> None:
        if self._is_deaf:
            return
        self._frames.receive_data(piece)
        for event in self._frames.events():
            is_open = self._frames.state is ConnectionState.OPEN
            if isinstance(event, CloseConnection):
                self._part_from(event)
            elif isinstance(event, Ping) and is_open and self.unread is None:
                self.write(self._frames.send(event.response()))
            elif isinstance(event, TextMessage | BytesMessage) and is_open:
                self._collect(event)

    def _part_from(self, event: CloseConnection) -> None:
        """The client has closed, or answered our close, or has broken the rules."""
        if self._frames.state is ConnectionState.OPEN:
            self.write(self._frames.send(event))
            self._leave()
        else:
            if self._frames.state is ConnectionState.REMOTE_CLOSING:
                self.write(self._frames.send(event.response()))
            self._is_deaf = True
            self._go()
        self._disconnect(event.code, event.reason or "")

    def _collect(self, event: Message[Any]) -> None:
        text = isinstance(event, TextMessage)
        self._part += event.data.encode() if text else event.data
        if len(self._part) > self._service.largest:
            self._part.clear()
            self._close(TOO_BIG, "too long")
            self._disconnect(TOO_BIG)
        elif event.message_finished:
            whole, self._part = bytes(self._part), bytearray()
            self._stored += len(whole)
            told = {"text": whole.decode()} if text else {"bytes": whole}
            self._add({"type": "websocket.receive", **told})

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
        if not self._messages and self._taken:
            self._stored = 0
            self.go_on()
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
            self._part += message.get("body", b"")
            if not message.get("more_body", False):
                self._answer(reply(*self._refusal, bytes(self._part)))
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
        self.write(b"HTTP/1.1 101 Switching Protocols\r\n" + lines(said) + b"\r\n")
        self._taken = True
        self.go_on()

    def write(self, data: bytes) -> None:
        """Send; kept until the client takes it, and lost if it is gone."""
        if not self._transport.is_closing():
            super().write(data)

    async def _tell(self, message: Any) -> None:
        text = message.get("text")
        told = BytesMessage(data=message["bytes"]) if text is None else TextMessage(data=text)
        if self._frames.state is ConnectionState.OPEN:
            self.write(self._frames.send(told))
        await self.written()

    def _close(self, code: int, reason: str) -> None:
        """Say farewell, and wait a moment for the client's (RFC 6455, 7.1.1)."""
        if self._frames.state is ConnectionState.OPEN:
            self.write(self._frames.send(CloseConnection(code=code, reason=reason)))
            self._loop.call_soon(self.go_on)
            self._go_soon()
