"""What operators tell the services of the running stack; each does it by its own command."""

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import click

from deploy.local import suite
from deploy.local.console import Console
from deploy.local.errors import CannotStart
from deploy.local.state import State

state_option = click.option(
    "--state",
    envvar="QUARTET_STATE",
    default=".quartet",
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder of data, logs and secrets.",
)
service_option = click.option(
    "--service",
    envvar="SERVICE",
    required=True,
    type=click.Choice(suite.WITH_DATABASE),
    help="Whom to tell.",
)


def tell(state: Path, service: str, *arguments: str) -> None:
    """Run a command of a service, with what the running stack tells it. Raises `CannotStart`, also
    when the command fails; then it has said why.
    """
    folder = State(state)
    told = suite.environment(service, suite.running(folder), suite.secrets(folder))
    program = suite.program(service, told, (*suite.command(service), *arguments))
    code = subprocess.run(program.argv, env=dict(program.env), cwd=program.cwd, check=False)
    if code.returncode:
        raise CannotStart(f"`{arguments[0]}` of {service} has failed.")


@click.command()
@state_option
@service_option
@click.option("--since", envvar="SINCE", required=True, help="Such as 2026-11-25T09:00Z.")
def replay(state: Path, service: str, since: str) -> None:
    """Let a service send again what it published since; who has it already shrugs."""
    tell(state, service, "replay", "--since", since)


@click.command()
@state_option
@service_option
@click.pass_obj
def rebuild(console: Console, state: Path, service: str) -> None:
    """Make the projections of a service whole again, from their sources, while it serves."""
    publishers = read_by(service)
    for publisher in publishers:
        tell(state, publisher, "snapshot")
    names = " and ".join(f"`events of {publisher}`" for publisher in publishers)
    console.print(f"{service} is whole again when `make jobs` shows nothing in {names}.")


def read_by(service: str) -> list[str]:
    """The publishers whose facts a service keeps. Raises `CannotStart` where there are none."""
    try:
        subscribers: Any = importlib.import_module(f"services.{service}.subscribers")
    except ModuleNotFoundError:
        raise CannotStart(f"{service} keeps nothing of other services' facts.") from None
    return sorted({event.SUBJECT.partition(".")[0] for event in subscribers.HANDLERS})


@click.command()
@state_option
@click.option("--service", envvar="SERVICE", type=click.Choice(suite.WITH_DATABASE))
def jobs(state: Path, service: str | None) -> None:
    """Show what waits, by queue."""
    suite.running(State(state))  # where nothing runs there is nothing to put headings over
    for name in [service] if service else suite.WITH_DATABASE:
        click.echo(f"{name}:")
        sys.stdout.flush()
        tell(state, name, "jobs")


@click.command()
@state_option
@click.option("--service", envvar="SERVICE", type=click.Choice(suite.WITH_DATABASE))
@click.option("--retry", envvar="RETRY", help="Deliver one again, by its id, or all.")
@click.option("--drop", envvar="DROP", help="Forget one, by its id.")
def dead_letters(state: Path, service: str | None, retry: str | None, drop: str | None) -> None:
    """Show what was set aside, or try it again, or forget it."""
    if (retry or drop) and service is None:
        raise CannotStart("Say whose: SERVICE=notifications, for example.")
    what = ["retry", retry] if retry else ["drop", drop] if drop else []
    for name in [service] if service else suite.WITH_DATABASE:
        tell(state, name, "dead-letters", *filter(None, what))


COMMANDS = (replay, rebuild, jobs, dead_letters)
