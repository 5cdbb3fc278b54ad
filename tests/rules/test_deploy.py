"""Rules for deploy/k8s, over what kustomize renders. None of them needs a cluster."""

import base64
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import kubernetes_validate
import pytest
import yaml

from deploy.local.routes import app_of, settings_type
from deploy.local.suite import ROOT, SERVICES
from services.gateway.settings import Settings as GatewaySettings
from services.notifications import settings as notifications
from services.users import settings as users
from services.users.tokens import Tokens
from tests.rules.cluster import (
    DEBUG,
    OVERLAYS,
    PROBES,
    containers,
    each_overlay,
    environment,
    expected_secrets,
    kind,
    named,
    ours,
    pods,
    probed,
    references,
    render,
    selected,
    settings,
)

VERSIONS = sorted(
    {".".join(version.split(".")[:2]) for version in kubernetes_validate.utils.all_versions()},
    key=lambda version: tuple(map(int, version.split("."))),
)[-2:]
# What operators add to Kubernetes, by the versions of theirs that we write, and the fields: no
# schema of theirs is at hand, and the other rules look into each.
CUSTOM = {
    "Certificate": ("cert-manager.io/v1", "secretName dnsNames privateKey issuerRef"),
    "ExternalSecret": ("external-secrets.io/v1", "refreshInterval secretStoreRef target data"),
    "PodMonitor": ("monitoring.coreos.com/v1", "jobLabel selector podMetricsEndpoints"),
    "PrometheusRule": ("monitoring.coreos.com/v1", "groups"),
    "ScaledObject": (
        "keda.sh/v1alpha1",
        "scaleTargetRef pollingInterval cooldownPeriod minReplicaCount maxReplicaCount fallback"
        " triggers",
    ),
    "ServiceMonitor": ("monitoring.coreos.com/v1", "jobLabel selector endpoints"),
}
KEPT = GatewaySettings().keep_alive
FLUSH = 3  # seconds that the last spans may take, after the drain


@each_overlay
@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_accepts_every_resource(overlay: str, version: str) -> None:
    for resource in render(overlay):
        if resource["kind"] in CUSTOM:
            api, fields = CUSTOM[resource["kind"]]
            assert resource["apiVersion"] == api
            assert resource["spec"].keys() <= set(fields.split()), resource["kind"]
        else:
            kubernetes_validate.validate(resource, version, strict=True)


@each_overlay
def test_every_service_is_deployed_from_an_image_that_skaffold_builds(overlay: str) -> None:
    skaffold = yaml.safe_load((ROOT / "skaffold.yaml").read_text())
    built = {artifact["image"] for artifact in skaffold["build"]["artifacts"]}
    assert {f"quartet-{service}" for service, _, _ in ours(overlay)} == built
    assert set(SERVICES) <= named(overlay, "Deployment").keys() & named(overlay, "Service").keys()


def test_skaffold_deploys_overlays_and_leads_to_the_gateway() -> None:
    skaffold = yaml.safe_load((ROOT / "skaffold.yaml").read_text())
    deployed = [
        path
        for part in (skaffold, *skaffold["profiles"])
        for path in part["manifests"]["kustomize"]["paths"]
    ]
    assert {path.removeprefix("deploy/k8s/overlays/") for path in deployed} == {*OVERLAYS, DEBUG}
    (door,) = skaffold["portForward"]
    assert (door["resourceName"], door["port"], door["localPort"]) == ("gateway", 8000, 8000)
    (before,) = skaffold["deploy"]["kubectl"]["hooks"]["before"]
    removed = dict(re.findall(r"--selector (\S+)=(\S+)", before["host"]["command"][-1]))
    for job in kind("dev", "Job"):
        assert removed.items() <= job["metadata"]["labels"].items()
    assert removed


