"""Rules for what builds the images and runs them outside production."""

import asyncio
import importlib.util
import json
import re
import shutil
import stat
import subprocess
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.images.trim import trim
from deploy.local.routes import settings_type
from deploy.local.state import free_port
from deploy.local.suite import ROOT, SERVICES
from shared.settings import load
from shared.testing import until

BIN = Path(sys.executable).parent
DEV = ROOT / "deploy" / "k8s" / "overlays" / "dev"
SKAFFOLD_SCHEMA = ROOT.parent / "shared" / "spec" / "skaffold-schema.json"


def read(file: str) -> Any:
    return yaml.safe_load((ROOT / file).read_text())


def run(tool: str, *arguments: str) -> None:
    done = subprocess.run([BIN / tool, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_dockerfile_has_no_known_fault() -> None:
    run("hadolint", "Dockerfile")


@pytest.mark.parametrize("newer", ["# syntax", "<<", "--link", "--mount"])
def test_every_builder_knows_the_instructions_of_the_dockerfile(newer: str) -> None:
    assert newer not in (ROOT / "Dockerfile").read_text()


def test_images_hold_what_was_tested() -> None:
    images, tests = pins("runtime.lock"), pins("dev.lock")
    command = (ROOT / "requirements" / "runtime.lock").read_text().splitlines()[1].lstrip("# ")
    assert images <= tests, f"lock again: {command}"
    assert images < images | pins("debug.lock") <= tests


def pins(lock: str) -> set[str]:
    text = (ROOT / "requirements" / lock).read_text()
    return set(re.findall(r"^([a-z0-9-]+==[^\\]+?) \\", text, re.MULTILINE))


def test_trimmed_packages_still_load(tmp_path: Path) -> None:
    package = Path(find_spec("uvloop").origin or "").parent  # type: ignore[union-attr]  # locked
    shutil.copytree(package, tmp_path / "uvloop")
    saved = trim(tmp_path)
    assert saved > 0
    assert not list(tmp_path.rglob("*.pyx"))
    loads = (
        "import uvloop; assert uvloop.__file__.startswith({!r}); uvloop.new_event_loop().close()"
    )
    subprocess.run([sys.executable, "-c", loads.format(str(tmp_path))], cwd=tmp_path, check=True)


def test_what_packages_import_of_the_library_comes_compiled(tmp_path: Path) -> None:
    program = [sys.executable, "deploy/images/library.py", str(tmp_path)]
    subprocess.run(program, cwd=ROOT, check=True)
    name = Path(importlib.util.cache_from_source(str(Path(asyncio.__file__).name)))
    head = (tmp_path / "asyncio" / name).read_bytes()[:8]
    assert head == importlib.util.MAGIC_NUMBER + bytes([1, 0, 0, 0]), "by hash, not looked at again"
    assert not list(tmp_path.rglob("site-packages"))


def test_skaffold_builds_an_image_of_each_service() -> None:
    if SKAFFOLD_SCHEMA.exists():  # it is not part of the project
        run("check-jsonschema", "--schemafile", str(SKAFFOLD_SCHEMA), "skaffold.yaml")
    artifacts = read("skaffold.yaml")["build"]["artifacts"]
    built = {artifact["image"]: artifact["docker"]["buildArgs"] for artifact in artifacts}
    assert built == {f"quartet-{service}": {"SERVICE": service} for service in SERVICES}


def test_skaffold_syncs_to_where_the_dev_overlay_runs_the_code() -> None:
    patch = yaml.safe_load((DEV / "reload.yaml").read_text())
    (container,) = patch["spec"]["template"]["spec"]["containers"]
    _, _, image, code, module = container["command"]
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert f"WORKDIR {image}\n" in dockerfile
    assert f'ENTRYPOINT ["python", "-m", "{module}"]' in dockerfile
    for artifact in read("skaffold.yaml")["build"]["artifacts"]:
        rules = artifact["sync"]["manual"]
        assert {rule["src"] for rule in rules} == {"services/**/*.py", "shared/**/*.py"}
        assert {rule["dest"] for rule in rules} == {code}


def test_a_tag_publishes_an_image_of_each_service() -> None:
    job = read(".github/workflows/publish.yml")["jobs"]["image"]
    assert set(job["strategy"]["matrix"]["service"]) == set(SERVICES)
    (build,) = (step["with"] for step in job["steps"] if "build-args" in step.get("with", {}))
    given = {line.partition("=")[0] for line in build["build-args"].splitlines()}
    known = set(re.findall(r"^ARG (\w+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE))
    assert given == known - {"PIP_INDEX_URL", "SKAFFOLD_RUN_MODE"}


def test_compose_runs_every_service_and_opens_to_this_machine_alone() -> None:
    run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", "compose.yaml")
    services = read("compose.yaml")["services"]
    for service in SERVICES:
        assert services[service]["build"]["args"] == {"SERVICE": service}
        given = services[service]["environment"]
        if "signing-keys" in services[service].get("secrets", []):
            given |= {"USERS_SIGNING_KEYS": (DEV / "signing-keys.json").read_text()}
        load(settings_type(service), service, given)
    for service in services.values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_compose_has_the_servers_of_the_cluster() -> None:
    components = (ROOT / "deploy" / "k8s" / "components").rglob("*.yaml")
    used = {
        image
        for path in components
        for image in re.findall(r"^ +image: (\S+)$", path.read_text(), re.MULTILINE)
    }
    assert used <= {service["image"] for service in read("compose.yaml")["services"].values()}


def test_the_workflow_is_one_that_its_runner_accepts() -> None:
    workflows = [str(path) for path in (ROOT / ".github" / "workflows").glob("*.yml")]
    run("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *workflows)


PROGRAM = """
import pathlib, signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
pathlib.Path({said!r}).write_text({text!r})
signal.pause()
"""


@asynccontextmanager
async def reloaded(image: Path, code: Path, *module: str) -> AsyncIterator[Process]:
    """The module, as a pod of `skaffold dev` runs it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(DEV / "reload.py"), str(image), str(code), *module
    )
    try:
        yield process
    finally:
        process.terminate()
        async with asyncio.timeout(10):
            await process.wait()


async def test_a_pod_of_skaffold_dev_runs_what_was_edited(tmp_path: Path) -> None:
    image, code, said = tmp_path / "image", tmp_path / "code", tmp_path / "said"
    image.mkdir()
    code.mkdir()
    code.chmod(0o2777)  # as the volume of a pod, which is not its user's to change
    (image / "service.py").write_text(PROGRAM.format(said=str(said), text="as built"))

    async def says(text: str) -> bool:
        return said.exists() and said.read_text() == text

    async with reloaded(image, code, "service") as process:
        await until(lambda: says("as built"))
        assert stat.S_IMODE(code.stat().st_mode) == 0o2777
        (code / "service.py").write_text(PROGRAM.format(said=str(said), text="as edited"))
        await until(lambda: says("as edited"))
    assert process.returncode == 7, "the exit code of the service is that of the container"


async def test_a_pod_of_skaffold_debug_takes_a_debugger_after_each_edit(tmp_path: Path) -> None:
    image, code, said = tmp_path / "image", tmp_path / "code", tmp_path / "said"
    image.mkdir()
    code.mkdir()
    patch = yaml.safe_load((DEV.parent / "debug" / "debugger.yaml").read_text())
    (container,) = patch["spec"]["template"]["spec"]["containers"]
    port = free_port()
    command = [part.replace(":5678", f":{port}") for part in container["command"][4:]]
    (image / "service.py").write_text(PROGRAM.format(said=str(said), text="as built"))

    async def says(text: str) -> bool:
        return said.exists() and said.read_text() == text

    async with reloaded(image, code, *command) as process:
        await until(lambda: says("as built"))
        assert await attached(port)
        (code / "service.py").write_text(PROGRAM.format(said=str(said), text="as edited"))
        await until(lambda: says("as edited"))
        assert await attached(port)
    assert process.returncode == 7, "the exit code of the service is that of the container"


async def attached(port: int) -> bool:
    """Whether a debugger answers, in the Debug Adapter Protocol."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    ask = {"seq": 1, "type": "request", "command": "initialize", "arguments": {"adapterID": "test"}}
    text = json.dumps(ask).encode()
    writer.write(b"Content-Length: %d\r\n\r\n%b" % (len(text), text))
    async with asyncio.timeout(10):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            told = json.loads(await reader.readexactly(int(head.split(b":")[1])))
            if told["type"] == "response":
                writer.close()
                return bool(told["success"])
