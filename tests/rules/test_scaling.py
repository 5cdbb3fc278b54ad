"""Rules for how many pods there are, and how few, and for what each of them asks."""

import json
import re
from statistics import median
from typing import Any

import pytest

from deploy.local.suite import ROOT, SERVICES, WITH_DATABASE
from services.notifications.settings import Settings as NotificationsSettings
from shared.jobs import PRIORITIES, stream
from tests.rules.cluster import DEPLOYED, OVERLAYS, each_overlay, kind, named, pods, settings

SCALED = {*SERVICES, "notifications-worker"}
SPEED = json.loads((ROOT / "docs" / "results" / "speed.json").read_text())
GROWTH = 1.5  # what a pod at work may have of memory, against an idle one
STREAM = 20_000  # bytes of a live stream at the gateway, as tests/load/live.py finds them
deployed = pytest.mark.parametrize("overlay", DEPLOYED)


def most(overlay: str) -> dict[str, int]:
    """How many pods each Deployment may have."""
    by_load = {
        scaler["spec"]["scaleTargetRef"]["name"]: scaler["spec"]["maxReplicas"]
        for scaler in kind(overlay, "HorizontalPodAutoscaler")
    }
    by_backlog = {
        scaler["spec"]["scaleTargetRef"]["name"]: scaler["spec"]["maxReplicaCount"]
        for scaler in kind(overlay, "ScaledObject")
    }
    assert not by_load.keys() & by_backlog.keys(), "two scalers would pull at one Deployment"
    return by_load | by_backlog


@deployed
def test_each_service_and_the_worker_are_scaled_by_one_scaler(overlay: str) -> None:
    assert most(overlay).keys() == SCALED
    for name in SCALED:
        spec = named(overlay, "Deployment")[name]["spec"]
        assert "replicas" not in spec, "each release would undo the scaler"
        assert spec["strategy"] == {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}


@each_overlay
def test_a_service_knows_how_many_pods_share_its_database(overlay: str) -> None:
    for name in {*WITH_DATABASE, "notifications-worker"}:
        pod = named(overlay, "Deployment")[name]["spec"]["template"]
        service = name.removesuffix("-worker")
        told = settings(overlay, service, pod, pod["spec"]["containers"][0])
        assert told.replicas == most(overlay).get(name, 1), "QUARTET_REPLICAS says maxReplicas"


@deployed
def test_a_node_may_go_and_one_pod_with_it(overlay: str) -> None:
    budgets = named(overlay, "PodDisruptionBudget")
    assert budgets.keys() == SCALED
    for name, budget in budgets.items():
        labels = pods(overlay)[f"Deployment {name}"]["metadata"]["labels"]
        assert budget["spec"]["selector"]["matchLabels"].items() <= labels.items()
        assert budget["spec"]["maxUnavailable"] == 1


@deployed
def test_pods_of_one_release_are_spread_over_nodes_and_zones(overlay: str) -> None:
    for name in SCALED:
        pod = pods(overlay)[f"Deployment {name}"]
        spread = pod["spec"]["topologySpreadConstraints"]
        keys = {rule["topologyKey"] for rule in spread}
        assert keys == {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}
        for rule in spread:
            told = {*rule["matchLabelKeys"], *rule["labelSelector"]["matchLabels"]}
            assert told <= {*pod["metadata"]["labels"], "pod-template-hash"}


def test_workers_are_scaled_by_the_lag_of_consumers_that_exist() -> None:
    (scaler,) = kind("production", "ScaledObject")
    assert scaler["spec"]["minReplicaCount"] >= 1, "a worker makes the consumers"
    asked = [trigger["metadata"] for trigger in scaler["spec"]["triggers"]]
    assert {trigger["type"] for trigger in scaler["spec"]["triggers"]} == {"nats-jetstream"}
    assert {item["stream"] for item in asked} == {stream("notifications")}
    assert [item["consumer"] for item in asked] == list(PRIORITIES)


def test_production_keeps_each_stream_on_three_servers() -> None:
    pod = named("production", "Deployment")["notifications"]["spec"]["template"]
    told: NotificationsSettings = settings(
        "production", "notifications", pod, pod["spec"]["containers"][0]
    )
    assert told.nats_replicas == 3


def amount(text: str) -> float:
    """Cores, or bytes."""
    number, unit = re.fullmatch(r"([\d.]+)(m|Mi|)", text).groups()  # type: ignore[union-attr]  # fails
    return float(number) * {"m": 0.001, "Mi": 2**20, "": 1}[unit]


def resources(name: str, what: str) -> tuple[float, float]:
    """Request and limit, the same in every overlay."""
    found = {
        (box["resources"]["requests"][what], box["resources"]["limits"][what])
        for overlay in OVERLAYS
        for box in pods(overlay)[f"Deployment {name}"]["spec"]["containers"]
    }
    ((request, limit),) = found
    return amount(request), amount(limit)


def held(name: str) -> float:
    """Bytes that the settings of a service let it hold, beyond those that it is made of."""
    pod = pods("production")[f"Deployment {name}"]
    told: Any = settings(
        "production", name.removesuffix("-worker"), pod, pod["spec"]["containers"][0]
    )
    if name == "gateway":
        return float(told.cache_bytes + told.live_streams * STREAM)
    return told.hash_threads * told.hash_memory_kib * 1024.0 if name == "users" else 0.0


@pytest.mark.parametrize("name", sorted(SCALED))
def test_memory_is_that_of_the_benchmark_and_what_settings_let_it_hold(name: str) -> None:
    measured = SPEED["figures"]
    figure = f"memory-{name.removeprefix('notifications-')}"
    # A service that the benchmark does not know yet is like one that it knows.
    idle = median(measured.get(figure, measured["memory-content"])) * 1e6
    request, limit = resources(name, "memory")
    assert request >= idle, "a node would take more pods than it has room for"
    assert limit >= GROWTH * idle + held(name), "it would be killed under load"


def test_a_pod_carries_what_the_scaling_guide_says_before_another_is_added() -> None:
    spent = {
        race["name"]: median(one["ours"]["cpu_ms"] for one in race["rounds"])
        for race in SPEED["races"]
    }
    costs = {
        "gateway": spent["forward-nginx"],
        "content": spent["list-fastapi"] - spent["forward-nginx"],
    }
    guide = (ROOT / "docs" / "operations.md").read_text()
    (scaler,) = {
        scaler["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"]
        for scaler in kind("production", "HorizontalPodAutoscaler")
    }
    for name, cost in costs.items():
        row = re.search(rf"^\| {name} \| [^|]+ \| (\d+m) \| ([\d,]+) ", guide, re.MULTILINE)
        assert row, f"the guide says nothing of {name}"
        request, _ = resources(name, "cpu")
        assert request == amount(row[1])
        assert request * scaler / 100 * 1000 / cost >= int(row[2].replace(",", ""))


def test_hashing_passwords_does_not_throttle_the_loop() -> None:
    pod = pods("production")["Deployment users"]
    told: Any = settings("production", "users", pod, pod["spec"]["containers"][0])
    _, limit = resources("users", "cpu")
    assert limit >= told.hash_threads + 1
