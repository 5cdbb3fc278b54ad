"""Rules for who may reach whom: the network policies open what docs/architecture.md names."""

import re
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

import pytest

from deploy.local.suite import ROOT, WITH_DATABASE
from tests.rules.cluster import DEPLOYED, OWN, Resource, each_overlay, kind, matches, pods

PLACES = {
    "PostgreSQL": ["postgres"],
    "NATS": ["nats"],
    "Valkey": ["valkey"],
    "the mail server": ["mail"],
    "where traces are kept": ["jaeger"],
    "worker": ["notifications-worker"],
    "their migrations": [f"{service}-migrate" for service in WITH_DATABASE],
}
OUTSIDE = {"client", "Prometheus"}  # no pods of ours
ON_THE_INTERNET = {"to-mail", "to-traces"}  # the others that are run outside are near
MAIL_ELSEWHERE = {465, 587}  # ports of mail servers other than that of development
Edges = set[tuple[str, str]]


def documented() -> Edges:
    """The rows of the table, each place by the workloads that it is."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    section = text.split("## Who may reach whom")[1].split("\n## ")[0]
    edges: Edges = set()
    for left, right in re.findall(r"^\| ([^|]+) \| ([^|]+) \| [^|]+ \|$", section, re.MULTILINE):
        edges |= {(a, b) for a in workloads(left) for b in workloads(right)}
    return edges - {("from", "to")}


def workloads(cell: str) -> list[str]:
    return [place for name in cell.split(", ") for place in PLACES.get(name, [name])]


def allows(overlay: str, direction: str, pod: Resource, peer: Resource, port: Any) -> bool:
    """Whether a policy on `pod` lets traffic to or from `peer` pass."""
    side, whom = ("egress", "to") if direction == "Egress" else ("ingress", "from")
    for policy in kind(overlay, "NetworkPolicy"):
        spec = policy["spec"]
        if direction in spec["policyTypes"] and matches(spec["podSelector"], labels(pod)):
            for rule in spec.get(side, []):
                listed = [
                    item["podSelector"]
                    for item in rule.get(whom, [])
                    if item.keys() == {"podSelector"}
                ]
                if any(matches(selector, labels(peer)) for selector in listed):
                    opened = {item["port"] for item in rule["ports"]}
                    if opened & {port["name"], port["containerPort"]}:
                        return True
    return False


def labels(pod: Resource) -> dict[str, str]:
    found: dict[str, str] = pod["metadata"]["labels"]
    return found


def opened(direction: str) -> Edges:
    """Who may send to whom, by the policies on one end."""
    every = {where.partition(" ")[2]: pod for where, pod in pods("dev").items()}
    ends = ((a, b) for a in every for b in every if a != b)
    return {
        (a, b)
        for a, b in ends
        for container in every[b]["spec"]["containers"]
        for port in container.get("ports", [])
        if allows("dev", direction, *_own_end_first(direction, every[a], every[b]), port)
    }


def _own_end_first(
    direction: str, sender: Resource, receiver: Resource
) -> tuple[Resource, Resource]:
    return (sender, receiver) if direction == "Egress" else (receiver, sender)


@pytest.mark.parametrize("direction", ["Egress", "Ingress"])
def test_policies_open_what_is_documented_and_nothing_else(direction: str) -> None:
    inside = {edge for edge in documented() if not OUTSIDE & {*edge}}
    assert opened(direction) == inside


def test_a_policy_within_names_pods_and_ports_of_theirs_alone() -> None:
    """What the test above does not read would open more than it sees."""
    for name, rule, peers in rules("dev"):
        if name not in {"names", "into-gateway"}:
            assert peers, f"{name} is open to everybody"
            assert all(peer.keys() == {"podSelector"} for peer in peers), name
            assert all(port.keys() == {"port"} for port in rule["ports"]), name
    for name, rule, peers in rules("dev"):
        if name.startswith("to-"):
            reached = [pod for pod in pods("dev").values() if selects(peers, pod)]
            theirs = {value for pod in reached for port in listens(pod) for value in port.values()}
            assert {port["port"] for port in rule["ports"]} <= theirs | MAIL_ELSEWHERE, name


def rules(overlay: str) -> Iterator[tuple[str, Resource, list[Resource]]]:
    """Each rule of each policy, and the peers that it is open to."""
    for policy in kind(overlay, "NetworkPolicy"):
        for side, whom in (("egress", "to"), ("ingress", "from")):
            for rule in policy["spec"].get(side, []):
                yield policy["metadata"]["name"], rule, rule.get(whom, [])


def selects(peers: list[Resource], pod: Resource) -> bool:
    return any(matches(peer["podSelector"], labels(pod)) for peer in peers)


def listens(pod: Resource) -> list[Resource]:
    return [port for box in pod["spec"]["containers"] for port in box.get("ports", [])]


@each_overlay
def test_names_are_asked_of_the_cluster_alone(overlay: str) -> None:
    (rule,) = (rule for name, rule, _ in rules(overlay) if name == "names")
    assert rule == {
        "to": [
            {
                "namespaceSelector": {
                    "matchLabels": {"kubernetes.io/metadata.name": "kube-system"}
                },
                "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
            }
        ],
        "ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}],
    }


def test_prometheus_reaches_a_port_of_each_whom_it_is_documented_to_reach() -> None:
    measured = {b for a, b in documented() if a == "Prometheus"}
    policy = next(
        policy["spec"]
        for policy in kind("production", "NetworkPolicy")
        if policy["metadata"]["name"] == "from-prometheus"
    )
    (rule,) = policy["ingress"]
    assert [sorted(peer) for peer in rule["from"]] == [["namespaceSelector", "podSelector"]]
    assert all(selector["matchLabels"] for selector in rule["from"][0].values())
    asked = {
        endpoint["port"]
        for monitor in kind("production", "PodMonitor", "ServiceMonitor")
        for key in ("podMetricsEndpoints", "endpoints")
        for endpoint in monitor["spec"].get(key, [])
    }
    assert {port["port"] for port in rule["ports"]} == asked
    for name in measured:
        pod = pods("production")[f"Deployment {name}"]
        assert matches(policy["podSelector"], labels(pod))
        assert asked & {port["name"] for port in listens(pod)}, name


@each_overlay
def test_what_no_policy_names_is_closed(overlay: str) -> None:
    policies = {
        policy["metadata"]["name"]: policy["spec"] for policy in kind(overlay, "NetworkPolicy")
    }
    assert policies["nothing"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for name, spec in policies.items():
        rules = [*spec.get("egress", []), *spec.get("ingress", [])]
        assert all(rule.get("ports") for rule in rules), f"{name} opens all ports"


@pytest.mark.parametrize("overlay", DEPLOYED)
def test_servers_outside_are_reached_by_address_and_from_the_same_pods(overlay: str) -> None:
    inside = {policy["metadata"]["name"]: policy["spec"] for policy in kind("dev", "NetworkPolicy")}
    for policy in kind(overlay, "NetworkPolicy"):
        name, spec = policy["metadata"]["name"], policy["spec"]
        if name in {"to-postgres", "to-nats", "to-valkey", "to-mail", "to-traces"}:
            assert spec["podSelector"] == inside[name]["podSelector"]
            (rule,) = spec["egress"]
            assert rule["ports"] == inside[name]["egress"][0]["ports"]
            jaeger = name == "to-traces" and overlay == "staging"
            assert jaeger or all(peer.keys() == {"ipBlock"} for peer in rule["to"])
            if name not in ON_THE_INTERNET:
                assert all(ip_network(peer["ipBlock"]["cidr"]).is_private for peer in rule["to"])


@each_overlay
def test_only_the_gateway_takes_traffic_from_outside(overlay: str) -> None:
    for policy in kind(overlay, "NetworkPolicy"):
        for rule in policy["spec"].get("ingress", []):
            strangers = [peer for peer in rule.get("from", [{}]) if peer.keys() != {"podSelector"}]
            if strangers and policy["metadata"]["name"] != "from-prometheus":
                assert policy["metadata"]["name"] == "into-gateway"
                assert rule["ports"] == [{"port": "http"}]
                assert overlay in OWN or all(
                    peer["namespaceSelector"]["matchLabels"] for peer in strangers
                ), "what stands before the gateway has a namespace of its own"
