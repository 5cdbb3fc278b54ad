"""Compiles what the packages import of Python's own library: `python library.py FOLDER`.

The base image has no bytecode of it, and where the root can't be written, each start of a service
would compile all of it anew. Files in FOLDER lie as they have to below the library.
"""

import collections
import importlib
import py_compile
import sys
import sysconfig
from importlib.machinery import PathFinder
from pathlib import Path

PACKAGES = (
    "aiohttp",
    "aiosmtplib",
    "argon2",
    "asyncpg",
    "cronsim",
    "encodings.unicode_escape",  # Jinja's, once it reads a text in a template
    "graphql",
    "httptools",
    "hypercorn.asyncio",
    "jinja2",
    "jwt",
    "nats",
    "opentelemetry.exporter.prometheus",
    "quart",
    "redis.asyncio",
    "structlog",
    "uuid_utils.compat",
    "uvloop",
)


def compile_library(folder: Path) -> None:
    """Compile each module of the library that the packages import, whenever it was written."""
    for name in PACKAGES:
        importlib.import_module(name)
    library = Path(sysconfig.get_path("stdlib"))
    specs = [getattr(module, "__spec__", None) for module in sys.modules.values()]
    # Once loaded, it lets another module stand for it.
    specs.append(PathFinder.find_spec("collections.abc", collections.__path__))
    for spec in specs:
        if spec is None or spec.origin is None or spec.cached is None:
            continue  # a program, or a part of the interpreter
        if Path(spec.origin).is_relative_to(library) and spec.origin.endswith(".py"):
            py_compile.compile(
                spec.origin,
                str(folder / Path(spec.cached).relative_to(library)),
                doraise=True,
                invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
            )


if __name__ == "__main__":
    compile_library(Path(sys.argv[1]))
