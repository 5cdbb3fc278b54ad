"""What is said of an error in a GraphQL response."""

from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from graphql import GraphQLError

from services.gateway.graph.visit import Refused
from shared.errors import AppError

_log = structlog.get_logger()


class Refuse(Exception):
    """A document that is not executed, and why."""

    def __init__(self, errors: Sequence[GraphQLError]) -> None:
        super().__init__(str(errors[0]))
        self.errors = errors


def formatted(error: GraphQLError, trace_id: str) -> Mapping[str, Any]:
    """Message, place and `extensions`: what a problem document would say, and the trace."""
    message, facts = _facts(error)
    said: dict[str, Any] = {"message": message}
    if error.locations:
        said["locations"] = [place.formatted for place in error.locations]
    if error.path:
        said["path"] = error.path
    return said | {"extensions": facts | {"traceId": trace_id}}


def _facts(error: GraphQLError) -> tuple[str, dict[str, Any]]:
    cause = error.original_error
    if cause is None:
        return error.message, {"code": "BAD_REQUEST", "status": 400}
    if isinstance(cause, Refused):
        refusal = cause.refusal
        return refusal.detail or refusal.title, _coded(
            refusal.title, refusal.status, refusal.errors
        )
    if isinstance(cause, AppError):
        facts = _coded(cause.title, cause.status, cause.errors)
        if cause.retry_after is not None:
            facts["retryAfter"] = cause.retry_after
        return cause.detail, facts
    _log.error("unexpected error", exc_info=cause)
    return "The field could not be completed.", _coded(AppError.title, AppError.status, {})


def _coded(title: str, status: int, errors: Mapping[str, list[str]]) -> dict[str, Any]:
    facts: dict[str, Any] = {"code": title.upper().replace(" ", "_"), "status": status}
    told = {field: said for field, said in errors.items() if said}
    return facts | ({"errors": told} if told else {})
