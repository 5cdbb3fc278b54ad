"""Rules for the collector: nothing here can load its configuration, so each part is read."""

import re
from typing import Any

import yaml

from tests.rules.cluster import Resource, containers, each_overlay, kind, named, pods

OBJECTIVE = 250  # milliseconds, of docs/operations.md: what is slower is kept


def files(overlay: str) -> dict[str, str]:
    """The ConfigMap that the collector's folder is."""
    return mapped(overlay, pod(overlay)["spec"]["volumes"][0]["configMap"]["name"])


def mapped(overlay: str, name: str) -> dict[str, str]:
    data: dict[str, str] = named(overlay, "ConfigMap")[name]["data"]
    return data


def pod(overlay: str) -> Resource:
    return pods(overlay)["Deployment collector"]


def told(overlay: str) -> dict[str, str]:
    (container,) = containers(pod(overlay))
    (source,) = container["envFrom"]
    return mapped(overlay, source["configMapRef"]["name"])


def config(overlay: str) -> Any:
    """With its variables filled in, as the collector reads it."""
    text = files(overlay)["config.yaml"]
    return yaml.safe_load(re.sub(r"\$\{env:(\w+)\}", lambda name: told(overlay)[name[1]], text))


@each_overlay
def test_pipelines_are_made_of_all_that_is_set_up_and_of_nothing_else(overlay: str) -> None:
    read = config(overlay)
    pipelines = read["service"]["pipelines"].values()
    for part in ("receivers", "processors", "exporters"):
        assert {name for line in pipelines for name in line[part]} == read[part].keys()
    assert set(read["service"]["extensions"]) == read["extensions"].keys()


@each_overlay
def test_memory_is_limited_before_all_else_and_what_leaves_is_batched(overlay: str) -> None:
    read = config(overlay)
    for line in read["service"]["pipelines"].values():
        assert (line["processors"][0], line["processors"][-1]) == ("memory_limiter", "batch")
    limits = read["processors"]["memory_limiter"]
    assert 0 < limits["spike_limit_percentage"] < limits["limit_percentage"] < 100


@each_overlay
def test_traces_that_failed_or_were_slow_are_kept_and_a_share_of_the_rest(overlay: str) -> None:
    read = config(overlay)
    assert "tail_sampling" in read["service"]["pipelines"]["traces"]["processors"]
    policies = {
        policy["type"]: policy[policy["type"]]
        for policy in read["processors"]["tail_sampling"]["policies"]
    }
    assert policies["status_code"] == {"status_codes": ["ERROR"]}
    assert policies["latency"] == {"threshold_ms": OBJECTIVE}
    assert 0 < policies["probabilistic"]["sampling_percentage"] <= 100
    deployment = named(overlay, "Deployment")["collector"]
    assert deployment["spec"].get("replicas", 1) == 1, "all spans of a trace come to one"


@each_overlay
def test_it_listens_at_the_ports_of_its_pod(overlay: str) -> None:
    read = config(overlay)
    (container,) = containers(pod(overlay))
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    protocols = read["receivers"]["otlp"]["protocols"]
    (reader,) = read["service"]["telemetry"]["metrics"]["readers"]
    own = reader["pull"]["exporter"]["prometheus"]
    listens = {
        "otlp-grpc": protocols["grpc"]["endpoint"],
        "otlp-http": protocols["http"]["endpoint"],
        "services": read["exporters"]["prometheus"]["endpoint"],
        "own": f"{own['host']}:{own['port']}",
        "health": read["extensions"]["health_check"]["endpoint"],
    }
    assert listens == {name: f"0.0.0.0:{port}" for name, port in ports.items()}


@each_overlay
def test_traces_go_to_a_service_of_the_cluster_or_outside_by_tls(overlay: str) -> None:
    out = config(overlay)["exporters"]["otlp_grpc"]
    host, _, port = out["endpoint"].partition(":")
    inside = {
        (service["metadata"]["name"], str(item["port"]))
        for service in kind(overlay, "Service")
        for item in service["spec"]["ports"]
    }
    assert (host, port) in inside or "." in host
    assert out["tls"]["insecure"] == ((host, port) in inside)
