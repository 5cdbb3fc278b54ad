"""GraphQL requests over HTTP, as the GraphQL-over-HTTP draft has them: read, judged, executed."""

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
from graphql import (
    DocumentNode,
    ExecutionResult,
    GraphQLError,
    NoSchemaIntrospectionCustomRule,
    OperationDefinitionNode,
    build_schema,
    execute,
    get_operation_ast,
    get_variable_values,
    parse,
    specified_rules,
    validate,
)
from graphql.validation.specified_rules import recommended_rules
from msgspec import Meta
from opentelemetry import trace

from services.gateway.asking import Asking
from services.gateway.graph import LONGEST
from services.gateway.graph.cost import MOST_VALUES, MOST_WRITTEN, Meter, overfull, written
from services.gateway.graph.faults import Refuse, formatted
from services.gateway.graph.fields import resolve_fields
from services.gateway.graph.visit import Admits, Visit
from services.gateway.messages.said import Said
from shared.errors import UnsupportedMediaType
from shared.http import decode

MOST_TOKENS = 500
MOST_ERRORS = 5
_SDL = Path(__file__).with_name("schema.graphql")
_JSON = b"application/json"
_RESPONSE = b"application/graphql-response+json"


class Request(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A GraphQL request. An array of them is none."""

    query: Annotated[str, Meta(min_length=1, max_length=LONGEST)]
    variables: dict[str, Any] | None = None
    operation_name: str | None = None
    extensions: dict[str, Any] | None = None


class Engine:
    """The schema, and what is allowed with it."""

    def __init__(self, *, introspection: bool) -> None:
        self.schema = build_schema(_SDL.read_text())
        resolve_fields(self.schema)
        self._rules = [*specified_rules, *recommended_rules]
        if not introspection:
            self._rules.append(NoSchemaIntrospectionCustomRule)
        self._discreet = not introspection

    async def answer(self, asking: Asking, limits: Admits, data: bytes) -> Said:
        """Answer one request. Raises `AppError` for what is no GraphQL request."""
        fields, trace_id = asking.exchange.fields, asking.exchange.trace_id
        if fields.get(b"content-type", b"").partition(b";")[0].strip().lower() != _JSON:
            raise UnsupportedMediaType("The body must be application/json.")
        request = decode(data, Request)
        try:
            document, variables = self.judged(request)
        except Refuse as refused:
            return _said(400, fields.get(b"accept", b""), None, refused.errors, trace_id)
        result = await self._executed(document, request, variables, Visit(asking, limits))
        return _said(200, fields.get(b"accept", b""), result.data, result.errors or (), trace_id)

    def judged(self, request: Request) -> tuple[DocumentNode, dict[str, Any]]:
        """The document, and the values of its variables. Raises `Refuse` for what is not valid,
        or would cost too much.
        """
        document = _parsed(request.query)
        errors = validate(
            self.schema,
            document,
            self._rules,
            max_errors=MOST_ERRORS,
            hide_suggestions=self._discreet,
        )
        if errors:
            raise Refuse(errors)
        operation = get_operation_ast(document, request.operation_name or None)
        if operation is None:
            raise Refuse([GraphQLError("The request must name one operation of the document.")])
        coerced = self._coerced(operation, request.variables or {})
        _note(operation)
        over = Meter(self.schema, document, coerced).of(operation).over()
        if over:
            raise Refuse([GraphQLError(over)])
        return document, request.variables or {}

    def _coerced(
        self, operation: OperationDefinitionNode, given: dict[str, Any]
    ) -> Mapping[str, Any]:
        """Variables as the schema wants them. Raises `Refuse`; what it says of the first few that
        are wrong is for the client alone, since it quotes them.
        """
        if overfull(given):
            raise Refuse([GraphQLError(f"The variables hold more than {MOST_VALUES} values.")])
        values = get_variable_values(
            self.schema,
            operation.variable_definitions or (),
            given,
            max_errors=MOST_ERRORS,
            hide_suggestions=self._discreet,
        )
        if isinstance(values, list):
            raise Refuse([GraphQLError(error.message, error.nodes) for error in values])
        return values.coerced

    async def _executed(
        self, document: DocumentNode, request: Request, variables: dict[str, Any], visit: Visit
    ) -> ExecutionResult:
        result = execute(
            self.schema,
            document,
            context_value=visit,
            variable_values=variables,
            operation_name=request.operation_name or None,
            hide_suggestions=self._discreet,
        )
        return await result if inspect.isawaitable(result) else result


def _parsed(query: str) -> DocumentNode:
    try:
        document = parse(query, max_tokens=MOST_TOKENS)
    except GraphQLError as error:
        raise Refuse([error]) from error
    except RecursionError as error:
        raise Refuse([GraphQLError("The document is nested too deeply.")]) from error
    if written(document) > MOST_WRITTEN:
        raise Refuse([GraphQLError(f"The document selects more than {MOST_WRITTEN} times.")])
    return document


def _note(operation: OperationDefinitionNode) -> None:
    span = trace.get_current_span()
    span.set_attribute("graphql.operation.type", operation.operation.value)
    if operation.name is not None:
        span.set_attribute("graphql.operation.name", operation.name.value)


def _said(
    status: int,
    accept: bytes,
    data: dict[str, Any] | None,
    errors: Sequence[GraphQLError],
    trace_id: str,
) -> Said:
    """Clients that know the old media type alone get it, with the same status."""
    reply: dict[str, Any] = {} if status == 400 else {"data": data}
    if errors:
        reply["errors"] = [formatted(error, trace_id) for error in errors]
    reply["extensions"] = {"traceId": trace_id}
    old = _JSON in accept and _RESPONSE not in accept and b"*/*" not in accept
    media = _JSON if old else _RESPONSE
    fields = ((b"content-type", media), (b"cache-control", b"no-store"))
    return Said(status, fields, msgspec.json.encode(reply))
