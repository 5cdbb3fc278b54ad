"""Rules for how many pods there are, and how few."""

import pytest

from deploy.local.suite import SERVICES, WITH_DATABASE
from services.notifications.settings import Settings as NotificationsSettings
from shared.jobs import PRIORITIES, stream
from tests.rules.cluster import OVERLAYS, each_overlay, kind, named, pods, settings

SCALED = {*SERVICES, "notifications-worker"}
deployed = pytest.mark.parametrize("overlay", sorted(set(OVERLAYS) - {"dev"}))


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
        deployment = named(overlay, "Deployment")[name]
        assert "replicas" not in deployment["spec"], "each release would undo the scaler"


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
