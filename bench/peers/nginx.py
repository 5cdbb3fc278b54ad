"""nginx as a limit: what forwarding, and answering from a cache, cost a program written in C."""

import os
from pathlib import Path

_FRAME = """
daemon off;
{user}
pid {folder}/nginx.pid;
error_log stderr warn;
worker_processes 1;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  sendfile on;
  tcp_nopush on;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  keepalive_requests 1000000;
{inner}
}}
"""
_SMALL = """
  server {{
    listen 127.0.0.1:{port};
    location / {{ default_type application/json; return 200 '{{"tags":["python","asyncio"]}}'; }}
  }}
"""
_FORWARD = """
  upstream behind {{ server {behind}; keepalive 64; keepalive_requests 1000000; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://behind;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto $scheme;
{kept}
    }}
  }}
"""
_ZONE = "  proxy_cache_path {folder}/kept keys_zone=kept:10m;\n"
_KEPT = """
      proxy_cache kept;
      proxy_cache_valid 200 1h;
      proxy_ignore_headers Cache-Control Expires Set-Cookie Vary;
"""


def small(folder: Path, port: int) -> str:
    """A server of one small reply, whatever the path."""
    return _framed(folder, _SMALL.format(port=port))


def forward(folder: Path, port: int, behind: str) -> str:
    """A server that forwards to `behind`, host and port, on connections that are kept."""
    return _framed(folder, _FORWARD.format(port=port, behind=behind, kept=""))


def cache(folder: Path, port: int, behind: str) -> str:
    """The same, and it keeps the replies."""
    server = _FORWARD.format(port=port, behind=behind, kept=_KEPT)
    return _framed(folder, _ZONE.format(folder=folder) + server)


def _framed(folder: Path, inner: str) -> str:
    # Under root, nginx would work as a user that may not read the folder.
    user = "user root;" if os.geteuid() == 0 else ""
    return _FRAME.format(folder=folder, user=user, inner=inner)
