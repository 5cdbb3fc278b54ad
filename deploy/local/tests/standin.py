"""Stands in for a service: `standin.py NAME [migrate]` answers `/readyz`, or ends at once.

`STANDIN_FAILS=NAME` makes that one end with exit code 78; `STANDIN_STUBBORN=NAME` makes it deaf
to SIGTERM; while a file NAME is in the folder `STANDIN_SICK`, it ends as soon as it begins."""

import json
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path


class Ready(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps(dict(os.environ)).encode()  # noqa: TID251 - what it was told
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        return


def main(name: str, *arguments: str) -> int:
    environ = os.environ  # noqa: TID251 - stands in for a service
    print(
        json.dumps({"service": name, "event": f"begins {arguments}", "level": "info"}), flush=True
    )
    if environ.get("STANDIN_FAILS") == name:
        return 78
    if Path(environ.get("STANDIN_SICK", "/nowhere"), name).exists():
        return 1
    if arguments == ("migrate",):
        return 0
    deaf = environ.get("STANDIN_STUBBORN") == name
    signal.signal(signal.SIGTERM, signal.SIG_IGN if deaf else lambda *_: sys.exit(0))
    prefix = "NOTIFICATIONS" if name == "worker" else name.upper()
    HTTPServer(("127.0.0.1", int(environ[f"{prefix}_PORT"])), Ready).serve_forever()
    return 0


sys.exit(main(*sys.argv[1:]))
