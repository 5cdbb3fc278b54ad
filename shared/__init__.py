"""What every service needs and no service owns."""

import sys

# nats-py takes aiohttp where it finds it, for WebSockets to NATS, which nobody here uses: nine
# megabytes of each process that has no other use for it. Hidden from it, and from nobody else.
_aiohttp = sys.modules.get("aiohttp")
sys.modules["aiohttp"] = None  # type: ignore[assignment]  # what makes its import fail
try:
    import nats  # noqa: F401
finally:
    del sys.modules["aiohttp"]
    if _aiohttp is not None:
        sys.modules["aiohttp"] = _aiohttp
