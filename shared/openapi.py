"""A service's OpenAPI 3.1 document, from what its routes declare."""

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

import msgspec
from quart import Quart
from werkzeug.routing import Rule

from shared.errors import PROBLEM_TYPE, Problem
from shared.http import Operation, declared

_REF = "#/components/schemas/{name}"
_PARAMETER = re.compile(r"<(?:(\w+)(?:\([^)]*\))?:)?(\w+)>")
_CONVERTERS: dict[str | None, dict[str, Any]] = {
    None: {"type": "string"},
    "string": {"type": "string"},
    "int": {"type": "integer", "minimum": 0},
    "uuid": {"type": "string", "format": "uuid"},
}


def document(app: Quart) -> dict[str, Any]:
    """The document of `app`: its routes below /api, the schemas that they name, and security."""
    rules = [rule for rule in app.url_map.iter_rules() if rule.rule.startswith("/api/")]
    routes = [(rule, declared(app.view_functions[rule.endpoint])) for rule in rules]
    return described(app.name, routes)


def described(name: str, routes: Iterable[tuple[Rule, Operation]]) -> dict[str, Any]:
    """The document of a service with these routes."""
    routes = list(routes)
    types = [type_ for _, operation in routes for type_ in _types(operation)] + [Problem]
    _, schemas = msgspec.json.schema_components(types, ref_template=_REF)
    paths: dict[str, Any] = {}
    for rule, operation in routes:
        for method in methods_of(rule):
            paths.setdefault(path_of(rule), {})[method.lower()] = _operation(rule, operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": f"Quartet {name}", "version": "1"},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "Token": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Authorization",
                    "description": "`Token …` or `Bearer …`",
                }
            },
        },
    }


def path_of(rule: Rule) -> str:
    """The path of a rule with its parameters as OpenAPI writes them: `/articles/{slug}`."""
    return _PARAMETER.sub(r"{\2}", rule.rule)


def methods_of(rule: Rule) -> list[str]:
    """The methods that a rule was made for; HEAD and OPTIONS come by themselves."""
    return sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})


def _types(operation: Operation) -> list[Any]:
    return [type_ for type_ in (operation.body, *operation.returns.values()) if type_ is not None]


def _operation(rule: Rule, operation: Operation) -> dict[str, Any]:
    said: dict[str, Any] = {
        "operationId": operation.id,
        "summary": operation.summary,
        "tags": [operation.tag],
        "parameters": [*_path_parameters(rule), *_query_parameters(operation.query)],
        "responses": _responses(rule, operation),
    }
    if operation.body is not None:
        said["requestBody"] = {"required": True, "content": _content(operation.body)}
    if operation.access != "public":
        optional: list[dict[str, Any]] = [{}] if operation.access == "optional" else []
        said["security"] = [*optional, {"Token": []}]
    return said


def _responses(rule: Rule, operation: Operation) -> dict[str, Any]:
    replies = {str(status): _reply(status, type_) for status, type_ in operation.returns.items()}
    refusals = {400, 422, 503}
    if operation.access != "public":
        refusals.add(401)
    if operation.body is not None:
        refusals |= {413, 415}
    if rule.arguments:
        refusals.add(404)
    if rule.arguments and operation.access == "required":
        refusals.add(403)
    for status in sorted(refusals - operation.returns.keys()):
        replies[str(status)] = _problem(status)
    return replies


def _reply(status: int, type_: Any) -> dict[str, Any]:
    if type_ is Problem:
        return _problem(status)
    described: dict[str, Any] = {"description": HTTPStatus(status).phrase}
    return described if type_ is None else described | {"content": _content(type_)}


def _problem(status: int) -> dict[str, Any]:
    schema = {"$ref": _REF.format(name="Problem")}
    return {
        "description": HTTPStatus(status).phrase,
        "content": {PROBLEM_TYPE: {"schema": schema}},
    }


def _content(type_: Any) -> dict[str, Any]:
    (schema,), _ = msgspec.json.schema_components([type_], ref_template=_REF)
    return {"application/json": {"schema": schema}}


def _path_parameters(rule: Rule) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": _CONVERTERS[converter or None]}
        for converter, name in _PARAMETER.findall(rule.rule)
    ]


def _query_parameters(type_: Any) -> list[dict[str, Any]]:
    if type_ is None:
        return []
    (reference,), schemas = msgspec.json.schema_components([type_], ref_template=_REF)
    schema = schemas[reference["$ref"].rsplit("/", 1)[1]]
    return [
        {"name": name, "in": "query", "required": name in schema["required"], "schema": property_}
        for name, property_ in schema["properties"].items()
    ]
