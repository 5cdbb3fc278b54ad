"""`make images-check`: build every image, run them as the manifests do, use them, and stop them.

The containers share this machine's network with the servers that `make up` uses. All else is as in
the `staging` overlay: uid, root that can't be written, no capabilities, memory limit, settings.
"""

import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import yaml

from deploy.local.routes import settings_type
from deploy.local.stack import Stack
from deploy.local.suite import PACKAGES, PROCESSES, ROOT, SERVICES, new_key

OVERLAY = ROOT / "deploy" / "k8s" / "overlays" / "staging"
BASE = "docker.io/library/python:3.13-slim"
MOST_OVER_BASE = 78_000_000  # bytes; with the base, of about 120 MB, less than 200 MB
DEPLOYMENTS = {name: name for name in SERVICES} | {"worker": "notifications-worker"}
RUN = f"quartet-check-{uuid4().hex[:8]}"


def engine() -> list[str] | None:
    """What runs containers here; None where nothing does."""
    if shutil.which("docker") and _quiet(["docker", "info"]).returncode == 0:
        return ["docker"]
    if shutil.which("podman") and shutil.which("buildah"):
        runtime = ["--runtime=runc"] if shutil.which("runc") else []
        return ["podman", "--cgroup-manager=cgroupfs", "--events-backend=file", *runtime]
    return None


def _quiet(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def _said(command: list[str]) -> str:
    done = _quiet(command)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command[:4])} … failed:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return done.stdout.strip()


def build(run: list[str], service: str) -> str:
    """Build the image of a service, and say how large it is."""
    image, argument = f"quartet-{service}", ["--build-arg", f"SERVICE={service}"]
    begun = time.monotonic()
    if run[0] == "docker":
        _said(["docker", "pull", "--quiet", BASE])  # or it could not be measured
        _said(["docker", "build", *argument, "-t", image, "."])
    else:  # a base that was made here can't be pulled
        here = _quiet(["buildah", "inspect", "--type=image", BASE]).returncode == 0
        how = ["--isolation=chroot", "--network=host", "--format=docker", "--layers"]
        never = ["--pull-never"] if here else []
        _said(["buildah", "bud", *how, *never, *argument, "-t", image, "."])
    size, base = (_size(run, name) for name in (image, BASE))
    if size - base > MOST_OVER_BASE:
        sys.exit(
            f"{image} adds {(size - base) / 1e6:.0f} MB to its base: trim.py has to find more."
        )
    seconds = time.monotonic() - begun
    return f"{image}: {size / 1e6:.0f} MB, {(size - base) / 1e6:.0f} over its base; {seconds:.0f} s"


def _size(run: list[str], image: str) -> int:
    return int(_said([*run, "image", "inspect", "--format", "{{.Size}}", image]))


@cache
def manifests() -> dict[tuple[str, str], Any]:
    """The resources of the overlay, by kind and name."""
    kubectl = Path(sys.executable).with_name("kubectl")
    rendered = yaml.safe_load_all(_said([str(kubectl), "kustomize", str(OVERLAY)]))
    return {(item["kind"], item["metadata"]["name"]): item for item in rendered}


def pod(process: str) -> Any:
    """What a pod of the process is."""
    return manifests()["Deployment", DEPLOYMENTS[process]]["spec"]["template"]["spec"]


def settings() -> dict[str, str]:
    """What the manifests tell all services, but for where things are: that is this machine."""
    (suite,) = (
        item["data"]
        for (kind, _), item in manifests().items()
        if kind == "ConfigMap" and "QUARTET_ENV" in item["data"]
    )
    places = ("_FILE", "_URL", "_ENDPOINT")
    own = {name: value for name, value in suite.items() if not name.endswith(places)}
    return own | {
        "NOTIFICATIONS_PUBLIC_URL": suite["QUARTET_PUBLIC_URL"],
        "USERS_SIGNING_KEYS": json.dumps({"keys": [new_key()]}),
        "QUARTET_NATS_REPLICAS": "1",
        "QUARTET_LIMITS": "on",
    }


