"""`make security`, by a service that knows of one weakness, and by none."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from deploy.local.suite import ROOT

HASH = "--hash=sha256:58cd2187c01e70e6e26505bca751777aa9f2ee0b7f4300988b709f44e013003f"
WEAKNESS = {
    "id": "PYSEC-0",
    "affected": [
        {
            "package": {"name": "requests", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2.32"}]}],
        }
    ],
}


class Advisories(BaseHTTPRequestHandler):
    """Answers as osv.dev does: old versions of requests have a weakness."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        body = json.dumps({"vulns": [WEAKNESS]} if asked["version"].startswith("2.31") else {})
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@pytest.fixture
def advisories() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Advisories) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.05,))
        serving.start()
        yield f"http://127.0.0.1:{server.server_port}/v1/query"
        server.shutdown()
        serving.join()


def audit(folder: Path, version: str, url: str) -> subprocess.CompletedProcess[str]:
    lock = folder / "some.lock"
    lock.write_text(f"requests=={version} \\\n    {HASH}\n")
    command = [sys.executable, "-m", "deploy.local", "security", f"--osv-url={url}", str(lock)]
    ours = os.environ | {"NO_PROXY": "127.0.0.1"}  # noqa: TID251 - handed on, not read
    return subprocess.run(command, cwd=ROOT, env=ours, capture_output=True, text=True)


def test_an_old_package_fails_by_its_name(advisories: str, tmp_path: Path) -> None:
    done = audit(tmp_path, "2.31.0", advisories)
    heading, line = done.stdout.splitlines()
    assert heading.split() == ["PACKAGE", "VERSION", "WEAKNESS", "FIXED", "IN"]
    assert line.split() == ["requests", "2.31.0", "PYSEC-0", "2.32"]
    assert done.returncode == 1


def test_packages_without_a_weakness_pass(advisories: str, tmp_path: Path) -> None:
    done = audit(tmp_path, "2.32.4", advisories)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "None of 1 packages has a known weakness.\n"


def test_what_cannot_be_asked_proves_nothing(tmp_path: Path) -> None:
    done = audit(tmp_path, "2.32.4", "http://127.0.0.1:9/v1/query")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Weaknesses could not be looked up: ")
    assert done.stderr.count("\n") == 1
