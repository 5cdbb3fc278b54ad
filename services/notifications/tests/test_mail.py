"""A mail is sent as soon as the server says so, and says the same whenever it is sent."""

import asyncio
import email
import email.policy
from datetime import UTC, datetime
from email.headerregistry import Address
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from deploy.local.state import free_port
from services.notifications import mail as sending
from services.notifications.letters import Letter, notification
from services.notifications.mail import Mail, Mailer, NotSent, compose
from services.notifications.settings import Settings
from services.notifications.tests.postbox import Postbox
from shared.settings import SettingsError, load

SENDER = Address("Quartet", addr_spec="quartet@example.org")
NOW = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)
LETTER = Letter(subject="Hello", text="Hello\n.\nyou\n", html="<p>Hello")
READER = "reader@example.org"


def mailer(port: int, **told: Any) -> Mailer:
    given = {"smtp_tls": "none", "mail_from": "Quartet <quartet@example.org>"} | told
    return Mailer(Settings(database_url="", unsubscribe_key="k" * 32, smtp_port=port, **given))


def mail(to: str = READER, letter: Letter = LETTER, id_: UUID | None = None) -> Mail:
    return Mail(id=id_ or uuid4(), to=to, letter=letter, at=NOW)


def parsed(content: bytes) -> Any:
    return email.message_from_bytes(content, policy=email.policy.default)


async def test_a_mail_arrives_as_text_and_as_html(postbox: Postbox) -> None:
    sent = mail()
    await mailer(postbox.port).send(sent)
    (received,) = postbox.received
    assert (received.sender, received.to) == ("quartet@example.org", [READER])
    message = received.message
    assert message.get_content_type() == "multipart/alternative"
    assert message["From"] == "Quartet <quartet@example.org>"
    assert message["To"] == READER
    assert message["Subject"] == "Hello"
    assert message["Date"].datetime == NOW
    assert message["Message-ID"] == f"<{sent.id}@example.org>"
    assert message["Auto-Submitted"] == "auto-generated"
    assert "List-Unsubscribe" not in message
    assert received.part("plain").replace("\r\n", "\n") == LETTER.text
    assert received.part("html").strip() == LETTER.html


async def test_a_mail_sent_twice_is_known_by_its_id(postbox: Postbox) -> None:
    for _ in range(2):
        await mailer(postbox.port).send(mail(id_=UUID(int=7)))
    first, second = postbox.received
    assert first.message["Message-ID"] == second.message["Message-ID"]


def test_readers_are_told_how_to_get_no_more() -> None:
    """One line each, which no mail reader has to decode (RFC 8058)."""
    link = "https://example.org/api/notifications/unsubscribe?token=" + "x" * 500
    content = compose(mail(letter=notification("followed", "ada", "", "", link)), SENDER)
    assert f"\r\nList-Unsubscribe: <{link}>\r\n".encode() in content
    assert b"\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n" in content


ODD = '\r\n\v\f\x1c\x85\u2028\0 \t:;,@<>"\\=?_.uq8bBcé😀“ax-'
hostile = st.text(st.sampled_from(ODD) | st.characters(exclude_categories=["Cs"]), max_size=150)


@given(hostile, hostile)
@example("x\r\nBcc: victim@example.org", "\r\n\r\nbody")
@example("=?utf-8?q?x=0D=0ABcc=3A_victim@example.org?=", "=?utf-8?b?DQpCY2M6IHY=?=")
@example("é" * 60, "é, " * 60)
def test_no_name_makes_a_header_or_ends_them(actor: str, title: str) -> None:
    letter = notification("published", f"x{actor}", title, "https://e.org/x", "https://e.org/y")
    content = compose(mail(letter=letter), SENDER)
    head, _, _ = content.partition(b"\r\n\r\n")
    names = [line.split(b":")[0] for line in head.split(b"\r\n") if line[:1] not in b" \t"]
    assert names == [
        *(b"To", b"Subject", b"Message-ID", b"List-Unsubscribe", b"List-Unsubscribe-Post"),
        *(b"From", b"Date", b"Auto-Submitted", b"MIME-Version", b"Content-Type"),
    ]
    assert b"\n" not in content.replace(b"\r\n", b"")
    assert max(map(len, content.split(b"\r\n"))) <= 998
    message = parsed(content)
    assert message["To"] == READER
    assert message["Subject"] == letter.subject
    assert "Bcc" not in message


