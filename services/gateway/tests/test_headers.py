"""Which fields travel on."""

import pytest

from services.gateway.messages import headers
from shared.errors import BadRequest

HOST = (b"host", b"quartet.example")


def checked(*fields: tuple[bytes, bytes], http_version: str = "1.1") -> None:
    headers.check(fields, headers.read(fields), http_version)


def test_hop_by_hop_and_internal_fields_of_a_client_stay_here() -> None:
    given = [
        (b"connection", b"close, X-Mine"),
        (b"x-mine", b"1"),
        (b"keep-alive", b"1"),
        (b"te", b"trailers"),
        (b"transfer-encoding", b"chunked"),
        (b"upgrade", b"h2c"),
        (b"proxy-authorization", b"Basic x"),
        (b"quartet-account", b"1"),
        (b"quartet-after", b"users=1"),
        (b"x-forwarded-for", b"1.2.3.4"),
        (b"forwarded", b"for=1.2.3.4"),
        (b"x-real-ip", b"1.2.3.4"),
        (b"baggage", b"a=b"),
        (b"authorization", b"Token x"),
        (b"accept-encoding", b"br"),
        (b"cookie", b"a=1"),
        (b"cookie", b"b=2"),
    ]
    passed = headers.to_service(given, b"close, X-Mine")
    assert passed == [
        ("authorization", "Token x"),
        ("accept-encoding", "br"),
        ("cookie", "a=1"),
        ("cookie", "b=2"),
    ]


def test_hop_by_hop_and_internal_fields_of_a_service_stay_here() -> None:
    given = [
        (b"Connection", b"X-Mine"),
        (b"X-Mine", b"1"),
        (b"Transfer-Encoding", b"chunked"),
        (b"Quartet-Account", b"1"),
        (b"Quartet-Trace", b"1"),
        (b"Quartet-Position", b"users=1"),
        (b"Access-Control-Allow-Origin", b"*"),
        (b"Server", b"x"),
        (b"Set-Cookie", b"a=1"),
        (b"Set-Cookie", b"b=2"),
        (b"ETag", b'"x"'),
    ]
    assert headers.to_client(given, b"X-Mine") == [
        (b"quartet-position", b"users=1"),
        (b"set-cookie", b"a=1"),
        (b"set-cookie", b"b=2"),
        (b"etag", b'"x"'),
    ]


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [HOST, HOST],
        [(b"host", b"a b")],
        [(b"host", b"a/b")],
        [(b"host", b"a@b")],
        [HOST, (b"content-length", b"1"), (b"content-length", b"1")],
        [HOST, (b"content-length", b"+1")],
        [HOST, (b"content-length", b"-1")],
        [HOST, (b"content-length", b"\xb2")],
        [HOST, (b"content-length", b"9" * 30)],
        [HOST, (b"content-length", b"1"), (b"transfer-encoding", b"chunked")],
    ],
)
def test_a_header_that_can_be_misread_is_refused(fields: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(BadRequest):
        checked(*fields)


def test_a_plain_header_passes() -> None:
    checked(HOST, (b"content-length", b"12"), (b"x", b"\xff"))
    checked((b"host", b"[::1]:8000"))
    checked(http_version="1.0")


def test_a_header_beyond_the_limit_is_refused() -> None:
    with pytest.raises(headers.HeadersTooLarge):
        checked(HOST, (b"x", b"a" * headers.LARGEST))
