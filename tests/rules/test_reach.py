"""Rules for what each container is told of the others: it is all there, where it is said to be."""

import base64
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import msgspec

from deploy.local.routes import app_of, settings_type
from deploy.local.suite import ROOT, WITH_DATABASE
from tests.rules.cluster import (
    Resource,
    each_overlay,
    kind,
    named,
    ours,
    settings,
    told,
)

_ADDRESS = re.compile(r"^[a-z]+://(?:[^@/]*@)?(?P<host>[\w.-]+):(?P<port>\d+)")
_BY_BROWSERS = {"QUARTET_PUBLIC_URL"}
_BY_THE_IMAGE = {"host"}
_BY_THE_WORKER = {"smtp_host", "mail_from"}


def serving(overlay: str) -> Iterator[tuple[str, Resource, Resource]]:
    return (found for found in ours(overlay) if found[2]["name"] == "service")


def addresses(overlay: str, found: tuple[str, Resource, Resource]) -> Iterator[tuple[str, int]]:
    """Host and port of whomever the container is led to."""
    given = told(overlay, *found)
    for name in given.keys() - _BY_BROWSERS:
        if address := _ADDRESS.match(given[name]):
            yield address["host"], int(address["port"])
    if "NOTIFICATIONS_SMTP_HOST" in given:
        yield given["NOTIFICATIONS_SMTP_HOST"], int(given["NOTIFICATIONS_SMTP_PORT"])


@each_overlay
def test_a_container_is_led_to_services_at_their_ports(overlay: str) -> None:
    services = {
        name: {port["port"] for port in service["spec"]["ports"]}
        for name, service in named(overlay, "Service").items()
    }
    for found in ours(overlay):
        for host, port in addresses(overlay, found):
            outside = "." in host
            assert outside or port in services.get(host, ()), f"{found[0]} looks for {host}:{port}"


def on_one_machine(value: Any) -> bool:
    return "127.0.0.1" in str(value) or "localhost" in str(value)


@each_overlay
def test_nothing_is_missing_that_would_lead_a_container_to_itself(overlay: str) -> None:
    for service, pod, container in serving(overlay):
        given = told(overlay, service, pod, container)
        worker = container.get("args") == ["worker"]
        elsewhere = _BY_THE_IMAGE | (set() if worker else _BY_THE_WORKER)
        for field in msgspec.structs.fields(settings_type(service)):
            if on_one_machine(field.default) and field.name not in elsewhere:
                names = {f"{prefix}_{field.name}".upper() for prefix in (service, "quartet")}
                assert names & given.keys(), f"{service} is not told {field.name}"
        assert "QUARTET_ENV" in given, "development is what it is by default"
    assert "QUARTET_HOST=0.0.0.0" in (ROOT / "Dockerfile").read_text()


@each_overlay
def test_a_container_listens_where_it_says(overlay: str) -> None:
    for service, pod, container in serving(overlay):
        read = settings(overlay, service, pod, container)
        listens = {"http": read.port}
        if service == "gateway":
            listens["metrics"] = read.metrics_port
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        assert ports == listens, service


@each_overlay
def test_keys_are_looked_up_at_a_route_of_users(overlay: str) -> None:
    routes = {rule.rule for rule in app_of("users").url_map.iter_rules()}
    for service, pod, container in serving(overlay):
        if service != "users":
            url = urlsplit(settings(overlay, service, pod, container).jwks_url)
            assert (url.hostname, url.path in routes) == ("users", True)


def test_a_login_opens_the_database_of_its_service_and_no_other() -> None:
    maps = {name: item["data"] for name, item in named("dev", "ConfigMap").items()}
    (text,) = (data["init.sql"] for data in maps.values() if "init.sql" in data)
    script = text.replace('"', "")
    for service, pod, container in serving("dev"):
        if service in WITH_DATABASE:
            url = urlsplit(settings("dev", service, pod, container).database_url)
            assert (url.username, url.path) == (service, f"/{service}")
            assert url.password == passwords()[f"{service}_password".upper()]
            assert f"CREATE ROLE {service} LOGIN PASSWORD :'{service}_password';" in script
            assert f"CREATE DATABASE {service} OWNER {service};" in script
    assert f"REVOKE CONNECT ON DATABASE postgres, {', '.join(WITH_DATABASE)} FROM PUBLIC" in script


def passwords() -> dict[str, str]:
    """What PostgreSQL is told when it begins."""
    pod = named("dev", "StatefulSet")["postgres"]["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    (source,) = container["envFrom"]
    secret = named("dev", "Secret")[source["secretRef"]["name"]]
    return {name: base64.b64decode(text).decode() for name, text in secret["data"].items()}


@each_overlay
def test_a_secret_is_fetched_from_where_the_readme_says(overlay: str) -> None:
    for secret in kind(overlay, "ExternalSecret"):
        name, spec = secret["metadata"]["name"], secret["spec"]
        assert spec["target"]["name"] == name
        assert spec["secretStoreRef"] == {"kind": "ClusterSecretStore", "name": "quartet"}
        for item in spec["data"]:
            assert item["remoteRef"] == {"key": f"quartet/{name}", "property": item["secretKey"]}


def test_streams_are_kept_on_a_volume() -> None:
    spec = named("dev", "StatefulSet")["nats"]["spec"]
    claimed = {claim["metadata"]["name"] for claim in spec["volumeClaimTemplates"]}
    (container,) = spec["template"]["spec"]["containers"]
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    (text,) = (
        item["data"]["nats.conf"]
        for item in kind("dev", "ConfigMap")
        if "nats.conf" in item["data"]
    )
    store = re.search(r"store_dir: (\S+)", text)
    assert store, "nothing would be kept"
    assert mounts[store[1]] in claimed
