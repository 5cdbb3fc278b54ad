"""The services and the worker: how each is started, and what its environment tells it."""

import base64
import hashlib
import json
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from deploy.local.endpoint import smtp_port
from deploy.local.errors import CannotStart
from deploy.local.program import Program
from deploy.local.state import State

ROOT = Path(__file__).parents[2]
WITH_DATABASE = ("users", "content", "notifications")
SERVICES = (*WITH_DATABASE, "gateway")
PACKAGES = {"worker": "notifications"}  # whose code, database and settings a worker has
PROCESSES = (*WITH_DATABASE, *PACKAGES, "gateway")
_NUMBER = re.compile(r"-\d+$")
# Less than what the stack gives a service to stop in, so that it ends by itself.
GRACE = 2  # seconds

Command = Callable[[str], tuple[str, ...]]


@dataclass(frozen=True)
class Addresses:
    """Where all of a running stack is; the URLs of servers and databases hold passwords."""

    postgres: str
    databases: dict[str, str]
    nats: str
    redis: str
    otlp: str
    smtp: str
    services: dict[str, str]
    metrics: str  # the gateway's, which its public door does not show


@dataclass(frozen=True)
class Secrets:
    """What services sign with."""

    signing_keys: Path
    unsubscribe_key: str


def replicas(process: str, count: int) -> list[str]:
    """The names of so many processes that do the same: `content`, `content-2`, `content-3`."""
    return [process, *(f"{process}-{number}" for number in range(2, count + 1))]


def role(process: str) -> str:
    """What a process does: `content-2` is one more `content`."""
    return _NUMBER.sub("", process)


def command(service: str) -> tuple[str, ...]:
    """What starts a service; a further argument makes it migrate."""
    package = PACKAGES.get(service, service)
    arguments = () if package == service else (service,)
    return (sys.executable, "-m", f"services.{package}", *arguments)


def program(service: str, told: Mapping[str, str], argv: tuple[str, ...]) -> Program:
    """A service, or its migration, with `told` on top of the environment of this process."""
    ours = dict(os.environ)  # noqa: TID251 - handed on, not read
    # Logins of others are none of theirs; who needs one is told.
    for name in ("QUARTET_POSTGRES_URL", "QUARTET_SMTP_URL"):
        ours.pop(name, None)
    # Whoever tries things on a laptop may knock as often as they like, unless they say otherwise.
    ours.setdefault("QUARTET_LIMITS", "off")
    # Peers and collector are here, not behind the proxy that the machine may have.
    for name in ("NO_PROXY", "no_proxy"):
        ours[name] = ",".join(filter(None, [ours.get(name), "127.0.0.1", "localhost"]))
    return Program(argv=argv, env={**ours, **told}, cwd=ROOT)


def environment(process: str, addresses: Addresses, secrets: Secrets) -> dict[str, str]:
    """What a process must be told to find its own database, the servers and its peers."""
    service = role(process)
    package = PACKAGES.get(service, service)
    prefix = package.upper()
    told = {
        "PYTHONUNBUFFERED": "1",
        "OTEL_SERVICE_NAME": service,
        "OTEL_EXPORTER_OTLP_ENDPOINT": addresses.otlp,
        "QUARTET_NATS_URL": addresses.nats,
        "QUARTET_REDIS_URL": addresses.redis,
        "QUARTET_GRACE": str(GRACE),
        "QUARTET_JWKS_URL": f"{addresses.services['users']}/.well-known/jwks.json",
        f"{prefix}_HOST": "127.0.0.1",
        f"{prefix}_PORT": addresses.services[process].rpartition(":")[2],
    }
    if package in addresses.databases:
        told[f"{prefix}_DATABASE_URL"] = addresses.databases[package]
    if service == "users":
        told["USERS_SIGNING_KEYS_FILE"] = str(secrets.signing_keys)
    if package == "notifications":
        told["NOTIFICATIONS_UNSUBSCRIBE_KEY"] = secrets.unsubscribe_key
        told["NOTIFICATIONS_PUBLIC_URL"] = addresses.services["gateway"]
        told |= _mail(addresses.smtp)
    if service == "gateway":
        shown = process == service  # one more gateway on this machine shows none
        port = urlsplit(addresses.metrics).port if shown else 0
        told["GATEWAY_METRICS_PORT"] = str(port)
        told |= {f"GATEWAY_{name.upper()}_URL": _urls(name, addresses) for name in WITH_DATABASE}
    return told


def _urls(service: str, addresses: Addresses) -> str:
    return ",".join(url for name, url in addresses.services.items() if role(name) == service)


def _mail(url: str) -> dict[str, str]:
    place = urlsplit(url)
    told = {
        "HOST": place.hostname or "127.0.0.1",
        "PORT": str(place.port or smtp_port(place.scheme)),
        "TLS": {"smtps": "implicit", "smtp+starttls": "starttls"}.get(place.scheme, "none"),
        "USER": unquote(place.username or ""),
        "PASSWORD": unquote(place.password or ""),
    }
    return {f"NOTIFICATIONS_SMTP_{name}": value for name, value in told.items()}


def secrets(state: State) -> Secrets:
    """What signs, made once: a JWK Set (RFC 7517, RFC 8037) for tokens, a key for links."""
    path = state.path / "keys.json"
    if not path.exists():
        state.write(path.name, {"keys": [new_key()]})
    return Secrets(path, state.secret("unsubscribe links"))


def new_key() -> dict[str, Any]:
    """A private Ed25519 key as a JWK, named by its thumbprint."""
    key = Ed25519PrivateKey.generate()
    public = {
        "crv": "Ed25519",
        "kty": "OKP",
        "x": _base64url(key.public_key().public_bytes_raw()),
    }
    # The thumbprint of RFC 7638: the members that make the key, sorted, without spaces.
    text = json.dumps(public, separators=(",", ":"), sort_keys=True)
    kid = _base64url(hashlib.sha256(text.encode()).digest())
    private = {"d": _base64url(key.private_bytes_raw())}
    return public | private | {"kid": kid, "alg": "EdDSA", "use": "sig"}


def save(state: State, addresses: Addresses) -> None:
    """Write down where all is, for the other commands."""
    state.write("addresses.json", asdict(addresses))


def running(state: State) -> Addresses:
    """Where all of the stack in this folder is. Raises `CannotStart` when it does not run."""
    found = state.read("addresses.json")
    if found is None or not state.is_locked():
        raise CannotStart(f"No stack runs in {state.path}: start it with `make start`.")
    return Addresses(**found)


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