def test_a_namespace_for_debugging_lets_in_what_skaffold_adds_to_pods() -> None:
    """A container without a security context, which the level `restricted` refuses."""
    both = zip(render("dev"), render(DEBUG), strict=True)
    ((dev, debug),) = ((one, other) for one, other in both if one != other)
    labels = dev["metadata"]["labels"] | {"pod-security.kubernetes.io/enforce": "baseline"}
    assert debug == dev | {"metadata": dev["metadata"] | {"labels": labels}}
    assert debug["kind"] == "Namespace"
    skaffold = yaml.safe_load((ROOT / "skaffold.yaml").read_text())
    (profile,) = (each for each in skaffold["profiles"] if "activation" in each)
    assert profile["activation"] == [{"command": "debug"}]
    assert profile["manifests"]["kustomize"]["paths"] == [f"deploy/k8s/overlays/{DEBUG}"]


@each_overlay
def test_images_of_others_have_a_version(overlay: str) -> None:
    for pod in pods(overlay).values():
        for container in containers(pod):
            image = container["image"]
            assert image.startswith("quartet-") or re.search(r":v?\d", image), image


def fetched(overlay: str) -> set[tuple[str, str]]:
    """The keys that the External Secrets operator brings from a store."""
    return {
        (secret["spec"]["target"]["name"], item["secretKey"])
        for secret in kind(overlay, "ExternalSecret")
        for item in secret["spec"]["data"]
    }


@pytest.mark.parametrize("overlay", sorted(set(OVERLAYS) - {"dev"}))
def test_secrets_from_a_store_are_those_that_the_readme_asks_for(overlay: str) -> None:
    assert fetched(overlay) == expected_secrets()


@each_overlay
def test_every_config_and_secret_key_exists(overlay: str) -> None:
    there = {
        (name, key)
        for name, resource in named(overlay, "ConfigMap", "Secret").items()
        for key in {None, *resource.get("data", {})}
    }
    for where, pod in pods(overlay).items():
        for name, key in references(pod):
            external = (name, key) in fetched(overlay)
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


@each_overlay
def test_the_gateway_finds_every_pod_of_a_service_by_its_name(overlay: str) -> None:
    """Headless: the name leads to the pods themselves, at the port that they listen on."""
    services = named(overlay, "Service")
    (gateway,) = (found for found in ours(overlay) if found[0] == "gateway")
    for name, urls in settings(overlay, *gateway).upstreams.items():
        spec = services[name]["spec"]
        (pod,) = selected(overlay, services[name])
        (port,) = (port for box in containers(pod) for port in box.get("ports", []))
        assert spec["clusterIP"] == "None", name
        assert urls == (f"dns://{name}:{port['containerPort']}",), name


@each_overlay
def test_selectors_match_the_pods_of_one_workload(overlay: str) -> None:
    for name, workload in named(overlay, "Deployment", "StatefulSet").items():
        labels = workload["spec"]["template"]["metadata"]["labels"].items()
        assert workload["spec"]["selector"]["matchLabels"].items() <= labels, name
    for name, service in named(overlay, "Service").items():
        assert len(selected(overlay, service)) == 1, f"Service {name} must lead to one workload"


