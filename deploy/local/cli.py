"""The commands of the local stack; `make` calls them."""

import asyncio
import errno
import json
import os
import random
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import click

from deploy.local import background, foreground, suite
from deploy.local import new_service as creation
from deploy.local.background import go_silent
from deploy.local.console import Console, columns, progress_bars, table
from deploy.local.errors import CannotStart, ChildFailed
from deploy.local.follow import Follower, follow, show_new
from deploy.local.operate import COMMANDS, state_option
from deploy.local.program import run_to_end
from deploy.local.servers import Elsewhere
from deploy.local.stack import MIGRATED_WITHIN, Stack
from deploy.local.state import State


class OneSentence(click.Group):
    """Ends a command that cannot go on with one sentence and exit code 1."""

    def invoke(self, context: click.Context) -> object:
        try:
            return super().invoke(context)
        except CannotStart as error:
            if isinstance(error, ChildFailed):
                Console(sys.stderr, no_color=True).logs(error.name, error.output)
            click.echo(str(error), err=True)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            click.echo(f"The disk is full: {error.filename or 'nothing can be written'}.", err=True)
        sys.exit(1)


@click.group(cls=OneSentence)
@click.option("--no-color", envvar="NO_COLOR", hidden=True, default="")
@click.pass_context
def main(context: click.Context, no_color: str) -> None:
    """Quartet on this machine: real servers, and the four services."""
    context.obj = Console(no_color=bool(no_color))


@main.command()
@state_option
@click.option("--port", envvar="QUARTET_PORT", default=8000, type=click.IntRange(1, 65_535))
@click.option("--postgres-url", envvar="QUARTET_POSTGRES_URL", help="As an administrator.")
@click.option("--nats-url", envvar="QUARTET_NATS_URL")
@click.option("--redis-url", envvar="QUARTET_REDIS_URL")
@click.option("--otlp-endpoint", envvar="OTEL_EXPORTER_OTLP_ENDPOINT")
@click.option("--smtp-url", envvar="QUARTET_SMTP_URL")
@click.option("--server", envvar="SERVER", type=click.Choice(["http1", "hypercorn"]))
@click.option("--free-megabytes", envvar="QUARTET_FREE_MEGABYTES", default=500)
@click.option("--reload", "with_reload", is_flag=True, help="Restart a service on a change.")
@click.option("--tell", type=int, hidden=True)
@click.pass_obj
def up(
    console: Console,
    state: Path,
    port: int,
    postgres_url: str | None,
    nats_url: str | None,
    redis_url: str | None,
    otlp_endpoint: str | None,
    smtp_url: str | None,
    server: str | None,
    free_megabytes: int,
    with_reload: bool,
    tell: int | None,
) -> None:
    """Start all, and stay in the foreground with the services' logs."""
    stack = Stack(
        state,
        port=port,
        elsewhere=Elsewhere(postgres_url, nats_url, redis_url, otlp_endpoint, smtp_url),
        told={"QUARTET_SERVER": server} if server else {},
        free_megabytes=free_megabytes,
        say=console.say,
    )

    def on_ready() -> None:
        if tell is not None:
            go_silent(stack.state, tell)()

    asyncio.run(
        foreground.run(
            stack, console, on_ready=on_ready, with_logs=tell is None, with_reload=with_reload
        )
    )


@main.command()
def start() -> None:
    """Start all in the background; return when all is ready."""
    sys.exit(background.start([]))


@main.command()
@state_option
@click.pass_obj
def stop(console: Console, state: Path) -> None:
    """Stop what runs in the background."""
    asyncio.run(background.stop(State(state), console))


@main.command()
@state_option
@click.option("--json", "as_json", envvar="JSON", is_flag=True)
@click.pass_obj
def status(console: Console, state: Path, as_json: bool) -> None:
    """Show what runs; exit 0 only when all is ready."""
    rows = asyncio.run(background.status(State(state)))
    is_ready = bool(rows) and all(row["ready"] for row in rows)
    if as_json:
        console.print(json.dumps(rows, indent=2))
    elif rows:
        console.print(table(rows))
    else:
        console.print(f"Quartet is not running in {state}.")
    sys.exit(0 if is_ready else 1)


