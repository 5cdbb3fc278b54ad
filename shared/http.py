"""HTTP in and out: typed bodies and queries, encoded replies, and what a route declares."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Annotated, Any, Literal, TypeVar, cast, get_args
from urllib.parse import unquote_to_bytes

import msgspec
from quart import Response, request
from werkzeug.exceptions import RequestEntityTooLarge

from shared.errors import BadRequest, Invalid, TooLarge, UnsupportedMediaType

T = TypeVar("T")
Access = Literal["public", "optional", "required"]
View = TypeVar("View", bound=Callable[..., Any])

Timestamp = Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"})]
_encode = msgspec.json.Encoder().encode
LONGEST_ARGUMENT = 255
_REMEMBERED = 4_096  # moments that are shown again and again, and take a microsecond to write
LARGEST_INTEGER = 2**63 - 1  # PostgreSQL's bigint
_JSON_TYPES = frozenset({"application/json", ""})


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """What a route declares of itself: its access is enforced, the rest becomes OpenAPI."""

    id: str
    summary: str
    access: Access
    tag: str
    body: Any = None
    query: Any = None
    returns: Mapping[int, Any] = {}


def operation(
    id_: str,
    summary: str,
    *,
    access: Access,
    tag: str,
    returns: Mapping[int, Any],
    body: Any = None,
    query: Any = None,
) -> Callable[[View], View]:
    """Declare a route. `returns` maps a status to the type of its reply; None is an empty one.

    `access`: `required` answers 401 without a valid token, `optional` takes one, `public` ignores
    it. A test fails for a route that declares nothing.
    """
    declared = Operation(
        id=id_, summary=summary, access=access, tag=tag, body=body, query=query, returns=returns
    )

    def declare(view: View) -> View:
        view.__operation__ = declared  # type: ignore[attr-defined]  # functions take attributes
        return view

    return declare


def declared(view: Callable[..., Any]) -> Operation:
    """What `operation` declared of a view. Raises `AttributeError` where nothing was."""
    found: Operation = view.__operation__  # type: ignore[attr-defined]  # functions take attributes
    return found


def reply(value: object = None, status: int = 200, **headers: str) -> Response:
    """A JSON reply; None gives an empty body. Header names are written with underscores."""
    body = b"" if value is None else _encode(value)
    response = Response(body, status=status, content_type="application/json")
    if value is None:
        del response.headers["Content-Type"]
    for name, text in headers.items():
        response.headers[name.replace("_", "-")] = text
    return response


@lru_cache(_REMEMBERED)
def timestamp(moment: datetime) -> str:
    """ISO 8601 in UTC with milliseconds: `2026-01-02T03:04:05.678Z`."""
    if moment.tzinfo is not UTC:  # as PostgreSQL's are
        moment = moment.astimezone(UTC)
    return moment.isoformat(timespec="milliseconds")[:-6] + "Z"


async def body(type_: type[T]) -> T:
    """The request's JSON body as `type_`; unknown fields are ignored.

    Raises `BadRequest` for what is no JSON, `UnsupportedMediaType`, `TooLarge`, and `Invalid`
    naming every field that does not fit.
    """
    if request.mimetype not in _JSON_TYPES:
        raise UnsupportedMediaType("The body must be application/json.")
    try:
        data = cast(bytes, await request.get_data(cache=False))
    except RequestEntityTooLarge as error:
        raise TooLarge("The body is over the limit.") from error
    return decode(data, type_)


def decode(data: bytes, type_: type[T]) -> T:
    """JSON bytes as `type_`. Raises `BadRequest` or `Invalid`."""
    try:
        return _decoded(data, type_)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(
            "The body is not well-formed JSON.", errors={"body": [_malformation(error)]}
        ) from error


def _decoded(data: bytes, type_: type[T]) -> T:
    try:
        value = msgspec.json.decode(data, type=type_)
    except msgspec.ValidationError as error:
        # Decodes again, all of it: what comes after the first fault may be no JSON.
        raise Invalid("A field is not valid.", errors=_faults(data, type_, error)) from error
    if b"\\u" in data:
        _refuse_unstorable(msgspec.json.decode(data))
    return value


def _malformation(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "is nested too deeply"
    return "is not valid UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)


def query(type_: type[T]) -> T:
    """The query string as `type_`. Raises `Invalid`, naming every parameter that does not fit."""
    given = _arguments(_lists(cast(Any, type_))) if request.query_string else {}
    try:
        return msgspec.convert(given, type_, strict=False)
    except msgspec.ValidationError as error:
        faults = field_faults(given, type_, strict=False) or {"query": [sentence(str(error))]}
        raise Invalid("A query parameter is not valid.", errors=faults) from error


def _arguments(lists: tuple[str, ...]) -> dict[str, Any]:
    args = request.args
    return args.to_dict() | {name: args.getlist(name) for name in lists if name in args}


@cache
def _lists(type_: Any) -> tuple[str, ...]:
    """The parameters that may be there several times."""
    kinds = (
        (field.encode_name, msgspec.inspect.type_info(field.type))
        for field in msgspec.structs.fields(type_)
    )
    return tuple(name for name, kind in kinds if isinstance(kind, msgspec.inspect.ListType))


def check_target(raw_path: bytes, query_string: bytes) -> None:
    """Refuse a request target that is no UTF-8 or holds NUL. Raises `BadRequest`."""
    for part in (raw_path, query_string):
        if b"%" not in part and part.isascii() and b"\0" not in part:
            continue
        try:
            text = unquote_to_bytes(part).decode()
        except UnicodeDecodeError as error:
            raise BadRequest("The request target is not valid UTF-8.") from error
        if "\0" in text:
            raise BadRequest("The request target holds a NUL character.")


def check_argument(name: str, value: object) -> None:
    """Refuse a path argument that can name nothing of ours. Raises `Invalid`."""
    if isinstance(value, str) and len(value) > LONGEST_ARGUMENT:
        fault = f"is too long (maximum is {LONGEST_ARGUMENT} characters)"
    elif isinstance(value, int) and value > LARGEST_INTEGER:
        fault = "is out of range"
    else:
        return
    raise Invalid("A path argument is not valid.", errors={name: [fault]})


def _refuse_unstorable(value: object, field: str = "body") -> None:
    """NUL and lone surrogates are legal in JSON strings, and not in PostgreSQL's."""
    if isinstance(value, str):
        if "\0" in value or any("\ud800" <= char <= "\udfff" for char in value):
            raise Invalid(
                "A text holds a character that can't be stored.",
                errors={field: ["holds a NUL character or a lone surrogate"]},
            )
    elif isinstance(value, list):
        for item in value:
            _refuse_unstorable(item, field)
    elif isinstance(value, dict):
        for name, item in value.items():
            _refuse_unstorable(name, field)
            _refuse_unstorable(item, name)


