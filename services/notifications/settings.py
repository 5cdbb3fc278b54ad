"""What the notifications service can be told."""

from typing import Annotated, Literal

from msgspec import Meta

from shared.settings import DataSettings

PUBLIC_KEY = "of links in mail that nobody gets"  # of the `dev` overlay


class Settings(DataSettings, frozen=True, kw_only=True):
    """Settings of the notifications service, `NOTIFICATIONS_…` in the environment.

    `public_url` is where browsers find the front end, and the gateway's `/api` below it.
    `unsubscribe_key` signs the links in mail.
    """

    jwks_url: str = "http://127.0.0.1:8001/.well-known/jwks.json"
    port: int = 8003
    smtp_host: str = "127.0.0.1"
    smtp_port: Annotated[int, Meta(ge=1, le=65_535)] = 587
    smtp_tls: Literal["none", "starttls", "implicit"] = "starttls"
    smtp_user: str = ""
    smtp_password: str = ""
    mail_from: str = "Quartet <quartet@localhost>"
    public_url: Annotated[str, Meta(pattern=r"^https?://[!-~]*[!-.0-~]$")] = "http://127.0.0.1:8000"
    unsubscribe_key: Annotated[str, Meta(min_length=32)]

    def unfit(self) -> dict[str, str]:
        """Also the key that everybody can read, and links without TLS."""
        found = super().unfit()
        if self.unsubscribe_key == PUBLIC_KEY:
            found |= {"unsubscribe_key": "this one can be read by everybody"}
        if not self.public_url.startswith("https://"):
            found |= {"public_url": "links in mail have to be https://"}
        return found
