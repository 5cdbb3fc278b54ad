"""Where the mail of a local stack goes: taken by SMTP, kept as files, shown on a page.

`python -m deploy.local.mail --folder FOLDER --smtp-port PORT --port PORT`
"""

import asyncio
import email
import email.policy
import re
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from html import escape
from itertools import islice
from pathlib import Path

import click
from aiohttp import web
from aiosmtpd.smtp import SMTP, Envelope, Session

LIMIT = 20_000  # mails; the oldest go first
LARGEST = 1_000_000  # bytes
SHOWN = 100
_LINK = re.compile(r"https?://[^\s<>\"]+")
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True)
class Mail:
    """A mail that was taken; the id is that of one delivery, `message_id` that of the sender."""

    id: str
    received_at: str
    sender: str
    recipients: list[str]
    subject: str
    message_id: str
    headers: dict[str, str]
    text: str
    html: str


class Mailbox:
    """A folder of mails, one file each: as it came, behind the lines of its envelope."""

    def __init__(self, folder: Path, limit: int = LIMIT) -> None:
        folder.mkdir(mode=0o700, exist_ok=True)
        self._folder, self._limit = folder, limit
        self._paths = sorted(folder.glob("*.eml"))
        self._last = 0
        self._keeping = threading.Lock()

    def keep(self, sender: str, recipients: list[str], content: bytes) -> None:
        """Write a mail; it is whole as soon as it is there."""
        lines = [f"Return-Path: <{sender}>", *(f"Delivered-To: {to}" for to in recipients)]
        with self._keeping:
            self._last = max(self._last + 1, time.time_ns())
            path = self._folder / f"{self._last:020}.eml"
            new = path.with_suffix(".new")
            new.write_bytes("".join(f"{line}\r\n" for line in lines).encode() + content)
            new.replace(path)
            self._paths.append(path)
            while len(self._paths) > self._limit:
                self._paths.pop(0).unlink(missing_ok=True)

    def __len__(self) -> int:
        return len(self._paths)

    def newest(self, limit: int) -> list[Mail]:
        """The last ones, the newest first."""
        return [read(path) for path in islice(reversed(list(self._paths)), limit)]

    def find(self, id_: str) -> Path | None:
        """The file of a mail."""
        return next((path for path in list(self._paths) if path.stem == id_), None)


def received_mails(folder: Path) -> Iterator[Mail]:
    """Every mail that is kept, oldest first; the sink need not run."""
    for path in sorted(folder.glob("*.eml")):
        yield read(path)


def read(path: Path) -> Mail:
    """A mail from its file."""
    message = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    received = datetime.fromtimestamp(int(path.stem) / 1e9, UTC)
    return Mail(
        id=path.stem,
        received_at=received.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        sender=str(message["Return-Path"]).strip("<>"),
        recipients=[str(to) for to in message.get_all("Delivered-To", [])],
        subject=str(message.get("Subject", "")),
        message_id=str(message.get("Message-ID", "")),
        headers={name: str(value) for name, value in message.items()},
        text=_part(message, "plain"),
        html=_part(message, "html"),
    )


def _part(message: EmailMessage, subtype: str) -> str:
    part = message.get_body((subtype,))
    return "" if part is None else str(part.get_content()).replace("\r\n", "\n")


