"""Makes installed packages smaller for an image: `python trim.py FOLDER`.

Takes away what no service reads at run time: tests, type stubs, C sources, and the debug symbols
of extension modules, which are a third of all. Done here and not by `strip`, since the base image
has none, and a build should need no more of a network than the package index.
"""

import shutil
import struct
import sys
from pathlib import Path

_UNREAD = {".c", ".h", ".pxd", ".pyi", ".pyx"}
# By name: lists of what was installed; cffi's compiler, whose products are compiled already; what
# packages test themselves with; what OpenTelemetry names and we don't; several Valkeys as one.
_UNUSED = (
    "*.dist-info/RECORD",
    "aiohttp/pytest_plugin.py",
    "aiohttp/test_utils.py",
    "aiohttp/web*.py",  # its server, which a client isn't
    "aiohttp/worker.py",
    "asyncpg/_testbase",
    "asyncpg/cluster.py",
    "cffi",
    "opentelemetry/semconv/_incubating/*/[!_o]*.py",  # the exporter uses `otel_…`
    "pycparser",
    "redis/asyncio/multidb",
    "redis/commands/bf",  # of modules that Valkey hasn't, each imported by the method that uses it
    "redis/commands/json",
    "redis/commands/search",
    "redis/commands/timeseries",
    "redis/commands/vectorset",
    "redis/multidb",
    "uvloop/_testbase.py",
    "zstandard/_cffi.*",
    "zstandard/backend_cffi.py",
)
_WORTH = 65_536  # bytes; a shorter tail is left, and with it the file as it came


def trim(folder: Path) -> int:
    """Trim the packages below `folder`; return the bytes saved."""
    saved = 0
    for path in sorted(folder.rglob("*")):
        if not path.exists():  # went with its folder
            continue
        unused = any(path.match(f"site-packages/{pattern}") for pattern in _UNUSED)
        if path.is_dir() and (unused or path.name == "tests"):
            saved += sum(item.stat().st_size for item in path.rglob("*") if item.is_file())
            shutil.rmtree(path)
        elif path.is_file() and (unused or path.suffix in _UNREAD):
            saved += path.stat().st_size
            path.unlink()
        elif path.is_file() and ".so" in path.suffixes:
            saved += strip(path)
    return saved


def strip(path: Path) -> int:
    """Cut from a shared object what follows its last segment; return the bytes saved.

    The loader reads segments alone. Sections of debuggers lie behind them, then the table of
    sections, whose place in the header is cleared. Files that aren't 64-bit little-endian ELF
    stay as they are.
    """
    data = bytearray(path.read_bytes())
    if data[:6] != b"\x7fELF\x02\x01":
        return 0
    first, size, count = _fields(data, "<Q", 32)[0], *_fields(data, "<HH", 54)
    headers = (first + size * number for number in range(count))
    end = max(sum(_fields(data, "<Q16xQ", header + 8)) for header in headers)
    end = max(end, first + size * count)
    if len(data) - end < _WORTH:
        return 0
    struct.pack_into("<Q", data, 40, 0)  # e_shoff
    struct.pack_into("<HHH", data, 58, 0, 0, 0)  # e_shentsize, e_shnum, e_shstrndx
    path.write_bytes(data[:end])
    return len(data) - end


def _fields(data: bytearray, layout: str, offset: int) -> tuple[int, ...]:
    return struct.unpack_from(layout, data, offset)


if __name__ == "__main__":
    print(f"{trim(Path(sys.argv[1])) / 1e6:.1f} MB trimmed")
