"""The connection to a collector is kept, and made anew where the other side has closed it."""

from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from shared.otlp_line import Line

FIELDS = {"Content-Type": "application/x-protobuf", "X-Tenant": "ours"}


class Taking(ThreadingHTTPServer):
    """Notes the client's port and the message of each request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.taken: list[tuple[int, bytes]] = []
        self.status, self.says_close, self.hangs_up = 200, False, False


class Handler(BaseHTTPRequestHandler):
    server: Taking
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert (self.path, self.headers["X-Tenant"]) == ("/v1/traces?a=b", "ours")
        self.server.taken.append((self.client_address[1], body))
        self.send_response(self.server.status)
        self.send_header("Content-Length", "4")
        if self.server.says_close:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(b"said")
        self.close_connection |= self.server.hangs_up

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Taking]:
    with Taking() as taking:
        running = Thread(target=taking.serve_forever)
        running.start()
        yield taking
        taking.shutdown()
        running.join()


@pytest.fixture
def line(server: Taking) -> Iterator[Line]:
    with closing(Line(f"http://127.0.0.1:{server.server_port}/v1/traces?a=b", None)) as made:
        yield made


def test_the_connection_is_kept(server: Taking, line: Line) -> None:
    large = b"x" * 3_000_000
    assert [line.post(FIELDS, body, 5) for body in (b"", large, b"end")] == [200, 200, 200]
    assert [body for _, body in server.taken] == [b"", large, b"end"]
    assert len({port for port, _ in server.taken}) == 1


def test_a_status_is_told_and_a_farewell_obeyed(server: Taking, line: Line) -> None:
    server.status, server.says_close = 503, True
    assert [line.post(FIELDS, b"a", 5), line.post(FIELDS, b"b", 5)] == [503, 503]
    assert len({port for port, _ in server.taken}) == 2


def test_what_the_other_side_has_closed_without_a_word_is_opened_anew(
    server: Taking, line: Line
) -> None:
    server.hangs_up = True
    assert [line.post(FIELDS, body, 5) for body in (b"a", b"b")] == [200, 200]
    assert [body for _, body in server.taken] == [b"a", b"b"]


def test_who_is_away_is_told_of(server: Taking, line: Line) -> None:
    server.server_close()
    with pytest.raises(ConnectionError):
        line.post(FIELDS, b"a", 5)
