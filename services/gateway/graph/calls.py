"""Which route answers each field that asks a service."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from services.gateway.messages import target
from services.gateway.routes import ROUTES
from services.gateway.table import Method, Route
from shared.errors import BadRequest

_ROUTES = {(route.method, route.path): route for route in ROUTES}


class Call(msgspec.Struct, frozen=True):
    """A route, and what of its reply is the field's value: the member `take`, or True where the
    reply has no body. The argument `input` is sent as the member `wrap` of the body; others fill
    the path's parameters, and then the query.

    `absent`: null is the answer to whom it does not concern, and where there is nothing.
    """

    method: Method
    path: str
    take: str = ""
    wrap: str = ""
    absent: bool = False

    @property
    def route(self) -> Route:
        """The gateway's route. Raises `KeyError` where the table has none."""
        return _ROUTES[self.method, self.path]

    def target(self, arguments: Mapping[str, Any]) -> str:
        """The request target. Raises `BadRequest` for arguments that would make another path."""
        path, rest = self.path, {}
        for name, value in arguments.items():
            place = f"{{{name}}}"
            if place in path:
                if not value:
                    raise BadRequest(f"The argument '{name}' is empty.")
                path = path.replace(place, quote(value, safe=""))
            elif name != "input" and value is not None:
                rest[name] = value
        query = urlencode(rest, doseq=True)
        target.read(path.encode(), query.encode())
        return f"{path}?{query}" if query else path

    def body(self, arguments: Mapping[str, Any]) -> bytes | None:
        """The body that `input` makes; None without one."""
        if "input" not in arguments:
            return None
        return msgspec.json.encode({self.wrap: arguments["input"]})


QUERIES: Mapping[str, Call] = {
    "viewer": Call("GET", "/api/user", "user", absent=True),
    "articles": Call("GET", "/api/articles"),
    "feed": Call("GET", "/api/articles/feed"),
    "article": Call("GET", "/api/articles/{slug}", "article", absent=True),
    "tags": Call("GET", "/api/tags", "tags"),
    "notifications": Call("GET", "/api/notifications"),
}
COMMENTS = Call("GET", "/api/articles/{slug}/comments", "comments")
PROFILES = Call("GET", "/api/profiles", "profiles")
MUTATIONS: Mapping[str, Call] = {
    "register": Call("POST", "/api/users", "user", "user"),
    "login": Call("POST", "/api/users/login", "user", "user"),
    "updateUser": Call("PUT", "/api/user", "user", "user"),
    "follow": Call("POST", "/api/profiles/{username}/follow", "profile"),
    "unfollow": Call("DELETE", "/api/profiles/{username}/follow", "profile"),
    "createArticle": Call("POST", "/api/articles", "article", "article"),
    "updateArticle": Call("PUT", "/api/articles/{slug}", "article", "article"),
    "deleteArticle": Call("DELETE", "/api/articles/{slug}"),
    "favorite": Call("POST", "/api/articles/{slug}/favorite", "article"),
    "unfavorite": Call("DELETE", "/api/articles/{slug}/favorite", "article"),
    "createComment": Call("POST", "/api/articles/{slug}/comments", "comment", "comment"),
    "deleteComment": Call("DELETE", "/api/articles/{slug}/comments/{id}"),
    "readNotification": Call("PUT", "/api/notifications/{id}/read", "notification"),
    "readNotifications": Call("PUT", "/api/notifications/read", "unreadCount"),
}
