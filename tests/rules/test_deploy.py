"""Rules for deploy/k8s, over what kustomize renders. None of them needs a cluster."""

import base64
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from deploy.local.routes import settings_type
from deploy.local.suite import ROOT, SERVICES, WITH_DATABASE
from shared.settings import load

Resource = dict[str, Any]

K8S = ROOT / "deploy" / "k8s"
BIN = Path(sys.executable).parent
OVERLAYS = sorted(path.parent.name for path in K8S.glob("overlays/*/kustomization.yaml"))
VERSIONS = sorted(
    {".".join(version.split(".")[:2]) for version in kubernetes_validate.utils.all_versions()},
    key=lambda version: tuple(map(int, version.split("."))),
)[-2:]
WORKLOADS = {"Deployment", "StatefulSet", "Job"}
PROBES = ("startup", "liveness", "readiness")
FLUSH = 3  # seconds that the last spans may take, after the drain

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


@each_overlay
@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_accepts_every_resource(overlay: str, version: str) -> None:
    for resource in render(overlay):
        kubernetes_validate.validate(resource, version, strict=True)


@each_overlay
def test_every_service_is_deployed_from_an_image_that_skaffold_builds(overlay: str) -> None:
    skaffold = yaml.safe_load((ROOT / "skaffold.yaml").read_text())
    built = {artifact["image"] for artifact in skaffold["build"]["artifacts"]}
    assert {f"quartet-{service}" for service, _, _ in ours(overlay)} == built
    assert set(SERVICES) <= named(overlay, "Deployment").keys() & named(overlay, "Service").keys()


@each_overlay
def test_images_of_others_have_a_version(overlay: str) -> None:
    for pod in pods(overlay).values():
        for container in containers(pod):
            image = container["image"]
            assert image.startswith("quartet-") or re.search(r":v?\d", image), image


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


@each_overlay
def test_every_config_and_secret_key_exists(overlay: str) -> None:
    there = {
        (name, key)
        for name, resource in named(overlay, "ConfigMap", "Secret").items()
        for key in {None, *resource.get("data", {})}
    }
    for where, pod in pods(overlay).items():
        for name, key in references(pod):
            external = overlay != "dev" and (name, key) in expected_secrets()
            assert (name, key) in there or external, f"{where} wants {key} of {name}"


@each_overlay
def test_named_ports_resolve(overlay: str) -> None:
    for where, pod in pods(overlay).items():
        for container in containers(pod):
            ports = {port["name"] for port in container.get("ports", [])}
            assert all(name in ports for name in probed(container)), where
    for name, service in named(overlay, "Service").items():
        (pod,) = selected(overlay, service)
        ports = {port["name"] for box in containers(pod) for port in box.get("ports", [])}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports, name


def probed(container: Resource) -> Iterator[str]:
    for probe in (container.get(f"{name}Probe", {}) for name in PROBES):
        for way in ("httpGet", "tcpSocket"):
            if way in probe:
                yield probe[way]["port"]


def selected(overlay: str, service: Resource) -> list[Resource]:
    labels = service["spec"]["selector"].items()
    return [pod for pod in pods(overlay).values() if labels <= pod["metadata"]["labels"].items()]


@each_overlay
def test_selectors_match_the_pods_of_one_workload(overlay: str) -> None:
    for name, workload in named(overlay, "Deployment", "StatefulSet").items():
        labels = workload["spec"]["template"]["metadata"]["labels"].items()
        assert workload["spec"]["selector"]["matchLabels"].items() <= labels, name
    for name, service in named(overlay, "Service").items():
        assert len(selected(overlay, service)) == 1, f"Service {name} must lead to one workload"


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


def settings(overlay: str, service: str, pod: Resource, container: Resource) -> Any:
    """What the service reads in the container. Raises `SettingsError`."""
    type_, files = settings_type(service), mounted(overlay, pod, container)
    given: dict[str, str] = {}
    for name, value in environment(overlay, container).items():
        field = name.removesuffix("_FILE").partition("_")[2].lower()
        if name.endswith("_FILE") and field in type_.__struct_fields__:
            given[name.removesuffix("_FILE")] = files[value]
        else:
            given[name] = value
    return load(type_, service, given)