@main.command()
@state_option
@click.option("--service", envvar="SERVICE", help="One service or server; all without it.")
@click.option("--follow/--no-follow", "with_follow", envvar="FOLLOW", default=True)
@click.option("--lines", envvar="LINES_BEFORE", default=40, type=click.IntRange(0))
@click.pass_obj
def logs(console: Console, state: Path, service: str | None, with_follow: bool, lines: int) -> None:
    """Show the last lines of the logs, and what follows."""
    folder = State(state).logs
    paths = [path for path in sorted(folder.glob("*.log")) if service in (None, path.stem)]
    if not paths:
        raise CannotStart(f"There is no log of {service or 'anything'} in {folder}.")
    followers = [Follower(path, last_lines=lines) for path in paths]
    if not with_follow:
        show_new(followers, console.log)
        return
    try:
        asyncio.run(follow(followers, console.log))
    except (KeyboardInterrupt, BrokenPipeError):
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - so that no flush at exit fails


@main.command()
@state_option
@click.pass_obj
def migrate(console: Console, state: Path) -> None:
    """Migrate the databases of the running stack."""
    folder = State(state)
    addresses, secrets = suite.running(folder), suite.secrets(folder)
    for name in suite.WITH_DATABASE:
        told = suite.environment(name, addresses, secrets)
        program = suite.program(name, told, (*suite.command(name), "migrate"))
        log = folder.logs / f"{name}.log"
        asyncio.run(run_to_end(program, f"The migration of {name}", log, MIGRATED_WITHIN))
        console.print(f"{name} is migrated.")


@main.command()
@state_option
@click.option("--users", envvar="USERS", default=1_000, type=click.IntRange(1))
@click.option("--articles", envvar="ARTICLES", default=10_000, type=click.IntRange(0))
@click.option("--random-seed", envvar="RANDOM_SEED", default=1, help="The same makes the same.")
@click.pass_obj
def seed(console: Console, state: Path, users: int, articles: int, random_seed: int) -> None:
    """Fill the community of the running stack with people and articles."""
    from deploy.local import seed as seeding

    databases = suite.running(State(state)).databases
    began = time.monotonic()
    with progress_bars() as show:
        asyncio.run(
            seeding.seed(
                databases,
                users=users,
                articles=articles,
                dice=random.Random(random_seed),  # noqa: S311 - plausible, not secret
                now=datetime.now(UTC),
                progress=show,
            )
        )
    console.print(
        f"{users} people and {articles} articles came in {time.monotonic() - began:.1f} s; "
        f"everyone's password is: {seeding.PASSWORD}"
    )


@main.command()
@click.option("--name", envvar="NAME", default="", help="One word, such as library.")
@click.option("--thing", envvar="THING", help="What it keeps, such as book; singular.")
@click.pass_obj
def new_service(console: Console, name: str, thing: str | None) -> None:
    """Add a service, made of the template, wherever a service must appear."""
    words = creation.create(suite.ROOT, name, thing)
    console.print(
        f"`{words.name}` keeps {words.things}, at /api/{words.things} and on port {words.port}: "
        f"see services/{words.name}, and `git status` for where else it appears."
    )


@main.command()
@click.pass_obj
def routes(console: Console) -> None:
    """Show every route; exit 1 where the gateway's table and a service do not agree."""
    from deploy.local import routes as routing

    table = routing.table()
    console.print(columns(routing.lines(table)))
    faults = routing.faults(table, routing.served())
    for fault in faults:
        click.echo(fault, err=True)
    sys.exit(1 if faults else 0)


@main.command()
@click.pass_obj
def plans(console: Console) -> None:
    """Show what each read costs on 100,000 rows; exit 1 where one takes more than it may."""
    from deploy.local import plans as planning

    found = asyncio.run(planning.of_all(console.say))
    console.print(columns([planning.HEADINGS, *planning.lines(found)]))
    faults = planning.faults(found)
    for fault in faults:
        click.echo(fault, err=True)
    sys.exit(1 if faults else 0)


@main.command()
@click.option("--osv-url", envvar="OSV_URL", help="A service to ask in place of PyPI.")
@click.argument("locks", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.pass_obj
def security(console: Console, osv_url: str | None, locks: tuple[Path, ...]) -> None:
    """Look up every locked package; exit 1 where one has a known weakness."""
    from deploy.local import security as auditing

    packages = auditing.audit(locks, osv_url)
    weak = list(auditing.lines(packages))
    if weak:
        console.print(columns([auditing.HEADINGS, *weak]))
        sys.exit(1)
    console.print(f"None of {len(packages)} packages has a known weakness.")


@main.command()
@click.pass_obj
def key(console: Console) -> None:
    """Make a key that signs tokens, as a JWK: one of those that `signing-keys` lists."""
    console.print(json.dumps(suite.new_key()))


for command in COMMANDS:
    main.add_command(command)
