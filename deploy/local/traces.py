"""What the collector received: it hands every span on, and here they go to bounded files."""

import asyncio
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as ProtoSpan

FILE_LIMIT = 16_000_000  # bytes
FILES = 4
LARGEST_REQUEST = 64_000_000  # bytes
# A file is a run of OTLP requests, each behind its length: nothing is decoded on the way in.
LENGTH = struct.Struct(">I")


@dataclass(frozen=True)
class Span:
    """A span that reached the collector; ids in hexadecimal, a root has no `parent_id`."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    started_at_ns: int
    ended_at_ns: int
    attributes: dict[str, str]


class TraceFiles:
    """An OTLP/HTTP endpoint that appends to files in a folder, and removes the oldest."""

    def __init__(self, folder: Path, port: int) -> None:
        self._folder = folder
        self.url = f"http://127.0.0.1:{port}"
        self._port = port
        self._runner: web.AppRunner | None = None
        self._writing = asyncio.Lock()

    async def start(self) -> None:
        """Listen; what an earlier run left counts among the files."""
        app = web.Application(client_max_size=LARGEST_REQUEST)
        app.router.add_post("/v1/traces", self._receive)
        app.router.add_post("/v1/{other}", self._ignore)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()

    async def stop(self) -> None:
        """Listen no more."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _receive(self, request: web.Request) -> web.Response:
        body = await request.read()
        async with self._writing:
            await asyncio.to_thread(append, self._folder, body)
        return web.Response(content_type="application/x-protobuf")

    async def _ignore(self, request: web.Request) -> web.Response:
        await request.read()
        return web.Response(content_type="application/x-protobuf")


def received_spans(folder: Path) -> Iterator[Span]:
    """Every span that is kept, oldest file first."""
    for path in _files(folder):
        for request in _requests(path.read_bytes()):
            for resource in request.resource_spans:
                service = _attributes(resource.resource.attributes).get("service.name", "")
                for scope in resource.scope_spans:
                    yield from (_span(service, span) for span in scope.spans)


def _span(service: str, span: ProtoSpan) -> Span:
    return Span(
        service=service,
        name=span.name,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        started_at_ns=span.start_time_unix_nano,
        ended_at_ns=span.end_time_unix_nano,
        attributes=_attributes(span.attributes),
    )


def _attributes(pairs: Iterable[KeyValue]) -> dict[str, str]:
    values: dict[str, str] = {}
    for pair in pairs:
        kind = pair.value.WhichOneof("value")
        values[pair.key] = str(getattr(pair.value, kind)) if kind else ""
    return values


def _requests(data: bytes) -> Iterator[ExportTraceServiceRequest]:
    at = 0
    while at + LENGTH.size <= len(data):
        (length,) = LENGTH.unpack_from(data, at)
        at += LENGTH.size
        if at + length > len(data):
            return  # still being written
        yield ExportTraceServiceRequest.FromString(data[at : at + length])
        at += length


def append(folder: Path, body: bytes) -> None:
    """Keep an OTLP request in the newest file, and only so many files."""
    files = _files(folder)
    if not files or files[-1].stat().st_size > FILE_LIMIT:
        number = int(files[-1].stem.removeprefix("spans-")) + 1 if files else 1
        files.append(folder / f"spans-{number:06}.otlp")
        for old in files[:-FILES]:
            old.unlink()
    with files[-1].open("ab") as stream:
        stream.write(LENGTH.pack(len(body)) + body)


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("spans-*.otlp"))
