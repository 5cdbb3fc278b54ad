"""deploy/k8s as kustomize renders it, for the rules. None of this needs a cluster."""

import base64
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.local.routes import settings_type
from deploy.local.suite import ROOT
from shared.settings import load

Resource = dict[str, Any]

K8S = ROOT / "deploy" / "k8s"
BIN = Path(sys.executable).parent
DEBUG = "debug"  # `dev` but for one label, to which a rule holds it
OVERLAYS = sorted(
    {path.parent.name for path in K8S.glob("overlays/*/kustomization.yaml")} - {DEBUG}
)
WORKLOADS = {"Deployment", "StatefulSet", "Job"}
PROBES = ("startup", "liveness", "readiness")

each_overlay = pytest.mark.parametrize("overlay", OVERLAYS)


@cache
def render(overlay: str) -> list[Resource]:
    command = [str(BIN / "kubectl"), "kustomize", str(K8S / "overlays" / overlay)]
    rendered = subprocess.run(command, check=True, capture_output=True, text=True)
    return list(yaml.safe_load_all(rendered.stdout))


def kind(overlay: str, *kinds: str) -> list[Resource]:
    return [resource for resource in render(overlay) if resource["kind"] in kinds]


def named(overlay: str, *kinds: str) -> dict[str, Resource]:
    return {resource["metadata"]["name"]: resource for resource in kind(overlay, *kinds)}


def pods(overlay: str) -> dict[str, Resource]:
    """The pod template of each workload."""
    return {
        f"{workload['kind']} {name}": workload["spec"]["template"]
        for name, workload in named(overlay, *WORKLOADS).items()
    }


def containers(pod: Resource) -> list[Resource]:
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def ours(overlay: str) -> Iterator[tuple[str, Resource, Resource]]:
    """Service, pod and container, wherever an image of ours runs."""
    for pod in pods(overlay).values():
        for container in containers(pod):
            if container["image"].startswith("quartet-"):
                yield container["image"].removeprefix("quartet-").split(":")[0], pod, container


def references(pod: Resource) -> Iterator[tuple[str, str | None]]:
    """Name and key of what the pod takes from ConfigMaps and Secrets; no key means all."""
    for volume in pod["spec"].get("volumes", []):
        sources = volume["projected"]["sources"] if "projected" in volume else [volume]
        for source in (source.get("configMap") or source.get("secret") for source in sources):
            if source is not None:
                name = source.get("name") or source["secretName"]
                yield from ((name, item["key"]) for item in source.get("items", [{"key": None}]))
    for container in containers(pod):
        for source in container.get("envFrom", []):
            yield from ((reference["name"], None) for reference in source.values())
        for variable in container.get("env", []):
            for reference in variable.get("valueFrom", {}).values():
                if "key" in reference:
                    yield reference["name"], reference["key"]


def expected_secrets() -> set[tuple[str, str]]:
    """The Secrets, and their keys, that deploy/k8s/README.md asks of whoever runs a cluster."""
    readme = (K8S / "README.md").read_text()
    return set(re.findall(r"^\| `([a-z-]+)` \| `([a-z-]+)` \|", readme, re.MULTILINE))


def probed(container: Resource) -> Iterator[str]:
    for probe in (container.get(f"{name}Probe", {}) for name in PROBES):
        for way in ("httpGet", "tcpSocket"):
            if way in probe:
                yield probe[way]["port"]


def selected(overlay: str, service: Resource) -> list[Resource]:
    labels = service["spec"]["selector"].items()
    return [pod for pod in pods(overlay).values() if labels <= pod["metadata"]["labels"].items()]


def matches(selector: Resource, labels: dict[str, str]) -> bool:
    """As Kubernetes does it; each operator that is not known here fails."""
    for rule in selector.get("matchExpressions", []):
        listed = labels.get(rule["key"]) in rule["values"]
        if listed != {"In": True, "NotIn": False}[rule["operator"]]:
            return False
    return bool(selector.get("matchLabels", {}).items() <= labels.items())


def environment(overlay: str, container: Resource) -> dict[str, str]:
    maps = named(overlay, "ConfigMap")
    found: dict[str, str] = {}
    for source in container.get("envFrom", []):
        found |= maps[source["configMapRef"]["name"]]["data"]
    return found | {item["name"]: item.get("value", "") for item in container.get("env", [])}


def mounted(overlay: str, pod: Resource, container: Resource) -> dict[str, str]:
    """The files that Secrets become in the container; dots for those of a Secret of others."""
    secrets = named(overlay, "Secret")
    folders = {mount["name"]: mount["mountPath"] for mount in container.get("volumeMounts", [])}
    files: dict[str, str] = {}
    for volume in pod["spec"]["volumes"]:
        for source in volume.get("projected", {}).get("sources", []):
            data = secrets.get(source["secret"]["name"], {}).get("data", {})
            for item in source["secret"]["items"]:
                text = base64.b64decode(data[item["key"]]).decode() if data else "…" * 32
                files[f"{folders[volume['name']]}/{item['path']}"] = text
    return files


def told(overlay: str, service: str, pod: Resource, container: Resource) -> dict[str, str]:
    """The variables of the container, and of its files those that settings of the service name."""
    type_, files = settings_type(service), mounted(overlay, pod, container)
    given: dict[str, str] = {}
    for name, value in environment(overlay, container).items():
        field = name.removesuffix("_FILE").partition("_")[2].lower()
        if name.endswith("_FILE") and field in type_.__struct_fields__:
            given[name.removesuffix("_FILE")] = files[value]
        else:
            given[name] = value
    return given


def settings(overlay: str, service: str, pod: Resource, container: Resource) -> Any:
    """What the service reads in the container. Raises `SettingsError`."""
    return load(settings_type(service), service, told(overlay, service, pod, container))
