"""A service as a process: `python -m services.<name> [serve|migrate|await-migrations|…]`."""

import asyncio
import gc
import signal
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

import structlog
from hypercorn.asyncio import serve as serve_hypercorn
from hypercorn.config import Config

from shared.drain import Requests, drain
from shared.settings import EX_CONFIG, DataSettings, ServiceSettings, SettingsError, load
from shared.telemetry import start_logging, start_telemetry, stop_telemetry

if TYPE_CHECKING:
    from shared.snapshot import Snapshot

S = TypeVar("S", bound=ServiceSettings)
BACKLOG = 1024
# So long a thread may keep the interpreter from others that want it. By Python's own 5 ms the event
# loop waits far too long for those that export, hash passwords or show metrics.
SWITCH_SECONDS = 0.001
MOST_CONNECTIONS, OWN_FILES = 16_384, 256
UNREAD = 3  # times the header timeout, for a client to take more of a reply
_log = structlog.get_logger()


def main(
    name: str,
    settings_type: type[S],
    create_app: Callable[[S], Any],
    packages: Sequence[str] = (),
    arguments: Sequence[str] | None = None,
    *,
    create_worker: Callable[[S], Any] | None = None,
    snapshot: "Snapshot | None" = None,
) -> int:
    """Run one command of a service; return the exit code. 78 tells of settings that can't be used.

    `packages` hold the migrations of the service's database, in order; `create_worker` makes the
    app of its worker, a process of its own; `snapshot` is what it can tell again.
    """
    command = (sys.argv[1:] if arguments is None else list(arguments)) or ["serve"]
    start_logging(name, "info")
    try:
        settings = load(settings_type, name)
        apps = {"serve": create_app} | ({"worker": create_worker} if create_worker else {})
        if len(command) == 1 and command[0] in apps:
            return _start(name, settings, apps[command[0]])
        if isinstance(settings, DataSettings):
            return _obey(command, name, settings, list(apps), packages, snapshot)
        return _refuse(command, list(apps))
    except SettingsError as error:
        _log.error("settings can't be used", faults=error.faults)
        return EX_CONFIG


def _start(name: str, settings: S, create_app: Callable[[S], Any]) -> int:
    _require_certificate(settings)
    start_telemetry(name, settings.log_level)
    try:
        return _run(settings, create_app(settings))
    finally:
        stop_telemetry()


def _obey(
    command: list[str],
    name: str,
    settings: DataSettings,
    apps: list[str],
    packages: Sequence[str],
    snapshot: "Snapshot | None",
) -> int:
    # Imported where it is told something: who has no database needs no driver.
    from shared import commands, migrations

    if command[0] in commands.NAMES:
        return commands.obey(commands.Service(name, settings, snapshot), command)
    if command in (["migrate"], ["await-migrations"]):
        return asyncio.run(migrations.bring(command[0], settings.database_url, packages))
    return _refuse(command, [*apps, "migrate", "await-migrations", *commands.NAMES])


def _refuse(command: list[str], known: list[str]) -> int:
    _log.error("unknown command", command=command, known=known)
    return 64  # sysexits.h EX_USAGE


def _require_certificate(settings: ServiceSettings) -> None:
    """Raises `SettingsError` for a certificate that can't be served."""
    certificate, key = settings.tls_certificate, settings.tls_key
    if not certificate and not key:
        return
    if not (certificate and key):
        raise SettingsError(["TLS_CERTIFICATE and TLS_KEY: one is of no use without the other"])
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError([f"TLS_CERTIFICATE, TLS_KEY: {error}"]) from error


def _run(settings: ServiceSettings, app: Any) -> int:
    sys.setswitchinterval(SWITCH_SECONDS)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_serve(settings, app))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    if sys.platform == "win32":
        return asyncio.new_event_loop
    import uvloop

    return uvloop.new_event_loop


async def _serve(settings: ServiceSettings, app: Any) -> int:
    """Serve until SIGTERM or SIGINT, then drain: serve on for a while, unready; then take nothing
    new, end what runs, return 0. A second signal cuts the first part short.

    1 says that the app could not start, that the address can't be had, or that the server ended
    by itself.
    """
    told, stop, requests = asyncio.Event(), asyncio.Event(), Requests(app)

    def hear() -> None:
        (stop if told.is_set() else told).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, hear)
    serve = _SERVERS["hypercorn" if settings.speaks_http2 else settings.server]
    try:
        async with _lifespan(app, told, settings.grace):
            if not told.is_set():
                _spare_the_collector()
                draining = asyncio.create_task(drain(app, requests, told, stop, settings.drain))
                await _until(stop, serve(settings, requests, stop), requests, settings.grace)
                draining.cancel()
    except CannotServe as error:
        _log.error("can't serve", reason=str(error))
        return 1
    return 0


def _spare_the_collector() -> None:
    """What the start has made lives as long as the process. A full collection that walks it all
    stalls the loop for 50 ms and more, again and again; so it walks it no more.
    """
    gc.collect()
    gc.freeze()


class CannotServe(Exception):
    """The app did not start, or the server can't listen or went away by itself."""


