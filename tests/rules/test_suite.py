"""Rules that hold across the repository. Each failure says what to do."""

import ast
import importlib
import pkgutil
import re
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
import pytest

from deploy.local.routes import app_of, settings_type
from deploy.local.suite import ROOT, SERVICES
from shared import events as contracts
from shared.events import Event
from shared.service import undeclared

PUBLISHERS: dict[str, tuple[type[Event], ...]] = {
    module.name: importlib.import_module(f"shared.events.{module.name}").EVENTS
    for module in pkgutil.iter_modules(contracts.__path__)
}
EVENTS = [event for events in PUBLISHERS.values() for event in events]
TAKERS = [name for name in SERVICES if find_spec(f"services.{name}.subscribers")]
SOURCES = sorted(
    path
    for folder in ("services", "shared", "deploy", "templates", "tests", "bench")
    for path in (ROOT / folder).rglob("*.py")
)
APPEARS_IN = (
    *("README.md", "Makefile", "compose.yaml", "skaffold.yaml", "pyproject.toml"),
    *("docs/architecture.md", "deploy/k8s/base/kustomization.yaml"),
)
BANNED = {"utils", "helpers", "common", "base", "core", "misc", "manager"}


@pytest.mark.parametrize("service", SERVICES)
def test_every_route_declares_its_access(service: str) -> None:
    assert undeclared(app_of(service)) == [], "decorate the view with @operation(…, access=…)"


@pytest.mark.parametrize("service", SERVICES)
def test_every_setting_is_documented_and_every_documented_one_exists(service: str) -> None:
    readme = (ROOT / "services" / service / "README.md").read_text()
    documented = set(re.findall(rf"^\| `({service.upper()}_[A-Z0-9_]+)`", readme, re.MULTILINE))
    fields = msgspec.structs.fields(settings_type(service))
    expected = {f"{service}_{field.name}".upper() for field in fields}
    assert documented == expected, f"make the settings table of services/{service}/README.md agree"


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.SUBJECT)
def test_every_event_is_documented(event: type[Event]) -> None:
    table = (ROOT / "docs" / "events.md").read_text()
    fields = ", ".join(field.name for field in msgspec.structs.fields(event))
    takers = ", ".join(name for name in TAKERS if event in handlers(name))
    publisher = event.SUBJECT.split(".")[0]
    cells = f"| `{event.SUBJECT}` | {publisher} | {takers} | {fields} |".replace("|  |", "| |")
    assert cells in table, "give the event this line in docs/events.md"


def handlers(service: str) -> Any:
    return importlib.import_module(f"services.{service}.subscribers").HANDLERS


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.SUBJECT)
def test_every_event_has_a_golden_sample_that_decodes(event: type[Event]) -> None:
    sample = ROOT / "shared" / "events" / "samples" / f"{event.SUBJECT}.json"
    decoded = msgspec.json.decode(sample.read_bytes(), type=event)
    assert decoded.aggregate


@pytest.mark.parametrize("publisher", PUBLISHERS)
def test_an_event_is_published_by_its_own_service_only(publisher: str) -> None:
    names = {event.__name__ for event in PUBLISHERS[publisher]}
    for service in set(SERVICES) - {publisher}:
        for path in (ROOT / "services" / service).rglob("*.py"):
            if "tests" in path.parts:
                continue
            made = {
                node.func.id
                for node in ast.walk(ast.parse(path.read_text()))
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
            }
            assert not made & names, f"{path}: {publisher} alone publishes {made & names}"


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("file", APPEARS_IN)
def test_every_service_appears(service: str, file: str) -> None:
    text = (ROOT / file).read_text()
    assert re.search(rf"\b{service}\b", text), f"name {service} in {file}"


def test_a_module_can_be_read_whole() -> None:
    long = {
        str(path.relative_to(ROOT)): count
        for path in SOURCES
        if (count := len(path.read_text().splitlines())) > 400
    }
    assert not long, "split the module where a seam shows"


def test_a_function_can_be_read_at_once() -> None:
    long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name} ({length(node)} lines)"
        for path in SOURCES
        for node in functions(path)
        if length(node) > 60
    ]
    assert not long, "give the function's parts names of their own"


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def test_modules_are_named_for_what_they_hold() -> None:
    vague = [str(path.relative_to(ROOT)) for path in SOURCES if path.stem in BANNED]
    assert not vague, "name the module after a noun of the domain"


def test_shared_knows_no_service() -> None:
    for path in (ROOT / "shared").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            modules = imported(node)
            assert not any(name.startswith("services") for name in modules), path


def imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [node.module or ""]
    return []


def test_everything_shared_has_two_users_or_more() -> None:
    """The entry rule of shared/ (ADR 0008): used by two services today, directly or through what
    they use.
    """
    used = {service: used_of_shared(service) for service in SERVICES}
    half = {ROOT / "shared" / "worker.py"}  # runs what jobs.py enqueues
    for path in sorted(set((ROOT / "shared").glob("*.py")) - half):
        users = [service for service in SERVICES if path in used[service]]
        assert len(users) >= 2, f"shared/{path.name} serves {users}: move it there"


def used_of_shared(service: str) -> set[Path]:
    found = {ROOT / "shared" / "__init__.py"}
    if (ROOT / "services" / service / "migrations").exists():
        found.add(ROOT / "shared" / "migrations.py")
    new = set((ROOT / "services" / service).rglob("*.py"))
    while new:
        new = {module for path in new for module in shared_modules(path)} - found
        found |= new
    return found


def shared_modules(path: Path) -> Iterator[Path]:
    """The modules of shared that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = imported(node)
        if isinstance(node, ast.ImportFrom) and node.module == "shared":
            names = [f"shared.{alias.name}" for alias in node.names]
        for name in names:
            module = ROOT.joinpath(*name.split(".")).with_suffix(".py")
            if name.startswith("shared.") and module.exists():
                yield module


def test_no_file_names_this_machine() -> None:
    place = re.compile(r"(?<![\w.])/(?:home|root|Users)/\w+")
    texts = [p for p in ROOT.rglob("*") if p.suffix in {".py", ".md", ".yaml", ".toml", ".lock"}]
    for path in texts:
        if any(part.startswith(".") for part in path.relative_to(ROOT).parts):
            continue
        assert not place.search(path.read_text()), f"{path} holds a path of one machine"


def test_this_python_is_supported() -> None:
    assert sys.version_info >= (3, 11)
