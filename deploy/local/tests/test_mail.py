"""Mail is taken, kept and shown, and nobody has to be careful what it says."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import aiohttp
import aiosmtplib
import pytest

from deploy.local.embedded import MailSink
from deploy.local.endpoint import Endpoint
from deploy.local.mail import Mailbox, read, received_mails
from deploy.local.servers import Servers
from deploy.local.state import State
from deploy.local.tests.conftest import Eventually


def message(subject: str = "Hello", text: str = "Hello\n", html: str = "<p>Hello") -> bytes:
    mail = EmailMessage()
    mail["From"], mail["To"] = "from@example.org", "to@example.org"
    mail["Subject"], mail["Message-ID"] = subject, "<1@example.org>"
    mail.set_content(text)
    mail.add_alternative(html, subtype="html")
    return mail.as_bytes()


@dataclass
class Sink:
    """A sink, and who talks to it."""

    smtp: str
    page: str
    folder: Path

    async def send(self, content: bytes, *to: str) -> None:
        port = int(self.smtp.rpartition(":")[2])
        recipients = list(to) or ["to@example.org"]
        await aiosmtplib.send(
            content, sender="from@example.org", recipients=recipients, port=port, start_tls=False
        )

    async def get(self, path: str, status: int = 200) -> str:
        async with aiohttp.ClientSession() as session, session.get(self.page + path) as response:
            assert response.status == status
            return await response.text()

    async def messages(self, query: str = "") -> Any:
        return json.loads(await self.get(f"messages.json{query}"))


@pytest.fixture(scope="module")
async def sink(servers: Servers) -> Sink:
    page = servers.children["mail"].endpoint.target
    return Sink(servers.smtp_url, page, servers.mail_dir)


async def test_a_mail_is_kept_as_it_came(sink: Sink) -> None:
    content = message("Hello, wörld")
    await sink.send(content, "to@example.org", "too@example.org")
    found = await sink.messages()
    assert found["total"] == len(list(sink.folder.glob("*.eml"))) >= 1
    newest = found["messages"][0]
    assert newest["sender"] == "from@example.org"
    assert newest["recipients"] == ["to@example.org", "too@example.org"]
    assert newest["subject"] == "Hello, wörld"
    assert newest["message_id"] == newest["headers"]["Message-ID"] == "<1@example.org>"
    assert (newest["text"], newest["html"].strip()) == ("Hello\n", "<p>Hello")
    (mail, *_) = reversed(list(received_mails(sink.folder)))
    assert mail.id == newest["id"]
    source = await sink.get(f"messages/{mail.id}.eml")
    assert content.decode().splitlines() == source.splitlines()[3:]


async def test_mails_are_listed_newest_first_and_as_many_as_wanted(sink: Sink) -> None:
    for number in range(3):
        await sink.send(message(f"Number {number}"))
    subjects = [mail["subject"] for mail in (await sink.messages("?limit=2"))["messages"]]
    assert subjects == ["Number 2", "Number 1"]
    page = await sink.get("")
    assert page.index("Number 2") < page.index("Number 1") < page.index("Number 0")
    await sink.get("messages.json?limit=many", 400)


async def test_what_a_mail_says_is_text_on_the_page(sink: Sink) -> None:
    evil = "<script>alert(1)</script>"
    await sink.send(message(evil, f"{evil} http://example.org/x?y=1\n", evil))
    id_ = (await sink.messages())["messages"][0]["id"]
    for page in (await sink.get(""), await sink.get(f"messages/{id_}")):
        assert "<script>" not in page
    assert '<a href="http://example.org/x?y=1">' in page
    assert "<iframe sandbox srcdoc=" in page


@pytest.mark.parametrize("id_", ["1", "x", "..%2f..%2fsecrets", "9" * 500])
async def test_a_mail_that_is_not_there_is_404(sink: Sink, id_: str) -> None:
    for path in (f"messages/{id_}", f"messages/{id_}.eml"):
        await sink.get(path, 404)


async def test_what_is_no_mail_at_all_is_shown_all_the_same(sink: Sink) -> None:
    await sink.send(b"\xff\xfe nothing that anybody knows\r\n\r\n\x00\xff")
    mail = (await sink.messages())["messages"][0]
    assert mail["recipients"] == ["to@example.org"]
    await sink.get(f"messages/{mail['id']}")
    await sink.get("")


async def test_many_at_once_are_all_kept(sink: Sink) -> None:
    before = (await sink.messages())["total"]
    await asyncio.gather(*(sink.send(message(str(number))) for number in range(40)))
    assert (await sink.messages())["total"] == before + 40


async def test_a_sink_that_is_killed_has_all_that_it_took(
    servers: Servers, sink: Sink, eventually: Eventually
) -> None:
    child = servers.children["mail"]
    await sink.send(message("Before"))
    before = (await sink.messages())["total"]
    child.kill()
    await child.ready(20)
    after = await sink.messages()
    assert (after["total"], after["messages"][0]["subject"]) == (before, "Before")


async def test_it_answers_where_services_are_told_to_hand_mail_in(servers: Servers) -> None:
    assert await Endpoint("mail", "smtp", servers.smtp_url).is_ready()
    assert not await Endpoint("mail", "smtp", servers.nats_url).is_ready()


def test_a_mailbox_keeps_so_many_and_the_newest(tmp_path: Path) -> None:
    for _ in range(2):
        mailbox = Mailbox(tmp_path, limit=3)
        for number in range(5):
            mailbox.keep("from@example.org", ["to@example.org"], message(str(number)))
    assert [mail.subject for mail in received_mails(tmp_path)] == ["2", "3", "4"]
    assert [mail.subject for mail in mailbox.newest(10)] == ["4", "3", "2"]
    assert len(mailbox) == 3
    assert [read(path).subject for path in sorted(tmp_path.iterdir())] == ["2", "3", "4"]


@pytest.fixture
async def process(tmp_path: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    state = State(tmp_path)
    state.make()
    sink = MailSink(tmp_path / "mail", state.port("smtp"), state.port("mail"))
    argv = sink.prepare().argv
    assert argv[0] == sys.executable
    running = await asyncio.create_subprocess_exec(*argv)
    yield running, sink.page
    if running.returncode is None:
        running.kill()
        await running.wait()


async def test_it_ends_when_asked(process: tuple[asyncio.subprocess.Process, str]) -> None:
    running, page = process
    endpoint = Endpoint("mail", "http", page)
    async with asyncio.timeout(20):
        while not await endpoint.is_ready():  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.02)
    running.send_signal(signal.SIGTERM)
    async with asyncio.timeout(5):
        assert await running.wait() == 0
