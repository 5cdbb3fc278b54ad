"""Containers that are to this machine what the manifests' pods are to a cluster.

They have a network of their own, on which each has an address, and find one another by the names of
the manifests' Services. PostgreSQL and the rest are this machine's: a relay stands for each on the
network, at the name and port that it has in a cluster.
"""

import asyncio
import json
import secrets
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import yaml

from deploy.local.stack import Stack
from deploy.local.suite import PACKAGES, PROCESSES, ROOT, SERVICES, new_key

OVERLAY = ROOT / "deploy" / "k8s" / "overlays" / "staging"
DEPLOYMENTS = {name: name for name in SERVICES} | {"worker": "notifications-worker"}
SERVERS = {"postgres": 5432, "nats": 4222, "valkey": 6379, "collector": 4318, "mail": 1025}
# The one thing that is told otherwise than in a cluster: the mail server here wants no login.
TOLD = {
    "NOTIFICATIONS_SMTP_HOST": "mail",
    "NOTIFICATIONS_SMTP_PORT": str(SERVERS["mail"]),
    "NOTIFICATIONS_SMTP_TLS": "none",
    "NOTIFICATIONS_SMTP_USER": "",
}
_FREEBIND = 15  # IP_FREEBIND of Linux: the address comes with the first container


def quiet(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, whatever that is."""
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def said(command: list[str]) -> str:
    """What a command prints. Ends this program when it fails."""
    done = quiet(command)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command[:4])} … failed:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return done.stdout.strip()


@cache
def manifests() -> dict[tuple[str, str], Any]:
    """The resources of the overlay, by kind and name."""
    kubectl = Path(sys.executable).with_name("kubectl")
    rendered = yaml.safe_load_all(said([str(kubectl), "kustomize", str(OVERLAY)]))
    return {(item["kind"], item["metadata"]["name"]): item for item in rendered}


def pod(process: str) -> Any:
    """What a pod of the process is."""
    return manifests()["Deployment", DEPLOYMENTS[process]]["spec"]["template"]["spec"]


def container(process: str) -> Any:
    """What the container in that pod is."""
    (only,) = pod(process)["containers"]
    return only


def in_bytes(quantity: str) -> int:
    """A quantity of Kubernetes."""
    return int(quantity.removesuffix("Mi")) * 1024**2


def memory(process: str) -> int:
    """What the process may use, in bytes."""
    return in_bytes(container(process)["resources"]["limits"]["memory"])


def scratch(process: str) -> int:
    """How large its folder for files is, in bytes."""
    (size,) = (v["emptyDir"]["sizeLimit"] for v in pod(process)["volumes"] if v["name"] == "tmp")
    return in_bytes(size)


def told(process: str) -> dict[str, str]:
    """The environment that the manifests give it."""
    maps = [source["configMapRef"]["name"] for source in container(process)["envFrom"]]
    read = {
        name: text for each in maps for name, text in manifests()["ConfigMap", each]["data"].items()
    }
    given = {one["name"]: one["value"] for one in container(process)["env"] if "value" in one}
    pod_name = f"{process}-0"
    own = {name: text.replace("$(POD_NAME)", pod_name) for name, text in given.items()}
    return read | own | {name: text for name, text in TOLD.items() if name in read}


@dataclass
class Network:
    """A network for one run of the suite, and the containers on it."""

    run: list[str]
    folder: Path
    name: str = field(default_factory=lambda: f"quartet-check-{uuid4().hex[:8]}")
    _prefix: str = field(default_factory=lambda: f"10.211.{secrets.randbelow(256)}")

    @property
    def host(self) -> str:
        """This machine's address on it."""
        return f"{self._prefix}.1"

    @asynccontextmanager
    async def opened(self, stack: Callable[[], Stack]) -> AsyncIterator[None]:
        """Make it, lead to the servers of the stack, and leave nothing of it."""
        said(
            [
                *self.run,
                "network",
                "create",
                f"--subnet={self._prefix}.0/24",
                f"--gateway={self.host}",
                self.name,
            ]
        )
        try:
            async with AsyncExitStack() as relays:
                for server, port in SERVERS.items():
                    place = cache(lambda server=server: _port(stack(), server))
                    await relays.enter_async_context(_relay(self.host, port, place))
                yield
        finally:
            if left := self._containers(f"label={self.name}"):
                quiet([*self.run, "rm", "--force", *left])
            quiet([*self.run, "network", "rm", self.name])

    def running(self, process: str) -> str:
        """The container of the process; what migrated for it has ended, and is another."""
        (only,) = self._containers(f"label={self.name}={process}", "status=running")
        return only

    def _containers(self, *filters: str) -> list[str]:
        asked = [f"--filter={each}" for each in filters]
        return said([*self.run, "ps", "--all", "--quiet", "--no-trunc", *asked]).splitlines()

    def command(self, process: str, stack: Stack) -> tuple[str, ...]:
        """What starts the process in a container, with all that the manifests say of its pod."""
        own = container(process)
        user = pod(process)["securityContext"]
        ports = {port["name"]: port["containerPort"] for port in own["ports"]}
        outside = urlsplit(stack.addresses.services[process]).port
        return (
            *(*self.run, "run", "--pull=never", f"--label={self.name}={process}"),
            *(f"--network={self.name}", f"--ip={self._address(process)}", *self._hosts()),
            f"--publish=127.0.0.1:{outside}:{ports['http']}",
            *self._restrictions(process),
            f"--user={user['runAsUser']}:{user['runAsGroup']}",
            f"--memory={memory(process)}",
            f"--tmpfs=/tmp:size={scratch(process)}",
            f"--volume={self._secrets(process, stack)}:/etc/quartet:ro",
            *(f"--env={name}={text}" for name, text in told(process).items()),
            *(own["image"], *own.get("args", [])),
        )

    def look(self, process: str) -> dict[str, Any]:
        """What the container of the process is, by `inside.py`."""
        program = (ROOT / "deploy" / "images" / "inside.py").read_text()
        found: dict[str, Any] = json.loads(
            said([*self.run, "exec", self.running(process), "python", "-c", program])
        )
        return found

    def _address(self, process: str) -> str:
        return f"{self._prefix}.{10 + PROCESSES.index(process)}"

    def _hosts(self) -> list[str]:
        """The names of the manifests' Services, and of the servers in a cluster."""
        names = {name for kind, name in manifests() if kind == "Service"}
        places = {name: self._address(name) for name in SERVICES if name in names}
        places |= dict.fromkeys(SERVERS, self.host)
        return [f"--add-host={name}:{address}" for name, address in places.items()]

    def _restrictions(self, process: str) -> list[str]:
        context = container(process)["securityContext"]
        # Docker leaves /run as it is; podman would put something there that can be written.
        strict = ["--read-only-tmpfs=false"] if self.run[0] == "podman" else []
        asked = {
            "--read-only": context["readOnlyRootFilesystem"],
            "--security-opt=no-new-privileges": not context["allowPrivilegeEscalation"],
        }
        dropped = [f"--cap-drop={name.lower()}" for name in context["capabilities"]["drop"]]
        limits = ["--ulimit=nofile=4096:4096", "--ulimit=nproc=1024:1024"]
        return [*(option for option, on in asked.items() if on), *strict, *dropped, *limits]

    def _secrets(self, process: str, stack: Stack) -> Path:
        """A folder of those Secrets that the pod has, and no other."""
        (volume,) = (v["projected"] for v in pod(process)["volumes"] if v["name"] == "secrets")
        folder = self.folder / process
        folder.mkdir(mode=0o755, exist_ok=True)
        values = _values(process, stack)
        for item in (item for source in volume["sources"] for item in source["secret"]["items"]):
            path = folder / item["path"]
            if not path.exists():
                path.write_text(values[item["key"]])
        return folder


def _values(process: str, stack: Stack) -> Mapping[str, str]:
    package, addresses = PACKAGES.get(process, process), stack.addresses
    return {
        "database-url": _from_inside(addresses.databases.get(package, ""), "postgres"),
        "nats-url": _from_inside(addresses.nats, "nats"),
        "redis-url": _from_inside(addresses.redis, "valkey"),
        "signing-keys": json.dumps({"keys": [new_key()]}),
        "unsubscribe-key": stack.state.secret("unsubscribe links"),
        "smtp-password": "",
    }


def _from_inside(url: str, server: str) -> str:
    place = urlsplit(url)
    login, at, _ = place.netloc.rpartition("@")
    return place._replace(netloc=f"{login}{at}{server}:{SERVERS[server]}").geturl()


def _port(stack: Stack, server: str) -> int:
    servers = stack.servers
    urls = {
        "postgres": servers.admin_url,
        "nats": servers.nats_url,
        "valkey": servers.redis_url,
        "collector": servers.otlp_endpoint,
        "mail": servers.smtp_url,
    }
    return int(urlsplit(urls[server]).port or 0)


@asynccontextmanager
async def _relay(host: str, port: int, to: Callable[[], int]) -> AsyncIterator[None]:
    """Lead who connects there to a port of this machine's loopback."""

    async def lead(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", to())
        except OSError:
            writer.close()
            return
        await asyncio.gather(_pass_on(reader, back), _pass_on(there, writer))

    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_IP, _FREEBIND, 1)
    listener.bind((host, port))
    server = await asyncio.start_server(lead, sock=listener)
    try:
        yield
    finally:
        server.close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass  # the other side is gone, and so this one goes
    finally:
        writer.close()
