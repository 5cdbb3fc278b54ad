"""Mail leaves by SMTP (RFC 5321). The answer to the message itself decides: after a 250 it is sent,
whatever happens to the connection then.
"""

import re
from contextlib import suppress
from datetime import datetime
from email.header import Header
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP as ON_THE_WIRE
from email.utils import parseaddr
from uuid import UUID

import aiosmtplib
import msgspec
import structlog
from opentelemetry import metrics
from quart import Quart

from services.notifications.letters import Letter
from services.notifications.settings import Settings
from shared.settings import SettingsError

COMMAND_SECONDS = 20.0
DATA_SECONDS = 600.0  # RFC 5321, 4.5.3.2.6: who gives up sooner sends twice
# A dot-string, in any script (RFC 6531). Others may be legal, and are where parsers disagree.
_ADDRESS = re.compile(r"[\w!#$%&'*+/=?^`{|}~-]+(\.[\w!#$%&'*+/=?^`{|}~-]+)*@\w+([.-]+\w+)*")
_NOBODY = {550, 551, 553}  # RFC 5321, 4.2.3: there is no such mailbox, and none by that name
_log = structlog.get_logger()


class NotSent(Exception):
    """The server did not take the mail now. Says nothing of whom it was for."""


class Mail(msgspec.Struct, frozen=True, kw_only=True):
    """A letter to an address. The id makes its Message-ID, the same whenever it is sent."""

    id: UUID
    to: str
    letter: Letter
    at: datetime


class Mailer:
    """Sends mails, each on a connection of its own."""

    def __init__(self, settings: Settings) -> None:
        name, address = parseaddr(settings.mail_from)
        if not (_ADDRESS.fullmatch(address) and address.isascii()):
            raise SettingsError(["NOTIFICATIONS_MAIL_FROM: Expected `Name <address>`"])
        self._settings, self._sender = settings, Address(name, addr_spec=address)
        meter = metrics.get_meter(__name__)
        self._count = meter.create_counter("quartet.mails", "{mail}", "Mails, by their end")

    async def send(self, mail: Mail) -> None:
        """Hand the mail to the server. Raises `NotSent` where another attempt may help; an address
        that the server, or nobody, can reach is no reason for one.
        """
        fault = await self._send(mail) if _ADDRESS.fullmatch(mail.to) else "malformed"
        if fault:
            _log.warning("mail has nobody to go to", id=str(mail.id), fault=fault)
        self._count.add(1, {"result": "refused" if fault else "sent"})

    async def _send(self, mail: Mail) -> str:
        client = self._client()
        try:
            await client.connect()
            if client.is_ehlo_or_helo_needed:
                await client.ehlo()
            return await self._hand_over(client, mail)
        except (aiosmtplib.SMTPException, OSError) as error:
            code = getattr(error, "code", "")
            raise NotSent(f"{type(error).__name__} {code}".strip()) from None
        finally:
            client.close()

    def _client(self) -> aiosmtplib.SMTP:
        told = self._settings
        return aiosmtplib.SMTP(
            hostname=told.smtp_host,
            port=told.smtp_port,
            username=told.smtp_user or None,
            password=told.smtp_password if told.smtp_user else None,
            use_tls=told.smtp_tls == "implicit",
            start_tls=told.smtp_tls == "starttls",
            local_hostname=self._sender.domain,
            timeout=COMMAND_SECONDS,
        )

    async def _hand_over(self, client: aiosmtplib.SMTP, mail: Mail) -> str:
        """Returns why nobody can have the mail; empty once the server has it. An address that is
        not ASCII, and the header with it, need an extension (RFC 6531).
        """
        international = not mail.to.isascii()
        if international and not client.supports_extension("smtputf8"):
            return "smtputf8"
        options = ["SMTPUTF8"] if international else []
        await client.mail(self._sender.addr_spec, options=options)
        try:
            await client.rcpt(mail.to, encoding="utf-8")
        except aiosmtplib.SMTPRecipientRefused as refused:
            if refused.code in _NOBODY:
                return str(refused.code)
            raise
        message = compose(mail, self._sender)
        await client.data(message, timeout=DATA_SECONDS)
        with suppress(aiosmtplib.SMTPException, OSError):
            await client.quit(timeout=1)
        return ""


def compose(mail: Mail, sender: Address) -> bytes:
    """The message (RFC 5322), as text and as HTML; RFC 8058 says how its readers get no more."""
    message, letter = EmailMessage(ON_THE_WIRE), mail.letter
    message["From"] = sender
    message["Date"] = mail.at
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office in return
    message.set_content(letter.text, cte="quoted-printable")
    message.add_alternative(letter.html, subtype="html", cte="quoted-printable")
    # `email` would fold these and encode the parts, which nobody decodes there (RFC 2047, 5).
    whole = [
        f"To: {mail.to}",
        f"Subject: {_encoded(letter.subject)}",
        f"Message-ID: <{mail.id}@{sender.domain}>",
    ]
    if letter.unsubscribe:
        whole.append(f"List-Unsubscribe: <{letter.unsubscribe}>")
        whole.append("List-Unsubscribe-Post: List-Unsubscribe=One-Click")
    return "".join(f"{line}\r\n" for line in whole).encode() + message.as_bytes()


def _encoded(subject: str) -> str:
    """Encoded words (RFC 2047) of all of it, where `email` would add spaces to some."""
    if subject.isascii():
        return subject
    return Header(subject, "utf-8", header_name="Subject").encode(linesep="\r\n")


def use_mail(app: Quart, settings: Settings) -> None:
    """Give `app` a mailer. Raises `SettingsError` for a sender that is no address."""
    app.extensions["mailer"] = Mailer(settings)
