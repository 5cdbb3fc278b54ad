"""A new service: the template in its words, and its name wherever a service must appear."""

import ast
import keyword
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from deploy.local.errors import CannotStart
from deploy.local.suite import SERVICES
from deploy.local.words import Words, singular

TEMPLATE = Path("templates/service")
PLACES = TEMPLATE / "places.toml"
# Where parts of the template go; all else goes to services/.
ELSEWHERE = {
    "events.py": "shared/events/gadgetry.py",
    "samples": "shared/events/samples",
    "k8s": "deploy/k8s/base/gadgetry",
}
_NAME = re.compile(r"[a-z]{3,20}")
# Prefixes of the environment, folders, and names that SQL keeps for itself even in quotes.
_NEVER = {
    "none",
    "otel",
    "public",
    "quartet",
    "references",
    "service",
    "services",
    "shared",
    "suite",
}


def create(root: Path, name: str, thing: str | None) -> Words:
    """Write the service `name`, which keeps what is called `thing`, into the repository at `root`.

    Raises `CannotStart`, and then nothing is written.
    """
    words = _checked(root, name, thing)
    files = dict(_copies(root, words))
    places = _places(root, words)
    for path, text in (files | places).items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    _tidy(root, [path for path in files | places if path.suffix == ".py"])
    return words


def _checked(root: Path, name: str, thing: str | None) -> Words:
    if not name:
        raise CannotStart("Name the service: make new-service NAME=library.")
    thing = thing or singular(name)
    for word in (name, thing):
        if not _NAME.fullmatch(word):
            raise CannotStart(
                f"{word!r} can't be its name: it takes one word of 3 to 20 lower-case letters, "
                "such as `library`."
            )
    if name in SERVICES or (root / "services" / name).exists():
        raise CannotStart(f"There is a service `{name}` already.")
    if name in _taken(root) or keyword.iskeyword(name):
        raise CannotStart(f"`{name}` is the name of something else here: choose another.")
    words = Words(name, thing, _next_port(root))
    if f'"/api/{words.things}"' in (root / "services/gateway/routes.py").read_text():
        raise CannotStart(f"Another service has /api/{words.things} already.")
    if {thing, words.things} & _used(root) or keyword.iskeyword(thing):
        raise CannotStart(
            f"`{thing}` means something else in the template: "
            f"say what the service keeps, such as NAME={name} THING=book."
        )
    return words


def _taken(root: Path) -> set[str]:
    """Targets of the Makefile, and what else runs under compose."""
    targets = re.findall(r"^([a-z0-9 -]+):", (root / "Makefile").read_text(), re.MULTILINE)
    runs = re.findall(r"^  ([a-z]+):", (root / "compose.yaml").read_text(), re.MULTILINE)
    return {*" ".join(targets).split(), *runs, *_NEVER}


def _used(root: Path) -> set[str]:
    """The names in the template's code, and those of its modules."""
    used: set[str] = set()
    for path in (root / TEMPLATE).rglob("*.py"):
        nodes = ast.walk(ast.parse(path.read_text()))
        used |= {path.stem, *(name.lower() for node in nodes for name in _names(node))}
    return {name for name in used if "gadget" not in name}


def _names(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Name(id=name) | ast.arg(arg=name) | ast.alias(name=name):
            yield name
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case _:
            pass


def _next_port(root: Path) -> int:
    said = (path.read_text() for path in root.glob("services/*/settings.py"))
    return 1 + max(int(port) for text in said for port in re.findall(r"port: int = (\d+)", text))


def _copies(root: Path, words: Words) -> Iterator[tuple[Path, str]]:
    """The files of the service and what they hold."""
    for path in sorted((root / TEMPLATE).rglob("*")):
        if path.is_dir() or path == root / PLACES or "__pycache__" in path.parts:
            continue
        first, *rest = path.relative_to(root / TEMPLATE).parts
        target = Path(ELSEWHERE.get(first, f"services/gadgetry/{first}"), *rest)
        text = path.read_text().replace("templates.service.events", "shared.events.gadgetry")
        text = text.replace("templates.service", "services.gadgetry")
        yield root / words.into(target.as_posix()), words.into(text)


def _places(root: Path, words: Words) -> dict[Path, str]:
    """The files that name every service, with this one in them."""
    texts: dict[Path, str] = {}
    for place in tomllib.loads((root / PLACES).read_text())["place"]:
        path = root / place["file"]
        before = texts.get(path) or path.read_text()
        found = re.findall(place["find"], before, re.MULTILINE)
        if len(found) != 1:
            raise CannotStart(f"{PLACES} does not fit {place['file']}: it finds {place['find']!r}.")
        texts[path] = re.sub(place["find"], words.into(place["put"]), before, flags=re.MULTILINE)
    return texts


def _tidy(root: Path, paths: list[Path]) -> None:
    """Other words sort and wrap differently."""
    for command in (["check", "--quiet", "--select", "I", "--fix"], ["format", "--quiet"]):
        subprocess.run([sys.executable, "-m", "ruff", *command, *paths], cwd=root, check=True)