def _faults(data: bytes, type_: Any, error: Exception) -> dict[str, list[str]]:
    value = msgspec.json.decode(data)
    return field_faults(value, type_) or {"body": [sentence(str(error))]}


def field_faults(value: object, type_: Any, *, strict: bool = True) -> dict[str, list[str]]:
    """Every field of `value` that does not fit the struct `type_`, in RealWorld's words."""
    if not isinstance(value, dict):
        return {"body": ["must be an object"]}
    faults: dict[str, list[str]] = {}
    for field in msgspec.structs.fields(type_):
        try:
            given = value[field.encode_name]
            msgspec.convert(given, field.type, strict=strict)
        except KeyError:
            if field.required:
                faults[field.encode_name] = ["can't be blank"]
        except msgspec.ValidationError as error:
            nested = isinstance(given, dict) and _struct_of(field.type)
            inner = field_faults(given, nested, strict=strict) if nested else {}
            faults.update(inner or {field.encode_name: [sentence(str(error))]})
    return faults


def _struct_of(type_: Any) -> Any:
    candidates = (type_, *get_args(type_))
    return next((c for c in candidates if isinstance(c, type(msgspec.Struct))), None)


_SENTENCES = [
    (re.compile(r"got `null`|length >= 1\b|matching regex|missing required"), "can't be blank"),
    (re.compile(r"`array` of length <= (\d+)"), "has too many entries (maximum is {})"),
    (re.compile(r"length <= (\d+)"), "is too long (maximum is {} characters)"),
    (re.compile(r"length >= (\d+)"), "is too short (minimum is {} characters)"),
    (re.compile(r"Expected `int` >= (-?\d+)"), "must be greater than or equal to {}"),
    (re.compile(r"Expected `int` <= (-?\d+)"), "must be less than or equal to {}"),
    (re.compile(r"[Ii]nteger value out of range"), "is out of range"),
    (re.compile(r"Expected `(\w+)"), "must be of type {}"),
]


def sentence(message: str) -> str:
    """What msgspec says, as RealWorld's front ends say it."""
    for pattern, words in _SENTENCES:
        match = pattern.search(message)
        if match:
            return words.format(*match.groups())
    return "is invalid"
