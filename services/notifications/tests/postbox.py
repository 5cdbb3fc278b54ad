"""A real SMTP server within the test, that can be slow, choosy or away."""

import asyncio
import email
import email.policy
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.message import EmailMessage

import msgspec
from aiosmtpd.smtp import SMTP, Envelope, Session

from shared.testing import until


class Received(msgspec.Struct, frozen=True):
    """A mail as the server got it."""

    sender: str
    to: list[str]
    options: list[str]
    content: bytes

    @property
    def message(self) -> EmailMessage:
        parsed = email.message_from_bytes(self.content, policy=email.policy.default)
        assert isinstance(parsed, EmailMessage)
        return parsed

    def part(self, subtype: str) -> str:
        body = self.message.get_body((subtype,))
        assert body is not None
        return str(body.get_content())


class Postbox:
    """What came in. `answers` says what an address is answered instead of yes; while `gate` is
    closed, nobody is answered after their mail.
    """

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.answers: dict[str, str] = {}
        self.greetings = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.last_words = ""
        self.port = 0
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Listen, where it listened before."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._session, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.close()
        self._server = None

    def to(self, address: str) -> list[Received]:
        """What came for an address."""
        return [mail for mail in self.received if address in mail.to]

    async def got(self, address: str, count: int = 1) -> list[Received]:
        """Wait until so many came for an address."""

        async def enough() -> bool:
            return len(self.to(address)) >= count

        await until(enough, what=f"{count} mails")
        return self.to(address)

    def _session(self) -> SMTP:
        self.greetings += 1
        loop = asyncio.get_running_loop()
        return SMTP(self, hostname="localhost", enable_SMTPUTF8=True, loop=loop)

    async def handle_RCPT(  # noqa: N802
        self, _: SMTP, __: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.answers:
            return self.answers[address]
        envelope.rcpt_tos.append(address)
        return "250 yes"

    async def handle_DATA(self, smtp: SMTP, __: Session, envelope: Envelope) -> str:  # noqa: N802
        assert isinstance(envelope.content, bytes)
        self.received.append(
            Received(
                envelope.mail_from or "",
                list(envelope.rcpt_tos),
                list(envelope.mail_options),
                envelope.content,
            )
        )
        await self.gate.wait()
        if self.last_words == "250 and gone":
            assert isinstance(smtp.transport, asyncio.WriteTransport)
            smtp.transport.write(b"250 and gone\r\n")
            smtp.transport.abort()
        return self.last_words or "250 yes"


@asynccontextmanager
async def opened() -> AsyncIterator[Postbox]:
    """A postbox that is open."""
    postbox = Postbox()
    await postbox.open()
    try:
        yield postbox
    finally:
        postbox.gate.set()
        await postbox.close()