class Sink:
    """An SMTP server that keeps what it gets, and the pages that show it."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox
        self.app = web.Application()
        self.app.router.add_get("/", self._list)
        self.app.router.add_get("/messages.json", self._json)
        self.app.router.add_get(r"/messages/{id:\d+}", self._message)
        self.app.router.add_get(r"/messages/{id:\d+}.eml", self._source)

    def protocol(self) -> SMTP:
        """One SMTP session."""
        return SMTP(
            self,
            hostname="localhost",
            data_size_limit=LARGEST,
            enable_SMTPUTF8=True,
            loop=asyncio.get_running_loop(),
        )

    async def handle_DATA(self, _: SMTP, __: Session, envelope: Envelope) -> str:  # noqa: N802
        """aiosmtpd asks it; who hears 250 can rely on the file."""
        content = envelope.content
        assert isinstance(content, bytes)
        sender, recipients = envelope.mail_from or "", list(envelope.rcpt_tos)
        await asyncio.to_thread(self._mailbox.keep, sender, recipients, content)
        return "250 kept"

    async def _list(self, _: web.Request) -> web.Response:
        mails = await asyncio.to_thread(self._mailbox.newest, SHOWN)
        rows = "".join(
            f"<tr><td>{mail.received_at}<td>{escape(', '.join(mail.recipients))}"
            f'<td><a href="/messages/{mail.id}">{escape(mail.subject) or "-"}</a>'
            for mail in mails
        )
        return _page(
            f"<h1>Mail</h1><p>{len(self._mailbox)} mails, the newest first; "
            f'<a href="/messages.json">as JSON</a></p><table>{rows}</table>'
        )

    async def _json(self, request: web.Request) -> web.Response:
        """The newest `?limit=` mails, whole, and how many there are."""
        limit = request.query.get("limit", str(SHOWN))
        if not limit.isdecimal():
            raise web.HTTPBadRequest(text="limit must be a number")
        mails = await asyncio.to_thread(self._mailbox.newest, int(limit))
        messages = [asdict(mail) for mail in mails]
        return web.json_response({"total": len(self._mailbox), "messages": messages})

    async def _message(self, request: web.Request) -> web.Response:
        mail = await asyncio.to_thread(read, self._found(request))
        headers = "".join(f"<b>{escape(n)}:</b> {escape(v)}\n" for n, v in mail.headers.items())
        return _page(
            f"<h1>{escape(mail.subject)}</h1><pre>{headers}</pre><pre>{_linked(mail.text)}</pre>"
            f'<iframe sandbox srcdoc="{escape(mail.html)}"></iframe>'
            f'<p><a href="/messages/{mail.id}.eml">As it came</a> · <a href="/">All</a></p>'
        )

    async def _source(self, request: web.Request) -> web.Response:
        content = await asyncio.to_thread(self._found(request).read_bytes)
        return web.Response(body=content, content_type="text/plain", headers=_HEADERS)

    def _found(self, request: web.Request) -> Path:
        path = self._mailbox.find(request.match_info["id"])
        if path is None:
            raise web.HTTPNotFound(text="There is no such mail.")
        return path


def _page(content: str) -> web.Response:
    style = (
        "body{font:15px/1.5 system-ui;margin:2em;color-scheme:light dark}td{padding:2px 1em 2px 0}"
        "pre{white-space:pre-wrap}iframe{width:100%;height:20em;border:1px solid #888}"
    )
    text = f'<!doctype html><meta charset="utf-8"><title>Mail</title><style>{style}</style>'
    return web.Response(text=text + content, content_type="text/html", headers=_HEADERS)


def _linked(text: str) -> str:
    return _LINK.sub(r'<a href="\g<0>">\g<0></a>', escape(text))


async def serve(folder: Path, smtp_port: int, port: int, limit: int = LIMIT) -> None:
    """Take mail, and show it, on loopback until SIGTERM or SIGINT."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    sink = Sink(await asyncio.to_thread(Mailbox, folder, limit))
    smtp = await loop.create_server(sink.protocol, "127.0.0.1", smtp_port)
    runner = web.AppRunner(sink.app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await stop.wait()
    smtp.close()
    await runner.cleanup()


@click.command()
@click.option("--folder", required=True, type=click.Path(path_type=Path))
@click.option("--smtp-port", required=True, type=int)
@click.option("--port", required=True, type=int)
@click.option("--limit", default=LIMIT, help="How many mails to keep.")
def main(folder: Path, smtp_port: int, port: int, limit: int) -> None:
    """Take the mail of a local stack, and show it."""
    asyncio.run(serve(folder, smtp_port, port, limit))


if __name__ == "__main__":
    main()