@each_overlay
def test_settings_can_be_read_from_what_each_container_is_given(overlay: str) -> None:
    for service, pod, container in ours(overlay):
        assert settings(overlay, service, pod, container)


@each_overlay
def test_a_service_knows_how_many_pods_share_its_database(overlay: str) -> None:
    for service in WITH_DATABASE:
        deployment = named(overlay, "Deployment")[service]
        pod = deployment["spec"]["template"]
        told = settings(overlay, service, pod, pod["spec"]["containers"][0])
        assert told.replicas == deployment["spec"].get("replicas", 1), (
            f"tell {service} its replicas"
        )


@each_overlay
def test_environment_names_exist_in_the_settings(overlay: str) -> None:
    fields = {service: set(settings_type(service).__struct_fields__) for service in SERVICES}
    any_service = set().union(*fields.values())
    for service, _, container in ours(overlay):
        values = " ".join(environment(overlay, container).values())
        for name in environment(overlay, container):
            prefix, _, field = name.removesuffix("_FILE").partition("_")
            known = any_service if prefix == "QUARTET" else fields.get(prefix.lower(), set())
            used = prefix == "OTEL" or f"$({name})" in values
            own = prefix.lower() in {"quartet", service}
            assert used or (own and field.lower() in known), f"{service} has no setting {name}"


@each_overlay
def test_every_pod_is_restricted(overlay: str) -> None:
    """The restricted profile of the Pod Security Standards, and a root that can't be written."""
    for where, pod in pods(overlay).items():
        spec, context = pod["spec"], pod["spec"]["securityContext"]
        assert context["runAsNonRoot"] is True, where
        assert context["runAsUser"] > 0, where
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, where
        assert spec["automountServiceAccountToken"] is False, where
        assert spec["enableServiceLinks"] is False, where
        volumes = {volume["name"] for volume in spec.get("volumes", [])}
        for container in containers(pod):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, where
            assert container["resources"].keys() == {"requests", "limits"}, where
            claims = {"data"} if where.startswith("StatefulSet") else set()
            mounts = {mount["name"] for mount in container.get("volumeMounts", [])}
            assert mounts <= volumes | claims, where


@each_overlay
def test_each_service_has_an_account_without_a_token(overlay: str) -> None:
    accounts = named(overlay, "ServiceAccount")
    for service, pod, _ in ours(overlay):
        assert pod["spec"]["serviceAccountName"] == service
        assert accounts[service]["automountServiceAccountToken"] is False


@pytest.mark.parametrize("overlay", sorted(set(OVERLAYS) - {"dev"}))
def test_a_service_is_probed_and_has_time_to_drain(overlay: str) -> None:
    for service in SERVICES:
        pod = pods(overlay)[f"Deployment {service}"]
        (container,) = pod["spec"]["containers"]
        probes = {name: container[f"{name}Probe"]["httpGet"]["path"] for name in PROBES}
        assert probes == {"startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz"}
        pause = container["lifecycle"]["preStop"]["sleep"]["seconds"]
        grace = settings(overlay, service, pod, container).grace
        assert pause + grace + FLUSH < pod["spec"]["terminationGracePeriodSeconds"]


@each_overlay
def test_a_rollout_waits_for_its_migrations(overlay: str) -> None:
    for service in set(SERVICES) - {"gateway"}:
        (waits,) = pods(overlay)[f"Deployment {service}"]["spec"]["initContainers"]
        assert (waits["image"], waits["args"]) == (f"quartet-{service}", ["await-migrations"])
        (migrates,) = pods(overlay)[f"Job {service}-migrate"]["spec"]["containers"]
        assert (migrates["image"], migrates["args"]) == (f"quartet-{service}", ["migrate"])


def test_the_key_that_everybody_can_read_stays_in_development() -> None:
    for overlay in set(OVERLAYS) - {"dev"}:
        assert kind(overlay, "Secret") == [], f"{overlay} takes its Secrets from elsewhere"