def command(run: list[str], process: str) -> tuple[str, ...]:
    """What starts the process in a container, with the manifests' restrictions."""
    service = PACKAGES.get(process, process)
    spec, (container,) = pod(process)["securityContext"], pod(process)["containers"]
    fields = settings_type(service).__struct_fields__
    names = [f"{prefix}_{field}".upper() for prefix in (service, "quartet") for field in fields]
    shares = {volume["name"]: volume for volume in pod(process)["volumes"]}
    size = shares["tmp"]["emptyDir"]["sizeLimit"].removesuffix("i").lower()
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["securityContext"]["readOnlyRootFilesystem"]
    return (
        *(*run, "run", "--pull=never", "--network=host", "--read-only", "--cap-drop=all"),
        *("--security-opt=no-new-privileges", f"--user={spec['runAsUser']}:{spec['runAsGroup']}"),
        f"--memory={container['resources']['limits']['memory'].removesuffix('i').lower()}",
        *(f"--tmpfs=/tmp:size={size}", "--ulimit=nofile=4096:4096", "--ulimit=nproc=1024:1024"),
        *(f"--label={RUN}={process}", *(f"--env={name}" for name in names)),
        *(f"--env=OTEL_{name}" for name in ("SERVICE_NAME", "EXPORTER_OTLP_ENDPOINT")),
        f"quartet-{service}",
        *([process] if process in PACKAGES else []),
    )


async def journey(url: str) -> None:
    """Two people, an article, and word of it: through all four services and the worker's queue."""
    async with aiohttp.ClientSession(f"{url}/api/", raise_for_status=True) as session:

        async def send(method: str, path: str, token: str = "", body: Any = None) -> Any:
            headers = {"Authorization": f"Token {token}"} if token else {}
            async with session.request(method, path, json=body, headers=headers) as reply:
                return await reply.json(content_type=None)

        async def register(name: str) -> str:
            user = {"username": name, "email": f"{name}@example.org", "password": "correct horse"}
            return str((await send("POST", "users", body={"user": user}))["user"]["token"])

        writer, reader = await register("ada"), await register("bob")
        article = {"title": "Notes", "description": "Numbers", "body": "Algebra.", "tagList": ["a"]}
        await send("POST", "profiles/ada/follow", reader)
        slug = (await send("POST", "articles", writer, {"article": article}))["article"]["slug"]
        assert (await send("GET", "articles/feed", reader))["articlesCount"] == 1
        await send("POST", f"articles/{slug}/favorite", reader)
        async with asyncio.timeout(20):
            while len((await send("GET", "notifications", writer))["notifications"]) < 2:  # noqa: ASYNC110  (over HTTP)
                await asyncio.sleep(0.1)


async def probe(stack: Stack) -> None:
    """Ask each container what the kubelet would."""
    async with aiohttp.ClientSession(raise_for_status=True) as session:
        for process in PROCESSES:
            (container,) = pod(process)["containers"]
            for name in ("startup", "liveness", "readiness"):
                path = container[f"{name}Probe"]["httpGet"]["path"]
                async with session.get(f"{stack.addresses.services[process]}{path}"):
                    pass


async def stop(run: list[str], stack: Stack, process: str) -> str:
    """End one as the kubelet does; it has to end by itself, with 0, within its grace period."""
    grace = pod(process)["terminationGracePeriodSeconds"]
    begun = time.monotonic()
    await stack.services[process].stop(grace)
    seconds = time.monotonic() - begun
    newest = [*run, "ps", "--all", "--quiet", "--no-trunc", f"--filter=label={RUN}={process}"]
    container = _said(newest).splitlines()[0]
    code = _said([*run, "inspect", "--format", "{{.State.ExitCode}}", container])
    if code != "0" or seconds >= grace:
        sys.exit(f"{process} ended with {code} after {seconds:.1f} s of {grace}.")
    return f"{process}: probed, used, ended with 0 after {seconds:.1f} s of {grace}"


async def use(run: list[str]) -> None:
    """Run all images together."""
    with tempfile.TemporaryDirectory() as folder:
        stack = Stack(Path(folder), told=settings(), command=lambda name: command(run, name))
        async with stack:
            await probe(stack)
            await journey(stack.url)
            print(f"a journey through {stack.url} went well", flush=True)
            for said in await asyncio.gather(*(stop(run, stack, name) for name in PROCESSES)):
                print(said, flush=True)


def main() -> None:
    """Do all of it, or say why not."""
    run = engine()
    if run is None:
        print("images-check was skipped: neither Docker nor podman and buildah can run here.")
        return
    for service in SERVICES:
        print(build(run, service), flush=True)
    try:
        asyncio.run(use(run))
    finally:
        left = _quiet([*run, "ps", "--all", "--quiet", f"--filter=label={RUN}"]).stdout.split()
        if left:
            _quiet([*run, "rm", "--force", *left])


if __name__ == "__main__":
    main()
