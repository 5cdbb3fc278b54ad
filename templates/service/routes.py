"""The gadgetry service's public operations."""

from datetime import UTC, datetime
from uuid import UUID

from quart import Blueprint, Response
from uuid_utils.compat import uuid7

from shared.auth import caller
from shared.database import connection, transaction
from shared.http import body, operation, query, reply
from templates.service import gadgets, schema
from templates.service.queries import select_gadgets

TAG = "Gadgets"
routes = Blueprint("gadgetry", __name__)


@routes.get("/api/gadgets")
@operation(
    "GetGadgets",
    "What members have added, the newest first; `Link` leads to the next page",
    access="public",
    tag=TAG,
    query=schema.GadgetsPage,
    returns={200: schema.MultipleGadgets},
)
async def listing() -> Response:
    wanted = query(schema.GadgetsPage)
    async with connection() as db:
        found = await select_gadgets(db, wanted.before, wanted.limit)
    page = [schema.shown(one) for one in found.page]
    response = reply(schema.MultipleGadgets(gadgets=page))
    if found.more:
        response.headers["Link"] = _next(found.page[-1].id, wanted.limit)
    return response


@routes.post("/api/gadgets")
@operation(
    "CreateGadget",
    "Add one",
    access="required",
    tag=TAG,
    body=schema.NewGadgetRequest,
    returns={201: schema.SingleGadget},
)
async def create() -> Response:
    wanted = (await body(schema.NewGadgetRequest)).gadget
    async with transaction() as db:
        added = await gadgets.add(db, caller().id, wanted.title, uuid7(), datetime.now(UTC))
    return reply(schema.SingleGadget(gadget=schema.shown(added)), 201)


def _next(last: UUID, limit: int) -> str:
    """A link to the page after that one (RFC 8288)."""
    return f'</api/gadgets?before={last}&limit={limit}>; rel="next"'
