"""The gateway's table and the services say the same of every route."""

import subprocess
import sys

from deploy.local.routes import Key, faults, served, table
from deploy.local.suite import ROOT

ARTICLES = Key("/api/articles", "GET", "content")
TAGS = Key("/api/tags", "GET", "content")


def test_the_gateway_and_the_services_agree_on_every_route() -> None:
    assert faults(table(), served()) == [], "make services/gateway/routes.py agree"


def test_what_only_one_of_them_has_is_named() -> None:
    assert faults({ARTICLES: "public"}, {TAGS: "public"}) == [
        "GET /api/tags of content is not in the gateway's table.",
        "GET /api/articles of content is only in the gateway's table.",
    ]


def test_what_they_guard_differently_is_named() -> None:
    assert faults({TAGS: "public"}, {TAGS: "required"}) == [
        "GET /api/tags of content is public in the gateway's table, and required there.",
    ]


def test_the_command_shows_every_route() -> None:
    command = [sys.executable, "-m", "deploy.local", "routes"]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    heading, *lines = shown.splitlines()
    assert heading.split() == ["METHOD", "PATH", "SERVICE", "ACCESS"]
    assert sorted(line.split() for line in lines) == sorted(
        [key.method, key.path, key.service, access] for key, access in table().items()
    )
