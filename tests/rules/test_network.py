"""Rules for who may reach whom: the network policies open what docs/architecture.md names."""

import re
from typing import Any

import pytest

from deploy.local.suite import ROOT, WITH_DATABASE
from tests.rules.cluster import OVERLAYS, Resource, each_overlay, kind, pods

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


def matches(selector: Resource, labels: dict[str, str]) -> bool:
    """As Kubernetes does it; each operator that is not known here fails."""
    for rule in selector.get("matchExpressions", []):
        listed = labels.get(rule["key"]) in rule["values"]
        if listed != {"In": True, "NotIn": False}[rule["operator"]]:
            return False
    return bool(selector.get("matchLabels", {}).items() <= labels.items())


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


@each_overlay
def test_what_no_policy_names_is_closed(overlay: str) -> None:
    policies = {
        policy["metadata"]["name"]: policy["spec"] for policy in kind(overlay, "NetworkPolicy")
    }
    assert policies["nothing"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for name, spec in policies.items():
        rules = [*spec.get("egress", []), *spec.get("ingress", [])]
        assert all(rule.get("ports") for rule in rules), f"{name} opens all ports"


@pytest.mark.parametrize("overlay", sorted(set(OVERLAYS) - {"dev"}))
def test_servers_outside_are_reached_by_address_and_from_the_same_pods(overlay: str) -> None:
    inside = {policy["metadata"]["name"]: policy["spec"] for policy in kind("dev", "NetworkPolicy")}
    for policy in kind(overlay, "NetworkPolicy"):
        name, spec = policy["metadata"]["name"], policy["spec"]
        if name in {"to-postgres", "to-nats", "to-valkey", "to-mail"}:
            assert spec["podSelector"] == inside[name]["podSelector"]
            (rule,) = spec["egress"]
            assert rule["ports"] == inside[name]["egress"][0]["ports"]
            assert all(peer.keys() == {"ipBlock"} for peer in rule["to"])


@each_overlay
def test_only_the_gateway_takes_traffic_from_outside(overlay: str) -> None:
    for policy in kind(overlay, "NetworkPolicy"):
        for rule in policy["spec"].get("ingress", []):
            strangers = [peer for peer in rule.get("from", [{}]) if "podSelector" not in peer]
            if strangers:
                assert policy["metadata"]["name"] == "into-gateway"
                assert rule["ports"] == [{"port": "http"}]