@asynccontextmanager
async def _lifespan(app: Any, stop: asyncio.Event, grace: float) -> AsyncIterator[None]:
    """Start `app` and end it (ASGI lifespan). A stop that comes during the start ends it as well.

    Raises `CannotServe`.
    """
    told: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    said: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def run() -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}}
        try:
            await app({**scope, "state": {}}, told.get, said.put)
        except Exception as error:
            await said.put({"type": "lifespan.failed", "message": str(error)})

    async def pass_through(event: str) -> None:
        await told.put({"type": f"lifespan.{event}"})
        answer = await said.get()
        if not answer["type"].endswith("complete"):
            raise CannotServe(f"{event} failed: {answer.get('message', '')}")

    running = asyncio.create_task(run())
    try:
        started = await _unless(stop, pass_through("startup"))
        try:
            yield
        finally:
            if started:
                await asyncio.wait_for(pass_through("shutdown"), grace)
    except TimeoutError as error:
        raise CannotServe("shutdown took too long") from error
    finally:
        running.cancel()


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Whether `work` came to its end before `stop` was set; it is cancelled otherwise."""
    working, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not working.done():
        working.cancel()
        return False
    working.result()
    return True


async def _until(
    stop: asyncio.Event, serve: Coroutine[Any, Any, None], requests: Requests, grace: float
) -> None:
    """Run a server that ends by itself after `stop`. Clients that never end a request, or never
    read the reply, hold both servers up for as long as they like: after `grace`, cut them off.
    """
    serving, stopping = asyncio.create_task(serve), asyncio.create_task(stop.wait())
    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    await asyncio.wait({serving}, timeout=grace)
    for cut in (requests.cancel, serving.cancel):
        if not serving.done():
            cut()
            await asyncio.wait({serving}, timeout=1.0)
    error = None if serving.cancelled() or not serving.done() else serving.exception()
    if error is not None or not stop.is_set():
        raise CannotServe(str(error or "the server ended by itself")) from error


async def _serve_hypercorn(settings: ServiceSettings, app: Any, stop: asyncio.Event) -> None:
    config = Config()
    config.bind = [f"fd://{_listening(settings).detach()}"]
    # Clients of ours let go of an idle connection earlier. One that its client has closed is held
    # for as long, so each second costs whoever closes many.
    config.keep_alive_timeout = settings.header_timeout
    config.keep_alive_max_requests = sys.maxsize  # a farewell says that we drain, and nothing else
    config.graceful_timeout = settings.grace
    config.accesslog = None
    config.errorlog = None
    config.include_server_header = False
    config.ssl_handshake_timeout = settings.header_timeout
    config.certfile, config.keyfile = settings.tls_certificate or None, settings.tls_key or None
    config.alpn_protocols = ["h2", "http/1.1"] if settings.speaks_http2 else ["http/1.1"]
    served = app if settings.speaks_http2 else _by_http1(app)
    await serve_hypercorn(served, config, shutdown_trigger=stop.wait)


def _by_http1(app: Any) -> Any:
    """`app` for HTTP/1 alone. Without TLS Hypercorn speaks HTTP/2 with whoever begins so, or asks
    for it by `Upgrade`: through a proxy that lets this pass, clients would talk to us unseen by it.
    """

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        if not scope.get("http_version", "1").startswith("2"):
            await app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close"})
        else:
            nothing = [(b"content-length", b"0")]
            await send({"type": "http.response.start", "status": 505, "headers": nothing})
            await send({"type": "http.response.body"})

    return serve


async def _serve_http1(settings: ServiceSettings, app: Any, stop: asyncio.Event) -> None:
    # Imported where it serves: not every service needs it.
    from shared.http1.service import Service
    from shared.http1.serving import serve

    tls = None
    if settings.tls_certificate:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(settings.tls_certificate, settings.tls_key)
        tls.set_alpn_protocols(["http/1.1"])
    service = Service(
        app,
        app.at_once,
        scheme="https" if tls else "http",
        patience=settings.header_timeout,
        largest=settings.body_limit,
        most=_room(),
    )
    await serve(service, _listening(settings), tls, stop)


def _room() -> int:
    """How many connections there may be: each takes a file, and the process needs some for itself.
    It asks for as many as it would use.
    """
    if sys.platform == "win32":
        return MOST_CONNECTIONS
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_CONNECTIONS + OWN_FILES
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return MOST_CONNECTIONS
    more = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    with suppress(OSError, ValueError):  # macOS allows less than it says
        resource.setrlimit(resource.RLIMIT_NOFILE, (more, hard))
        soft = more
    return max(1, soft - OWN_FILES)


_SERVERS = {"http1": _serve_http1, "hypercorn": _serve_hypercorn}


def _listening(settings: ServiceSettings) -> socket.socket:
    """A socket that nobody else has; its connections break where a client leaves a reply unread
    (Linux), which neither server sees to. Raises `OSError` where the address can't be had.
    """
    address, six = (settings.host, settings.port), ":" in settings.host
    family = socket.AF_INET6 if six else socket.AF_INET
    listening = socket.create_server(address, family=family, backlog=BACKLOG, dualstack_ipv6=six)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if sys.platform == "linux":
        unread = round(UNREAD * settings.header_timeout * 1000)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, unread)
    return listening
