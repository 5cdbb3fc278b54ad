"""What mails and pages say. Names and titles come from strangers: they never end a line, and in
HTML they are text.
"""

import unicodedata
from pathlib import Path

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from services.notifications.model import Kind

LONGEST_TITLE = 120
WHAT: dict[Kind, str] = {
    "followed": "new followers",
    "favorited": "who likes your articles",
    "commented": "comments on your articles",
    "published": "new articles of authors you follow",
}
_SAYS: dict[Kind, str] = {
    "followed": "{actor} follows you now",
    "favorited": "{actor} likes “{title}”",
    "commented": "{actor} commented on “{title}”",
    "published": "{actor} published “{title}”",
}
_templates = Environment(
    loader=FileSystemLoader(Path(__file__).with_name("templates")),
    autoescape=select_autoescape(["html"]),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    auto_reload=False,
)
# Read now: rendering happens in the event loop.
_templates.get_template("frame.html")
_WELCOME = [_templates.get_template(f"welcome.{form}") for form in ("txt", "html")]
_NOTIFICATION = [_templates.get_template(f"notification.{form}") for form in ("txt", "html")]
_PAGE = _templates.get_template("unsubscribe.html")


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """A mail before it is addressed; `unsubscribe` is the link that ends mail of its kind."""

    subject: str
    text: str
    html: str
    unsubscribe: str | None = None


def welcome(username: str, site: str) -> Letter:
    """For somebody who has just registered."""
    text, html = (part.render(username=line(username), site=site) for part in _WELCOME)
    return Letter(subject=f"Welcome to Quartet, {line(username)}", text=text, html=html)


def notification(kind: Kind, actor: str, title: str, link: str, unsubscribe: str) -> Letter:
    """What somebody did; `title` is empty where it is about no article."""
    sentence = _SAYS[kind].format(actor=line(actor), title=_short(line(title)))
    text, html = (
        part.render(sentence=sentence, link=link, what=WHAT[kind], unsubscribe=unsubscribe)
        for part in _NOTIFICATION
    )
    return Letter(subject=sentence, text=text, html=html, unsubscribe=unsubscribe)


def page(sentence: str, button: str = "") -> str:
    """A page with one sentence, and a button that sends a form back to where the page came from."""
    return _PAGE.render(sentence=sentence, button=button)


def line(text: str) -> str:
    """The text on one line, whatever Unicode knows to break one with. Nor can a header take it for
    an encoded word (RFC 2047), which might hide such a break.
    """
    whole = "".join(" " if unicodedata.category(char) in _BREAKING else char for char in text)
    return " ".join(whole.split()).replace("=?", "= ?")


_BREAKING = {"Cc", "Zl", "Zp"}


def _short(title: str) -> str:
    return title if len(title) <= LONGEST_TITLE else title[: LONGEST_TITLE - 1].rstrip() + "…"