@pytest.mark.parametrize(
    "address",
    [
        *("", "nobody", "a,b@example.org", "<a@example.org>", "a@example.org>", "a b@example.org"),
        *("a@example.org\r\nRCPT TO:<b@example.org>", '"a"@example.org', "a@[127.0.0.1]"),
        *(".a@example.org", "a..b@example.org", "a@-example.org", "a@example..org-", "a(b)@c.org"),
    ],
)
async def test_an_address_that_parsers_may_take_for_another_gets_nothing(
    postbox: Postbox, address: str
) -> None:
    await mailer(postbox.port).send(mail(address))
    assert (postbox.greetings, postbox.received) == (0, [])


@pytest.mark.parametrize("address", ["a" * 64 + "@" + "b." * 94 + "org", "a+b=c'd@x-y.example"])
async def test_an_unusual_address_arrives(postbox: Postbox, address: str) -> None:
    await mailer(postbox.port).send(mail(address))
    (received,) = postbox.to(address)
    assert received.message["To"] == address


async def test_an_address_of_any_script_arrives_where_the_server_can(postbox: Postbox) -> None:
    address = "ådå@exämple.org"
    await mailer(postbox.port).send(mail(address))
    (received,) = postbox.to(address)
    assert "SMTPUTF8" in received.options
    assert f"To: {address}\r\n".encode() in received.content


@pytest.mark.parametrize("code", [550, 551, 553])
async def test_an_address_that_nobody_has_is_not_tried_again(postbox: Postbox, code: int) -> None:
    postbox.answers[READER] = f"{code} <{READER}> is nobody"
    await mailer(postbox.port).send(mail())
    assert postbox.received == []


@pytest.mark.parametrize("answer", ["450 later", "452 too many", "554 not from you"])
async def test_an_answer_that_may_change_is_an_error_without_the_address(
    postbox: Postbox, answer: str
) -> None:
    postbox.answers[READER] = f"{answer} <{READER}>"
    with pytest.raises(NotSent) as failed:
        await mailer(postbox.port).send(mail())
    assert answer[:3] in str(failed.value)
    assert READER not in repr(failed.value)
    assert failed.value.__suppress_context__


async def test_a_server_that_is_away_is_an_error() -> None:
    with pytest.raises(NotSent, match="SMTPConnectError"):
        await mailer(free_port()).send(mail())


async def test_a_server_that_does_not_take_the_message_is_an_error(postbox: Postbox) -> None:
    postbox.last_words = "451 disk full"
    with pytest.raises(NotSent, match="SMTPDataError 451"):
        await mailer(postbox.port).send(mail())


async def test_a_connection_that_breaks_after_the_answer_is_no_error(postbox: Postbox) -> None:
    """To send again what the server has would be the error."""
    postbox.last_words = "250 and gone"
    await mailer(postbox.port).send(mail())
    assert len(postbox.received) == 1


async def test_a_server_that_never_answers_is_given_up(
    postbox: Postbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "DATA_SECONDS", 0.1)
    postbox.gate.clear()
    with pytest.raises(NotSent, match="Timeout"):
        await asyncio.wait_for(mailer(postbox.port).send(mail()), 5)


async def test_nothing_is_sent_in_the_clear_where_tls_is_wanted(postbox: Postbox) -> None:
    for tls in ("starttls", "implicit"):
        with pytest.raises(NotSent):
            await mailer(postbox.port, smtp_tls=tls).send(mail())
    assert postbox.received == []


@pytest.mark.parametrize("sender", ["", "Quartet", "a@b@c", "Quartet <x>", "å@example.org"])
def test_a_sender_that_is_no_address_is_told_at_the_start(sender: str) -> None:
    with pytest.raises(SettingsError, match="MAIL_FROM"):
        mailer(25, mail_from=sender)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("UNSUBSCRIBE_KEY", "too short"),
        ("PUBLIC_URL", "https://example.org/"),
        ("PUBLIC_URL", "https://example.org/ x"),
        ("PUBLIC_URL", "javascript:x"),
        ("SMTP_TLS", "maybe"),
    ],
)
def test_a_setting_that_can_not_be_used_is_named(name: str, value: str) -> None:
    environ = {"NOTIFICATIONS_DATABASE_URL": "x", "NOTIFICATIONS_UNSUBSCRIBE_KEY": "k" * 32}
    assert load(Settings, "notifications", environ)
    with pytest.raises(SettingsError, match=f"NOTIFICATIONS_{name}"):
        load(Settings, "notifications", environ | {f"NOTIFICATIONS_{name}": value})
