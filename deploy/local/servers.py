"""The servers that the services need, ours or somebody else's."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from deploy.local import postgres, records
from deploy.local.embedded import Collector, MailSink, Nats, Valkey
from deploy.local.endpoint import Endpoint
from deploy.local.errors import CannotStart
from deploy.local.postgres import Postgres
from deploy.local.process import Child, Say, all_ready
from deploy.local.program import Program, runs
from deploy.local.state import State
from deploy.local.traces import TraceFiles

READY_WITHIN = 30.0  # seconds; a crash recovery of PostgreSQL may need some
VARIABLES = {
    "postgres": "QUARTET_POSTGRES_URL",
    "nats": "QUARTET_NATS_URL",
    "valkey": "QUARTET_REDIS_URL",
    "collector": "OTEL_EXPORTER_OTLP_ENDPOINT",
    "mail": "QUARTET_SMTP_URL",
}


@dataclass(frozen=True)
class Elsewhere:
    """URLs of servers to use in place of our own."""

    postgres: str | None = None
    nats: str | None = None
    redis: str | None = None
    otlp: str | None = None
    smtp: str | None = None


class Servers:
    """All five, running while the context is open; one that dies is started again.

    Of those named in `elsewhere`, only the address is used. Raises `CannotStart` on entering."""

    def __init__(
        self, state: Path, *, elsewhere: Elsewhere | None = None, say: Say | None = None
    ) -> None:
        self.state = State(state)
        self.elsewhere = elsewhere or Elsewhere()
        self.children: dict[str, Child] = {}
        self.endpoints: list[Endpoint] = []
        self._say = say or _say_nothing
        self._databases: dict[str, str] = {}
        self._traces: TraceFiles | None = None

    async def __aenter__(self) -> Self:
        await records.claim(self.state)
        try:
            await self.start()
        except BaseException:
            await self._leave()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._leave()

    @property
    def admin_url(self) -> str:
        """PostgreSQL as its administrator."""
        return self._admin_url

    def postgres_url(self, database: str) -> str:
        """The database as the role of the same name, its owner."""
        return postgres.database_url(self._admin_url, database, self._databases[database])

    @property
    def nats_url(self) -> str:
        """NATS with JetStream."""
        return self._nats_url

    @property
    def redis_url(self) -> str:
        """Valkey, or a Redis elsewhere."""
        return self._redis_url

    @property
    def otlp_endpoint(self) -> str:
        """The collector's base URL, for `OTEL_EXPORTER_OTLP_ENDPOINT`."""
        return self._otlp_endpoint

    @property
    def smtp_url(self) -> str:
        """Where mail is handed in: `smtp://`, `smtp+starttls://` or `smtps://`."""
        return self._smtp_url

    @property
    def mail_dir(self) -> Path:
        """What the sink of our own took; see `deploy.local.mail.received_mails`."""
        return self.state.path / "mail"

    @property
    def traces_dir(self) -> Path:
        """What the collector of our own received; see `deploy.local.traces.received_spans`."""
        return self.state.traces

    async def create_database(self, name: str) -> str:
        """Make a database, and the login which owns it and alone may connect; gives its URL."""
        password = await asyncio.to_thread(self.state.secret, f"database {name}")
        await postgres.create_database(self._admin_url, name, password)
        await postgres.create_extension(self._admin_url, name, "pg_stat_statements")
        self._databases[name] = password
        return self.postgres_url(name)

    async def drop_database(self, name: str) -> None:
        """Remove the database and its login, whoever is connected."""
        await postgres.drop_database(self._admin_url, name)
        self._databases.pop(name, None)

    async def start(self) -> None:
        """Start what is ours, and wait for all; the state folder is ours already."""
        await asyncio.to_thread(self._prepare)
        if self._traces is not None:
            await self._traces.start()
        for child in self.children.values():
            child.start()
        await all_ready(self.children.values(), READY_WITHIN)
        for endpoint in self.endpoints:
            if endpoint.name not in self.children and not await endpoint.is_ready(5):
                raise CannotStart(f"No {endpoint.name} answers at {endpoint.url}.")

    async def stop(self, grace: float = 5.0) -> None:
        """Stop what is ours: the collector while its last spans can be taken, PostgreSQL last."""
        for name in ("collector", "mail", "valkey", "nats", "postgres"):
            if child := self.children.get(name):
                await child.stop(grace)
        if self._traces is not None:
            await self._traces.stop()

    async def _leave(self) -> None:
        await self.stop()
        await asyncio.to_thread(self.state.unlock)

    def _prepare(self) -> None:
        self._prepare_postgres()
        self._prepare_nats()
        self._prepare_valkey()
        self._prepare_collector()
        self._prepare_mail()

    def _prepare_postgres(self) -> None:
        state, url = self.state, self.elsewhere.postgres
        program = None
        if url is None:
            place = state.path / "postgres"
            server = Postgres(place, state.port("postgres"), state.secret("postgres"))
            if server.is_new:
                self._say("postgres", "makes its data folder")
            url, program = server.admin_url, server.prepare()
        self._admin_url = self._add(Endpoint("postgres", "postgres", url), program)

    def _prepare_nats(self) -> None:
        state, url = self.state, self.elsewhere.nats
        program = None
        if url is None:
            ports = state.port("nats"), state.port("nats monitor")
            server = Nats(state.path / "nats", *ports, state.secret("nats"))
            url, program = server.url, server.prepare()
        self._nats_url = self._add(Endpoint("nats", "nats", url), program)

    def _prepare_valkey(self) -> None:
        state, url = self.state, self.elsewhere.redis
        program = None
        if url is None:
            server = Valkey(state.path / "valkey", state.port("valkey"), state.secret("valkey"))
            url, program = server.url, server.prepare()
        self._redis_url = self._add(Endpoint("valkey", "redis", url), program)

    def _prepare_collector(self) -> None:
        state, url = self.state, self.elsewhere.otlp
        program = None
        if url is None:
            self._traces = TraceFiles(state.traces, state.port("traces"))
            ports = state.port("collector"), state.port("collector grpc")
            collector = Collector(state.path / "collector", *ports, self._traces.url)
            url, program = collector.url, collector.prepare()
            if not runs(program.argv[0], "--version"):
                self._say("collector", "has no build for this machine: spans go to files directly")
                url, program = self._traces.url, None
        self._otlp_endpoint = self._add(Endpoint("collector", "otlp", url), program)

    def _prepare_mail(self) -> None:
        state, url = self.state, self.elsewhere.smtp
        if url is not None:
            self._smtp_url = self._add(Endpoint("mail", "smtp", url), None)
            return
        sink = MailSink(self.mail_dir, state.port("smtp"), state.port("mail"))
        self._add(Endpoint("mail", "http", sink.page), sink.prepare())
        self._smtp_url = sink.url

    def _add(self, endpoint: Endpoint, program: Program | None) -> str:
        self.endpoints.append(endpoint)
        if program is not None:
            remedy = f" Set {VARIABLES[endpoint.name]} to use one that runs elsewhere."
            child = Child(endpoint, program, self.state, self._say, remedy)
            self.children[child.name] = child
        return endpoint.target


def _say_nothing(name: str, sentence: str) -> None:
    pass
