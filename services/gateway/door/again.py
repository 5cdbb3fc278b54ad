"""Kept replies, sent again to who asks what was asked before: nothing of one is computed twice.

A reply depends on the target and on a few fields of the request. Who sends a field that is not
known here goes the long way, `door/front.py`, which says the same.
"""

import time
from typing import Any

from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import set_span_in_context
from quart import Quart

from services.gateway.cache.kept import Entry, Fields, Form, Kept, age, sent_of, unchanged_for
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
    name_span,
    note,
    request_id,
    timing,
)
from services.gateway.table import Table
from shared.observed import end_span

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


class Again:
    """Sends what is kept in the form that such a client gets."""

    def __init__(self, app: Quart, table: Table, cors: Cors, security: Security) -> None:
        self._resources, self._table = app.extensions, table
        self._cors, self._security = cors, security

    async def answer(self, scope: Any, send: Send) -> bool:
        """Answer, if nothing else has to be found out for it."""
        begun = time.perf_counter()
        kept = self._resources["cache"].kept(key_of(scope))
        fields = _telling(scope) if kept is not None else None
        if kept is None or fields is None:
            return False
        form = await self._form(kept, scope, fields)
        if form is None:
            return False
        told = self._resources["limits"].admit_anybody(scope, form.route)
        if told is None:
            return False
        told.append(age(kept.entry))
        await self._send(begun, scope, send, form, told, request_id(fields))
        return True

    async def _form(self, kept: Kept, scope: Any, fields: dict[bytes, bytes]) -> Form | None:
        accepted, wanted = fields.get(b"accept-encoding"), fields.get(b"if-none-match")
        coded = coding.chosen(accepted) if accepted else None
        unchanged = wanted is not None and unchanged_for(kept.entry, wanted)
        origin = self._cors.known(fields.get(b"origin"))
        kind = (coded, unchanged, origin, scope["scheme"])
        form = kept.forms.get(kind)
        if form is None or form.routes is not self._table.routes:
            form = await self._formed(kept.entry, scope, fields, unchanged)
            if form is not None:
                self._resources["cache"].form(key_of(scope), kind, form)
        return form

    async def _formed(
        self, entry: Entry, scope: Any, fields: dict[bytes, bytes], unchanged: bool
    ) -> Form | None:
        """What the long way would send, but for what differs from one reply to the next."""
        path = target.read(scope["raw_path"], scope["query_string"])
        route = self._table.find(path).get("GET")
        if route is None or route.cache is None:
            return None
        sent: list[Any] = []

        async def keep(message: Any) -> None:
            sent.append(message)

        status, said, body = sent_of(entry, unchanged=unchanged)
        said = [*said, *self._cors.headers(fields), (b"cache-status", b"quartet; hit"), SERVER]
        outgoing = Outgoing(scope, keep, self._security)
        await outgoing({"type": "http.response.start", "status": status, "headers": said})
        await outgoing({"type": "http.response.body", "body": body})
        return Form(status, sent[0]["headers"], sent[1]["body"], route, self._table.routes)

    async def _send(
        self,
        begun: float,
        scope: Any,
        send: Send,
        form: Form,
        told: Fields,
        request_id: bytes,
    ) -> None:
        span = begin_span(scope, Context())
        token = attach(set_span_in_context(span, Context()))
        name_span(span, "GET", form.route)
        trace_id = format(span.get_span_context().trace_id, "032x").encode()
        said = [
            *form.fields,
            *told,
            (b"server-timing", timing(time.perf_counter() - begun)),
            (b"quartet-trace", trace_id),
            (b"x-request-id", request_id),
        ]
        try:
            await send({"type": "http.response.start", "status": form.status, "headers": said})
            await send({"type": "http.response.body", "body": form.body, "more_body": False})
        finally:
            seconds = time.perf_counter() - begun
            note(scope, form.route, form.status, len(form.body), seconds, request_id, cache="hit")
            outcomes.add((form.route.path, "hit"))
            end_span(span, form.status)
            detach(token)


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
