"""The routes of the suite, as the gateway's table and as the services themselves have them."""

import json
from collections.abc import Mapping
from importlib import import_module
from typing import Any, NamedTuple

from quart import Quart

from deploy.local import suite
from services.gateway.operations import OPERATIONS
from services.gateway.routes import ROUTES
from shared.http import Access, declared
from shared.openapi import methods_of, path_of
from shared.settings import load

# What every service answers to whoever watches and operates it, and the gateway leads to none of.
_OPERATIONS = {"/healthz", "/readyz", "/metrics", "/openapi.json"}
INTERNAL = "/internal/"  # what operators are answered, and the gateway leads to none of


class Key(NamedTuple):
    """One operation of one service."""

    path: str
    method: str
    service: str

    def __str__(self) -> str:
        return f"{self.method} {self.path} of {self.service}"


def app_of(service: str) -> Quart:
    """The app of a service that is not going to serve."""
    given = {
        f"{service.upper()}_DATABASE_URL": "postgresql://nobody@localhost/none",
        "USERS_SIGNING_KEYS": json.dumps({"keys": [suite.new_key()]}),
        "NOTIFICATIONS_UNSUBSCRIBE_KEY": "of links that nobody gets, since nobody is served",
    }
    settings = load(settings_type(service), service, given)
    app: Quart = import_module(f"services.{service}.app").create_app(settings)
    return app


def settings_type(service: str) -> Any:
    """What the service can be told."""
    return import_module(f"services.{service}.settings").Settings


def served() -> dict[Key, Access]:
    """What the services let in of what comes by the gateway, and what it answers itself."""
    found: dict[Key, Access] = {
        Key(rule.rule, method, "gateway"): operation.access
        for rule, operation in OPERATIONS
        for method in methods_of(rule)
    }
    for service in suite.WITH_DATABASE:
        app = app_of(service)
        for rule in app.url_map.iter_rules():
            if rule.rule not in _OPERATIONS and not rule.rule.startswith(INTERNAL):
                access = declared(app.view_functions[rule.endpoint]).access
                keys = (Key(path_of(rule), method, service) for method in methods_of(rule))
                found |= dict.fromkeys(keys, access)
    return found


def table() -> dict[Key, Access]:
    """What the gateway lets through."""
    return {Key(route.path, route.method, route.upstream): route.access for route in ROUTES}


def faults(table: Mapping[Key, Access], served: Mapping[Key, Access]) -> list[str]:
    """A sentence for each route that the gateway's table and the services see differently."""
    return [
        *(f"{key} is not in the gateway's table." for key in sorted(served.keys() - table)),
        *(
            f"{key} is only in the gateway's table."
            for key in sorted(table.keys() - served)
            if key.service != "gateway"  # which serves that itself
        ),
        *(
            f"{key} is {table[key]} in the gateway's table, and {served[key]} there."
            for key in sorted(served.keys() & table)
            if served[key] != table[key]
        ),
    ]


def lines(table: Mapping[Key, Access]) -> list[tuple[str, ...]]:
    """The table for people, with its headings."""
    rows = [(key.method, key.path, key.service, access) for key, access in table.items()]
    return [("METHOD", "PATH", "SERVICE", "ACCESS"), *rows]
