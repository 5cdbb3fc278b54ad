"""RealWorld's public contract, condensed: what each operation may answer, and the shape of it.

Source: the RealWorld OpenAPI document, version 1.1.0. Every property that it names is required.
"""

from typing import Any

from jsonschema import Draft202012Validator

Schema = dict[str, Any]
STRING: Schema = {"type": "string"}
INTEGER: Schema = {"type": "integer"}
BOOLEAN: Schema = {"type": "boolean"}
STRINGS: Schema = {"type": "array", "items": STRING}
MOMENT: Schema = {
    "type": "string",
    "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$",  # ISO 8601, UTC, milliseconds
}


def exactly(**properties: Schema) -> Schema:
    """An object with these properties and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def several(item: Schema) -> Schema:
    return {"type": "array", "items": item}


USER = exactly(email=STRING, token=STRING, username=STRING, bio=STRING, image=STRING)
PROFILE = exactly(username=STRING, bio=STRING, image=STRING, following=BOOLEAN)
LISTED = {
    "slug": STRING,
    "title": STRING,
    "description": STRING,
    "tagList": STRINGS,
    "createdAt": MOMENT,
    "updatedAt": MOMENT,
    "favorited": BOOLEAN,
    "favoritesCount": INTEGER,
    "author": PROFILE,
}
ARTICLE = exactly(**LISTED, body=STRING)
COMMENT = exactly(id=INTEGER, createdAt=MOMENT, updatedAt=MOMENT, body=STRING, author=PROFILE)
ERRORS: Schema = {
    "type": "object",
    "properties": {
        "errors": {
            "type": "object",
            "properties": {"body": STRINGS},
            "required": ["body"],
            "additionalProperties": STRINGS,
        },
        "status": INTEGER,
        "trace_id": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
    },
    "required": ["errors", "type", "title", "status", "detail", "trace_id"],
}
ONE_USER = exactly(user=USER)
ONE_PROFILE = exactly(profile=PROFILE)
ONE_ARTICLE = exactly(article=ARTICLE)
ARTICLES = exactly(articles=several(exactly(**LISTED)), articlesCount=INTEGER)
ONE_COMMENT = exactly(comment=COMMENT)
COMMENTS = exactly(comments=several(COMMENT))
TAGS = exactly(tags=STRINGS)

# Operations to the statuses that the document names; None is a reply without a body.
OPERATIONS: dict[str, dict[int, Schema | None]] = {
    "POST /users/login": {200: ONE_USER, 401: ERRORS, 422: ERRORS},
    "POST /users": {201: ONE_USER, 422: ERRORS},
    "GET /user": {200: ONE_USER, 401: ERRORS},
    "PUT /user": {200: ONE_USER, 401: ERRORS, 422: ERRORS},
    "GET /profiles/{username}": {200: ONE_PROFILE, 401: ERRORS, 422: ERRORS},
    "POST /profiles/{username}/follow": {200: ONE_PROFILE, 401: ERRORS, 422: ERRORS},
    "DELETE /profiles/{username}/follow": {200: ONE_PROFILE, 401: ERRORS, 422: ERRORS},
    "GET /articles/feed": {200: ARTICLES, 401: ERRORS, 422: ERRORS},
    "GET /articles": {200: ARTICLES, 401: ERRORS, 422: ERRORS},
    "POST /articles": {201: ONE_ARTICLE, 401: ERRORS, 422: ERRORS},
    "GET /articles/{slug}": {200: ONE_ARTICLE, 422: ERRORS},
    "PUT /articles/{slug}": {200: ONE_ARTICLE, 401: ERRORS, 422: ERRORS},
    "DELETE /articles/{slug}": {204: None, 401: ERRORS, 422: ERRORS},
    "GET /articles/{slug}/comments": {200: COMMENTS, 401: ERRORS, 422: ERRORS},
    "POST /articles/{slug}/comments": {200: ONE_COMMENT, 401: ERRORS, 422: ERRORS},
    "DELETE /articles/{slug}/comments/{id}": {204: None, 401: ERRORS, 422: ERRORS},
    "POST /articles/{slug}/favorite": {200: ONE_ARTICLE, 401: ERRORS, 422: ERRORS},
    "DELETE /articles/{slug}/favorite": {200: ONE_ARTICLE, 401: ERRORS, 422: ERRORS},
    "GET /tags": {200: TAGS},
}
# The document also names 422 for these two; they take no input that could be wrong.
WITHOUT_INPUT = {("GET /user", 422), ("GET /tags", 422)}

# Not in the document, and answered all the same: somebody else's thing, and an unknown one.
BESIDES: dict[int, Schema] = {400: ERRORS, 403: ERRORS, 404: ERRORS}


def check(operation: str, status: int, body: Any) -> None:
    """Raises `AssertionError` unless the reply is one that the contract knows."""
    allowed = OPERATIONS[operation] | BESIDES
    assert status in allowed, f"{operation} answered {status}: {body}"
    schema = allowed[status]
    if schema is None:
        assert body is None, f"{operation} answered {status} with a body: {body}"
        return
    faults = [
        f"{error.json_path}: {error.message}"
        for error in Draft202012Validator(schema).iter_errors(body)
    ]
    assert not faults, f"{operation} answered {status}: {faults}"
