"""Kept replies, sent again to who asks what was asked before: nothing of one is computed twice.

A reply depends on the target and on a few fields of the request. Who sends a field that is not
known here goes the long way, `door/front.py`, which says the same.
"""

import time
from typing import Any, TypeAlias

from quart import Quart

from services.gateway.cache.kept import Fields, Form, Kept, age, sent_of, unchanged_for
from services.gateway.cache.replies import key_of, outcomes
from services.gateway.cors import Cors
from services.gateway.door import coding
from services.gateway.door.outgoing import Outgoing
from services.gateway.door.security import Security
from services.gateway.messages import headers, target
from services.gateway.messages.exchange import (
    SERVER,
    Send,
    begin_span,
    note,
    request_id,
    timing,
)
from services.gateway.table import Table
from shared.http1.messages import Ready, lines
from shared.observed import end_span
from shared.roots import trace_id_of

# What may be said without changing a kept reply; of whom it comes, `door/address.py` has found out.
_HARMLESS = frozenset(
    {
        b"accept",
        b"accept-language",
        b"cache-control",
        b"connection",
        b"cookie",
        b"dnt",
        b"forwarded",
        b"pragma",
        b"priority",
        b"referer",
        b"sec-ch-ua",
        b"sec-ch-ua-mobile",
        b"sec-ch-ua-platform",
        b"sec-fetch-dest",
        b"sec-fetch-mode",
        b"sec-fetch-site",
        b"sec-fetch-user",
        b"sec-gpc",
        b"upgrade-insecure-requests",
        b"user-agent",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-port",
        b"x-forwarded-proto",
        b"x-real-ip",
    }
)
_TELLING = frozenset({b"accept-encoding", b"host", b"if-none-match", b"origin", b"x-request-id"})


# What was asked for: an entry, the fields that told how, and the kind of its form.
_Asked: TypeAlias = tuple[Kept, dict[bytes, bytes], tuple[bytes | None, bool, bytes | None, str]]
# What one reply says besides its form: quotas, age, timing, the ids of its trace and its request.
_Said: TypeAlias = tuple[Fields, bytes, bytes, int, bytes]


class Again:
    """Gives what is kept in the form that such a client gets."""

    def __init__(self, app: Quart, table: Table, cors: Cors, security: Security) -> None:
        self._resources, self._table = app.extensions, table
        self._cors, self._security = cors, security

    async def answer(self, scope: Any, send: Send) -> bool:
        """Answer, if nothing else has to be found out for it."""
        asked = self._asked(scope)
        form = None if asked is None else self._form(asked) or await self._formed(scope, asked)
        said = None if asked is None or form is None else self._said(scope, asked, form)
        if form is None or said is None:
            return False
        fields = [*form.fields, *_fields(said)]
        await send({"type": "http.response.start", "status": form.status, "headers": fields})
        await send({"type": "http.response.body", "body": form.body, "more_body": False})
        return True

    def at_once(self, scope: Any) -> Ready | None:
        """The same without waiting for anything, once such a client was answered."""
        asked = self._asked(scope)
        form = None if asked is None else self._form(asked)
        said = None if asked is None or form is None else self._said(scope, asked, form)
        return None if form is None or said is None else (form.status, _head(form, said), form.body)

    def _asked(self, scope: Any) -> _Asked | None:
        kept = self._resources["cache"].kept(key_of(scope))
        fields = None if kept is None else _telling(scope)
        if kept is None or fields is None:
            return None
        accepted, wanted = fields.get(b"accept-encoding"), fields.get(b"if-none-match")
        coded = coding.chosen(accepted) if accepted else None
        unchanged = wanted is not None and unchanged_for(kept.entry, wanted)
        origin = self._cors.known(fields.get(b"origin"))
        return kept, fields, (coded, unchanged, origin, scope["scheme"])

    def _form(self, asked: _Asked) -> Form | None:
        kept, _, kind = asked
        form = kept.forms.get(kind)
        return form if form is not None and form.routes is self._table.routes else None

    async def _formed(self, scope: Any, asked: _Asked) -> Form | None:
        """What the long way would send, but for what differs from one reply to the next."""
        path = target.read(scope["raw_path"], scope["query_string"])
        route = self._table.find(path).get("GET")
        if route is None or route.cache is None:
            return None
        sent: list[Any] = []

        async def keep(message: Any) -> None:
            sent.append(message)

        kept, given, kind = asked
        status, said, body = sent_of(kept.entry, unchanged=kind[1])
        said = [*said, *self._cors.headers(given), (b"cache-status", b"quartet; hit"), SERVER]
        outgoing = Outgoing(scope, keep, self._security)
        await outgoing({"type": "http.response.start", "status": status, "headers": said})
        await outgoing({"type": "http.response.body", "body": body})
        fields, body = sent[0]["headers"], sent[1]["body"]
        form = Form(status, fields, lines(fields), body, route, self._table.routes)
        self._resources["cache"].form(key_of(scope), kind, form)
        return form

    def _said(self, scope: Any, asked: _Asked, form: Form) -> _Said | None:
        """The reply is counted, traced and logged. None where the limits have to refuse it."""
        begun = time.perf_counter()
        told = self._resources["limits"].admit_anybody(scope, form.route)
        if told is None:
            return None
        kept, given, _ = asked
        id_ = request_id(given)
        span = begin_span(scope, None, form.route)
        seconds = time.perf_counter() - begun
        note(scope, form.route, form.status, len(form.body), seconds, id_, span, cache="hit")
        outcomes.add((form.route.path, "hit"))
        end_span(span, form.status)
        return told, age(kept.entry), timing(seconds), trace_id_of(span), id_


def _fields(said: _Said) -> Fields:
    """For ASGI."""
    told, aged, timed, trace_id, id_ = said
    return [
        *told,
        (b"age", aged),
        (b"server-timing", timed),
        (b"quartet-trace", b"%032x" % trace_id),
        (b"x-request-id", id_),
    ]


def _head(form: Form, said: _Said) -> bytes:
    """For the wire; nothing of it comes from a client unread."""
    told = lines(said[0])
    lasting = b"%b%bage: %b\r\nserver-timing: %b\r\nquartet-trace: %032x\r\nx-request-id: %b\r\n"
    return lasting % (form.lines, told, *said[1:])


def _telling(scope: Any) -> dict[bytes, bytes] | None:
    """The fields that a kept reply depends on; None where there are others."""
    if scope["method"] != "GET":
        return None
    found, size = {}, 0
    for name, value in scope["headers"]:
        size += len(name) + len(value)
        if name in _HARMLESS:
            continue
        if name not in _TELLING or name in found:
            return None
        found[name] = value
    if size > headers.LARGEST or not headers.is_host(found.get(b"host", b"")):
        return None
    return found
