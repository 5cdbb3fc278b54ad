"""Replies are safe for browsers, and small for those who can read a coding."""

import asyncio
import gzip
import json
from collections.abc import Callable
from typing import Any

import brotli
import pytest
import zstandard
from aiohttp import web

from services.gateway.door.coding import chosen
from services.gateway.door.security import Security
from services.gateway.settings import Settings
from services.gateway.tests.behind import Behind
from services.gateway.tests.running import Running

TEXT = json.dumps([{"slug": f"article-{number}"} for number in range(200)]).encode()
LONG = TEXT * 100
DECODERS: dict[str, Callable[[bytes], bytes]] = {
    "zstd": lambda coded: zstandard.ZstdDecompressor().decompressobj().decompress(coded),
    "br": brotli.decompress,
    "gzip": gzip.decompress,
}


@pytest.mark.parametrize(
    ("accepted", "expected"),
    [
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip, deflate, br", "br"),
        ("gzip", "gzip"),
        ("GZIP;Q=0.5", "gzip"),
        ("br;q=0.5, gzip", "gzip"),
        ("zstd;q=0, *", "br"),
        ("*;q=0.1", "zstd"),
        ("identity, gzip;q=0.5", None),
        ("gzip;q=0", None),
        ("deflate", None),
        ("", None),
        ("gzip;q=x, br;x=1, zstd;q=7", None),
        ("gzip;q=nan", None),
        ("*;q=0", None),
    ],
)
def test_the_client_chooses_and_we_break_ties(accepted: str, expected: str | None) -> None:
    found = chosen(accepted.encode())
    assert (found.decode() if found else None) == expected


async def fetch(
    gateway: Running, behind: Behind, body: bytes, accepted: str | None, **fields: str
) -> Any:
    """What the client gets of a body, as it comes over the wire."""

    async def answer(request: web.Request) -> web.StreamResponse:
        said = {"Content-Type": "application/json", "ETag": '"x"'} | {
            name.replace("_", "-"): value for name, value in fields.items()
        }
        return web.Response(body=body, headers=said)

    behind.answer = answer
    head = (
        f"GET /api/tags HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAccept-Encoding: {accepted}\r\n"
    )
    if accepted is None:
        head = "GET /api/tags HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(f"{head}\r\n".encode())
    raw = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    return parsed(raw)


def parsed(raw: bytes) -> tuple[dict[str, str], bytes]:
    head, _, body = raw.partition(b"\r\n\r\n")
    fields: dict[str, str] = {}
    for line in head.decode().split("\r\n")[1:]:
        name, _, value = line.partition(": ")
        name = name.lower()
        fields[name] = f"{fields[name]}, {value}" if name in fields else value
    if fields.get("transfer-encoding") == "chunked":
        body = b"".join(chunks(body))
    return fields, body


def chunks(raw: bytes) -> list[bytes]:
    found = []
    while raw:
        size, _, rest = raw.partition(b"\r\n")
        found.append(rest[: int(size, 16)])
        raw = rest[int(size, 16) + 2 :] if int(size, 16) else b""
    return found


@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.parametrize("body", [TEXT, LONG], ids=["whole", "in pieces"])
async def test_each_coding_gives_the_same_bytes(
    gateway: Running, behind: Behind, name: str, body: bytes
) -> None:
    fields, coded = await fetch(gateway, behind, body, name)
    assert fields["content-encoding"] == name
    assert "Accept-Encoding" in fields["vary"]
    assert fields["etag"] == 'W/"x"'
    assert len(coded) < len(body) / 5
    if body is TEXT:
        assert fields["content-length"] == str(len(coded))
    assert DECODERS[name](coded) == body


@pytest.mark.parametrize(
    "fields",
    [
        {"Cache_Control": "public, no-transform"},
        {"Content_Type": "image/png"},
        {"Content_Type": "text/event-stream"},
        {"Content_Encoding": "x-own"},
    ],
    ids=str,
)
async def test_what_must_not_be_coded_stays(
    gateway: Running, behind: Behind, fields: dict[str, str]
) -> None:
    said, body = await fetch(gateway, behind, TEXT, "gzip", **fields)
    assert said.get("content-encoding") == fields.get("Content_Encoding")
    assert said["etag"] == '"x"'
    assert body == TEXT


@pytest.mark.parametrize(("body", "accepted"), [(TEXT[:1000], "gzip"), (TEXT, None), (TEXT, "x")])
async def test_small_replies_and_other_clients_get_the_body_as_it_is(
    gateway: Running, behind: Behind, body: bytes, accepted: str | None
) -> None:
    said, found = await fetch(gateway, behind, body, accepted)
    assert "content-encoding" not in said
    assert "Accept-Encoding" in said["vary"]
    assert (found, said["etag"]) == (body, '"x"')


async def test_a_stream_comes_piece_by_piece(gateway: Running, behind: Behind) -> None:
    go_on = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        stream = web.StreamResponse(headers={"Content-Type": "application/json"})
        await stream.prepare(request)
        await stream.write(TEXT)
        await go_on.wait()
        await stream.write_eof()
        return stream

    behind.answer = answer
    async with gateway.session.get(
        gateway.url + "/api/tags", headers={"Accept-Encoding": "gzip"}
    ) as reply:
        assert "Content-Encoding" not in reply.headers
        assert await asyncio.wait_for(reply.content.readexactly(len(TEXT)), 5) == TEXT
        go_on.set()


async def test_pages_are_coded_as_well(gateway: Running) -> None:
    answer = await gateway.send("GET", "/docs", headers={"Accept-Encoding": "br"})
    assert answer.headers["Content-Encoding"] == "br"
    assert b"<html" in answer.body.lower()


@pytest.mark.parametrize("path", ["/api/tags", "/docs", "/healthz", "/nowhere"])
async def test_every_reply_is_safe_for_browsers(
    gateway: Running, behind: Behind, path: str
) -> None:
    fields = (await gateway.send("GET", path)).headers
    assert fields.getall("X-Content-Type-Options") == ["nosniff"]
    assert fields.getall("Referrer-Policy") == ["no-referrer"]
    assert fields.getall("Cross-Origin-Opener-Policy") == ["same-origin"]
    assert fields.getall("Cross-Origin-Resource-Policy") == ["cross-origin"]
    [policy] = fields.getall("Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    assert "geolocation=()" in fields["Permissions-Policy"]
    assert "Strict-Transport-Security" not in fields


def test_what_a_reply_says_itself_stays() -> None:
    missing = dict(Security(Settings()).missing({b"referrer-policy": b"origin"}, "http"))
    assert b"referrer-policy" not in missing
    assert b"x-content-type-options" in missing


@pytest.mark.parametrize(
    ("env", "scheme", "said"),
    [("production", "http", True), ("test", "https", True), ("test", "http", False)],
)
def test_tls_is_asked_for_where_there_is_any(env: Any, scheme: str, said: bool) -> None:
    missing = dict(Security(Settings(env=env)).missing({}, scheme))
    assert (b"strict-transport-security" in missing) is said


def test_only_origins_that_may_read_may_embed() -> None:
    settings = Settings(env="production", cors_origins=("https://a.example",))
    missing = dict(Security(settings).missing({}, "https"))
    assert missing[b"cross-origin-resource-policy"] == b"same-origin"
