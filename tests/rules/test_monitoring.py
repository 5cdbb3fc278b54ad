"""Rules for what is measured, and for when a human is called."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import CollectorRegistry, generate_latest

from deploy.local.suite import ROOT, WITH_DATABASE
from tests.rules.cluster import containers, kind, matches, named, pods

MONITORING = ROOT / "deploy" / "k8s" / "components" / "monitoring"
# What Prometheus itself says of whom it asks, and what the rules record.
GIVEN = {"up"}
_MADE = re.compile(
    r"create_(?P<kind>histogram|counter|gauge|observable_up_down_counter)\(\s*"
    r'"(?P<name>[\w.]+)"(?:,\s*(?:\[\w+\],?\s*)?(?:unit=)?"(?P<unit>[^"]*)")?'
)
_TALLIED = re.compile(r'= (?P<kind>Count|Durations)\(\s*"(?P<name>[\w.]+)"')
_SAME = {"Count": ("counter", ""), "Durations": ("histogram", "s")}


def rules() -> list[dict[str, Any]]:
    (resource,) = kind("production", "PrometheusRule")
    return [rule for group in resource["spec"]["groups"] for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    return [rule for rule in rules() if "alert" in rule]


def panels() -> list[str]:
    board = json.loads((MONITORING / "quartet.json").read_text())
    return [target["expr"] for panel in board["panels"] for target in panel["targets"]]


def shown() -> set[str]:
    """The names at `/metrics`: each instrument that the code makes, made again, and exported."""
    reader = PrometheusMetricReader()
    meter = MeterProvider([reader]).get_meter("rules")
    for folder in ("shared", "services"):
        for path in (ROOT / folder).rglob("*.py"):
            if "tests" not in path.parts:
                text = path.read_text()
                for made in _MADE.finditer(text):
                    make(meter, made["kind"], made["name"], made["unit"] or "")
                for made in _TALLIED.finditer(text):
                    kind, unit = _SAME[made["kind"]]
                    make(meter, kind, made["name"], unit)
    text = generate_latest(_registry(reader)).decode()
    return set(re.findall(r"^([a-z_]+)\{?", text, re.MULTILINE))


def make(meter: Any, kind: str, name: str, unit: str) -> None:
    if kind == "observable_up_down_counter":  # exported as one that is not
        kind = "up_down_counter"
    instrument = getattr(meter, f"create_{kind}")(name, unit)
    verb = {"histogram": "record", "gauge": "set"}.get(kind, "add")
    getattr(instrument, verb)(1)


def _registry(reader: PrometheusMetricReader) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(reader._collector)  # the one that it registers everywhere
    return registry


def asked(expression: str) -> set[str]:
    """The metrics of an expression: what has labels or a bracket after it, or `:` in its name."""
    bare = re.sub(r'"[^"]*"', '""', expression)
    names = set(re.findall(r"([a-z_]+(?::[a-z_0-9]+)*)\s*[{\[]", bare))
    names |= set(re.findall(r"[a-z]+:[a-z_]+:[a-z_0-9]+", bare))
    return names | set(re.findall(r"\((quartet_[a-z_]+)\)", bare))


def test_alerts_and_panels_ask_for_metrics_that_the_code_makes() -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    known = shown() | recorded | GIVEN
    for expression in [*(rule["expr"] for rule in rules()), *panels()]:
        names = asked(expression)
        assert names or expression.startswith("vector("), expression
        assert names <= known, f"nothing is called {names - known}"


def test_a_ratio_of_errors_is_nought_before_there_is_one() -> None:
    """A counter is there from its first event on; until then the dashboard would say "no data"."""
    ratios = [
        rule["expr"] for rule in rules() if rule.get("record", "").startswith("quartet:errors:")
    ]
    assert ratios
    for ratio in ratios:
        assert re.match(r"\(sum\(rate\(.+\)\) or vector\(0\)\)\n/ ", ratio), ratio


def test_every_alert_has_an_entry_in_the_runbook_and_the_other_way_round() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    entries = set(re.findall(r"^### (\w+)$", text, re.MULTILINE))
    assert {rule["alert"] for rule in alerts()} == entries
    for rule in alerts():
        anchor = rule["alert"].lower()
        assert rule["annotations"]["runbook"] == f"docs/operations.md#{anchor}"
        assert rule["labels"]["severity"] in {"page", "ticket"}
    for section in re.split(r"^### ", text.split("## Incidents")[0], flags=re.MULTILINE)[1:]:
        assert all(word in section for word in ("**Means**", "**Look**", "**Do**")), section[:40]


def test_prometheus_finds_a_port_of_every_pod_of_ours() -> None:
    ports = {
        where: {port["name"] for box in containers(pod) for port in box.get("ports", [])}
        for where, pod in pods("production").items()
    }
    monitors = {
        name: monitor["spec"]["podMetricsEndpoints"][0]["port"]
        for name, monitor in named("production", "PodMonitor").items()
    }
    for name, monitor in named("production", "PodMonitor", "ServiceMonitor").items():
        endpoints = monitor["spec"].get("podMetricsEndpoints") or monitor["spec"]["endpoints"]
        assert [endpoint["path"] for endpoint in endpoints] == ["/metrics"], name
    asked = {
        where.partition(" ")[2]: [
            name
            for name, monitor in named("production", "PodMonitor").items()
            if matches(monitor["spec"]["selector"], pod["metadata"]["labels"])
        ]
        for where, pod in pods("production").items()
    }
    services = (*WITH_DATABASE, "notifications-worker")
    assert {name: by for name, by in asked.items() if by} == {"gateway": ["gateway"]} | {
        name: ["services"] for name in services
    }
    assert monitors["gateway"] in ports["Deployment gateway"]
    for name in services:
        assert monitors["services"] in ports[f"Deployment {name}"]
    (collector,) = kind("production", "ServiceMonitor")
    service = named("production", "Service")["collector"]
    assert (
        collector["spec"]["selector"]["matchLabels"].items()
        <= service["metadata"]["labels"].items()
    )
    assert collector["spec"]["endpoints"][0]["port"] in {
        port["name"] for port in service["spec"]["ports"]
    }


def test_the_replay_has_a_case_for_every_alert_that_fires_and_stays_silent() -> None:
    cases = yaml.safe_load((MONITORING / "alerts-test.yaml").read_text())["tests"]
    said: dict[str, set[bool]] = {}
    for case in cases:
        for test in case.get("alert_rule_test", []):
            said.setdefault(test["alertname"], set()).add(bool(test.get("exp_alerts")))
    assert said == {rule["alert"]: {True, False} for rule in alerts()}


def test_the_replay_is_told_what_it_cannot_do() -> None:
    command = [sys.executable, "-m", "deploy.images.alerts"]
    done = subprocess.run(command, cwd=Path(ROOT), env={"PATH": ""}, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (
        0,
        "alerts-check was skipped: promtool, of Prometheus, is not here.\n",
    )
