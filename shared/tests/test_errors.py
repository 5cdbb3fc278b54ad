"""Every error has one shape on the wire."""

import msgspec
import pytest

from shared.errors import AppError, Conflict, NotFound, Unauthorized, Unavailable, headers, problem

TRACE = "0" * 31 + "1"


def rendered(error: AppError) -> dict[str, object]:
    decoded: dict[str, object] = msgspec.json.decode(problem(error, TRACE))
    return decoded


def test_a_problem_names_type_title_status_detail_trace_and_faults() -> None:
    error = Conflict("It is taken.", errors={"username": ["has already been taken"]})
    assert rendered(error) == {
        "type": "urn:quartet:problem:conflict",
        "title": "Conflict",
        "status": 409,
        "detail": "It is taken.",
        "trace_id": TRACE,
        "errors": {"username": ["has already been taken"], "body": []},
    }


def test_where_no_field_is_to_blame_the_body_says_why() -> None:
    assert rendered(NotFound("It is gone."))["errors"] == {"body": ["It is gone."]}


def test_an_error_without_words_says_its_title() -> None:
    assert rendered(NotFound())["detail"] == "Not Found"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (NotFound(), {}),
        (Unavailable(), {"Retry-After": "1"}),
        (Unavailable(retry_after=30), {"Retry-After": "30"}),
        (Unauthorized(), {"WWW-Authenticate": "Bearer"}),
    ],
)
def test_a_status_brings_its_headers(error: AppError, expected: dict[str, str]) -> None:
    always = {"Content-Type": "application/problem+json", "Cache-Control": "no-store"}
    assert headers(error) == always | expected


@pytest.mark.parametrize("kind", AppError.__subclasses__())
def test_every_kind_of_error_is_documented_and_has_a_status_of_its_own(
    kind: type[AppError],
) -> None:
    assert kind.__doc__
    assert 400 <= kind.status <= 599
    statuses = [other.status for other in AppError.__subclasses__()]
    assert statuses.count(kind.status) == 1
