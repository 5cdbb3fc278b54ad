"""Environment variables to one frozen, typed settings struct; all faults told at once."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TypeVar, get_origin
from urllib.parse import urlsplit

import msgspec

T = TypeVar("T", bound=msgspec.Struct)
EX_CONFIG = 78  # sysexits.h: something was found in an unconfigured or misconfigured state

Environment = Literal["development", "test", "production"]
Server = Literal["http1", "hypercorn"]


class ServiceSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What each service can be told. Times are in seconds, sizes in bytes. `header_timeout` is for
    the head of a client's next request; `tls_…` name PEM files, and without them there is no TLS.
    `http2` is for TLS only unless it is on. `server` is our own, or Hypercorn, which alone speaks
    HTTP/2 and so serves all that do, whatever they are told.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    env: Environment = "development"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    server: Server = "hypercorn"
    body_limit: int = 1_048_576
    drain: float = 0.0
    grace: float = 10.0
    header_timeout: float = 10.0
    tls_certificate: str = ""
    tls_key: str = ""
    http2: Literal["auto", "on", "off"] = "auto"

    @property
    def speaks_http2(self) -> bool:
        """Whether clients may use HTTP/2."""
        return self.http2 == "on" or (self.http2 == "auto" and bool(self.tls_certificate))

    def unfit(self) -> dict[str, str]:
        """What production does not start with: fields, and why. Subclasses add theirs."""
        return {"log_level": "debug lines tell too much"} if self.log_level == "debug" else {}


class DataSettings(ServiceSettings, frozen=True, kw_only=True):
    """What a service with a database and events can be told besides."""

    database_url: str
    nats_url: str = "nats://127.0.0.1:4222"
    nats_replicas: int = 1
    replicas: int = 1
    pool_min: int = 2
    pool_max: int = 10
    pool_wait: float = 2.0
    pool_idle: float = 60.0
    statement_timeout: float = 10.0
    outbox_hours: float = 24.0

    def unfit(self) -> dict[str, str]:
        """Also a login whose password is its name, as development has them."""
        login = urlsplit(self.database_url)
        guessed = login.password is not None and login.password == login.username
        return super().unfit() | ({"database_url": "the password is the name"} if guessed else {})


class SettingsError(Exception):
    """One or more settings are missing or malformed; the message lists every one."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


def load(type_: type[T], prefix: str, environ: Mapping[str, str] | None = None) -> T:
    """Read `PREFIX_FIELD`, else the suite-wide `QUARTET_FIELD`, for each field of `type_`.

    `…_FILE` names a file that holds the value, for secrets. Raises `SettingsError`, in production
    also for what only development may have.
    """
    environ = os.environ if environ is None else environ  # noqa: TID251  (the one reader)
    values: dict[str, object] = {}
    faults: list[str] = []
    for field in msgspec.structs.fields(type_):
        name = f"{prefix}_{field.name}".upper()
        try:
            text = _lookup(environ, name, f"QUARTET_{field.name}".upper())
            if text is not None:
                values[field.name] = _parse(text, field.type)
            elif field.required:
                faults.append(f"{name} is missing")
        except msgspec.ValidationError as error:
            faults.append(f"{name}: {error}")
        except OSError as error:
            faults.append(f"{name}_FILE: {error.strerror}")
    if faults:
        raise SettingsError(faults)
    told = type_(**values)
    if isinstance(told, ServiceSettings) and told.env == "production":
        unfit = [
            f"{prefix.upper()}_{name.upper()}: not in production: {why}"
            for name, why in told.unfit().items()
        ]
        if unfit:
            raise SettingsError(unfit)
    return told


def _lookup(environ: Mapping[str, str], *names: str) -> str | None:
    for name in names:
        if name in environ:
            return environ[name]
        if f"{name}_FILE" in environ:
            return Path(environ[f"{name}_FILE"]).read_text().strip()
    return None


def _parse(text: str, type_: object) -> object:
    value: object = text
    if get_origin(type_) is tuple:
        value = [part.strip() for part in text.split(",") if part.strip()]
    return msgspec.convert(value, type_, strict=False)