@each_overlay
def test_settings_can_be_read_from_what_each_container_is_given(overlay: str) -> None:
    for service, pod, container in ours(overlay):
        assert settings(overlay, service, pod, container)


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
    (namespace,) = kind(overlay, "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for where, pod in pods(overlay).items():
        spec, context = pod["spec"], pod["spec"]["securityContext"]
        assert context["runAsNonRoot"] is True, where
        assert context["runAsUser"] > 0, where
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, where
        assert spec["automountServiceAccountToken"] is False, where
        assert spec["enableServiceLinks"] is False, where
        volumes = {volume["name"] for volume in spec.get("volumes", [])}
        used: set[str] = set()
        for container in containers(pod):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, where
            assert container["resources"].keys() == {"requests", "limits"}, where
            used |= {mount["name"] for mount in container.get("volumeMounts", [])}
        claims = {"data"} if where.startswith("StatefulSet") else set()
        assert used == volumes | claims, where


@each_overlay
def test_each_service_has_an_account_without_a_token(overlay: str) -> None:
    accounts = named(overlay, "ServiceAccount")
    for service, pod, _ in ours(overlay):
        assert pod["spec"]["serviceAccountName"] == service
        assert accounts[service]["automountServiceAccountToken"] is False


@pytest.mark.parametrize("overlay", sorted(set(OVERLAYS) - {"dev"}))
def test_a_service_is_probed_at_routes_that_it_has(overlay: str) -> None:
    for service in SERVICES:
        pod = pods(overlay)[f"Deployment {service}"]
        (container,) = pod["spec"]["containers"]
        probes = {name: container[f"{name}Probe"]["httpGet"]["path"] for name in PROBES}
        assert probes == {"startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz"}
        assert set(probes.values()) <= {rule.rule for rule in app_of(service).url_map.iter_rules()}


@pytest.mark.parametrize("overlay", sorted(set(OVERLAYS) - {"dev"}))
@pytest.mark.parametrize("name", [*SERVICES, "notifications-worker"])
def test_a_pod_has_time_to_end(overlay: str, name: str) -> None:
    pod = pods(overlay)[f"Deployment {name}"]
    (container,) = pod["spec"]["containers"]
    told = settings(overlay, name.removesuffix("-worker"), pod, container)
    pause = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert told.drain > KEPT, "a connection that the gateway keeps would outlive the service"
    ending = pause + told.drain + told.grace + FLUSH
    assert ending < pod["spec"]["terminationGracePeriodSeconds"]


@each_overlay
def test_a_rollout_waits_for_its_migrations(overlay: str) -> None:
    for name in {*SERVICES, "notifications-worker"} - {"gateway"}:
        service = name.removesuffix("-worker")
        (waits,) = pods(overlay)[f"Deployment {name}"]["spec"]["initContainers"]
        assert (waits["image"], waits["args"]) == (f"quartet-{service}", ["await-migrations"])
        (runs,) = pods(overlay)[f"Deployment {name}"]["spec"]["containers"]
        does = ["worker"] if name.endswith("-worker") else None
        assert (runs["image"], runs.get("args")) == (f"quartet-{service}", does)
        (migrates,) = pods(overlay)[f"Job {service}-migrate"]["spec"]["containers"]
        assert (migrates["image"], migrates["args"]) == (f"quartet-{service}", ["migrate"])


def test_a_key_is_made_that_users_can_sign_with() -> None:
    made = subprocess.run(
        [sys.executable, "-m", "deploy.local", "key"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    signs = Tokens(f'{{"keys": [{made.stdout}]}}', timedelta(hours=1))
    assert signs.issue(uuid4(), datetime.now(UTC))


def test_the_key_that_everybody_can_read_stays_in_development() -> None:
    for overlay in set(OVERLAYS) - {"dev"}:
        assert kind(overlay, "Secret") == [], f"{overlay} takes its Secrets from elsewhere"


@each_overlay
def test_what_comes_in_finds_a_service_and_a_certificate(overlay: str) -> None:
    services, certificates = named(overlay, "Service"), kind(overlay, "Certificate")
    for ingress in kind(overlay, "Ingress"):
        for rule in ingress["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                to = path["backend"]["service"]
                assert to["name"] == "gateway", "no other service is public"
                assert to["port"]["name"] in {
                    port["name"] for port in services[to["name"]]["spec"]["ports"]
                }
        assert [(tls["secretName"], set(tls["hosts"])) for tls in ingress["spec"]["tls"]] == [
            (item["spec"]["secretName"], set(item["spec"]["dnsNames"])) for item in certificates
        ]


def test_production_knows_the_secrets_of_development() -> None:
    """So that it can refuse them."""
    rendered = {
        key: base64.b64decode(text).decode()
        for secret in kind("dev", "Secret")
        for key, text in secret["data"].items()
    }
    assert f'"{users.PUBLIC_KEY}"' in rendered["signing-keys"]
    assert rendered["unsubscribe-key"] == notifications.PUBLIC_KEY
