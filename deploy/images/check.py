"""`make images-check`: build every image, run them as the manifests do, use them, and stop them.

Each container is what a pod of the `staging` overlay is, and is asked from inside whether it is:
see `containers.py`.
"""

import asyncio
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp

from deploy.images.containers import (
    Network,
    container,
    memory,
    pod,
    quiet,
    said,
    scratch,
)
from deploy.local.mail import received_mails
from deploy.local.stack import Stack
from deploy.local.suite import PROCESSES, SERVICES

BASE = "docker.io/library/python:3.13-slim"
MOST = 200_000_000  # bytes, of an image, also on a base that was made by `stand-in.sh`


def engine() -> list[str] | None:
    """What runs containers here; None where nothing does."""
    if shutil.which("docker") and quiet(["docker", "info"]).returncode == 0:
        return ["docker"]
    # Without root, podman has no network that this machine is on too.
    if shutil.which("podman") and shutil.which("buildah") and os.geteuid() == 0:
        runtime = ["--runtime=runc"] if shutil.which("runc") else []
        return ["podman", "--cgroup-manager=cgroupfs", "--events-backend=file", *runtime]
    return None


def build(run: list[str], service: str) -> str:
    """Build the image of a service, and say how large it is."""
    image, argument = f"quartet-{service}", ["--build-arg", f"SERVICE={service}"]
    begun = time.monotonic()
    if run[0] == "docker":
        said(["docker", "pull", "--quiet", BASE])  # or it could not be measured
        said(["docker", "build", *argument, "-t", image, "."])
    else:  # a base that was made here can't be pulled
        here = quiet(["buildah", "inspect", "--type=image", BASE]).returncode == 0
        how = ["--isolation=chroot", "--network=host", "--format=docker", "--layers"]
        never = ["--pull-never"] if here else []
        said(["buildah", "bud", *how, *never, *argument, "-t", image, "."])
    size, base = (_size(run, name) for name in (image, BASE))
    if size >= MOST:
        sys.exit(f"{image} has {size / 1e6:.1f} MB; it has to be under {MOST / 1e6:.0f} MB.")
    seconds = time.monotonic() - begun
    return f"{image}: {size / 1e6:.0f} MB, {(size - base) / 1e6:.0f} over its base; {seconds:.0f} s"


def _size(run: list[str], image: str) -> int:
    return int(said([*run, "image", "inspect", "--format", "{{.Size}}", image]))


async def journey(url: str, mail: Path) -> None:
    """Two people, an article, and word of it: through all four services, and a mail."""
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
            while not list(received_mails(mail)):  # noqa: ASYNC110  (of the worker, to a folder)
                await asyncio.sleep(0.1)


async def probe(stack: Stack) -> None:
    """Ask each container what the kubelet would."""
    async with aiohttp.ClientSession(raise_for_status=True) as session:
        for process in PROCESSES:
            for name in ("startup", "liveness", "readiness"):
                path = container(process)[f"{name}Probe"]["httpGet"]["path"]
                async with session.get(f"{stack.addresses.services[process]}{path}"):
                    pass


def look(network: Network, process: str) -> str:
    """Compare what the container is with what the manifests say of it."""
    found, user = network.look(process), pod(process)["securityContext"]
    peak = found.pop("peak")
    asked = {
        "command": ["python", "-m", "service", *container(process).get("args", [])],
        "users": [user["runAsUser"]],
        "groups": [user["runAsGroup"]],
        "capabilities": 0,
        "no_new_privileges": True,
        "seccomp": True,
        "memory": memory(process),
        "read_only": True,
        "writable": ["/tmp"],  # noqa: S108 - the manifests' one folder for files
        "scratch": scratch(process),
        "uncompiled": [],
    }
    wrong = [
        f"{name} is {found[name]}, not {asked[name]}"
        for name in asked
        if found[name] != asked[name]
    ]
    if wrong:
        sys.exit(f"The container of {process} is not what the manifests say: {'; '.join(wrong)}.")
    used = f"; {peak / 1e6:.0f} MB" if peak else ""
    return f"{process}: as the manifests say{used} of {memory(process) / 1e6:.0f} MB"


async def stop(network: Network, stack: Stack, process: str) -> str:
    """End one as the kubelet does; it has to end by itself, with 0, within its grace period."""
    grace, one = pod(process)["terminationGracePeriodSeconds"], network.running(process)
    begun = time.monotonic()
    await stack.services[process].stop(grace)
    seconds = time.monotonic() - begun
    code = said([*network.run, "inspect", "--format", "{{.State.ExitCode}}", one])
    if code != "0" or seconds >= grace:
        sys.exit(f"{process} ended with {code} after {seconds:.1f} s of {grace}.")
    return f"{process}: ended with 0 after {seconds:.1f} s of {grace}"


async def use(run: list[str]) -> None:
    """Run all images together."""
    with tempfile.TemporaryDirectory() as folder:
        network = Network(run, Path(folder))
        stack = Stack(Path(folder, "stack"), command=lambda name: network.command(name, stack))
        async with network.opened(lambda: stack), stack:
            await probe(stack)
            await journey(stack.url, stack.servers.mail_dir)
            print(f"a journey through {stack.url} went well", flush=True)
            for process in PROCESSES:
                print(look(network, process), flush=True)
            for words in await asyncio.gather(*(stop(network, stack, name) for name in PROCESSES)):
                print(words, flush=True)


def main() -> None:
    """Do all of it, or say why not."""
    run = engine()
    if run is None:
        print(
            "images-check was skipped: neither Docker runs here, nor buildah and podman for root."
        )
        return
    for service in SERVICES:
        print(build(run, service), flush=True)
    asyncio.run(use(run))


if __name__ == "__main__":
    main()
