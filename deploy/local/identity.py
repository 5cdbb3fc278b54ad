"""Who PostgreSQL runs as: it refuses to run as root."""

import os
import pwd
import shutil
import sys
from pathlib import Path

from deploy.local.errors import CannotStart
from deploy.local.program import Identity

# Bits of the effective set in /proc/self/status (capabilities(7)): the smaller power comes first.
CAPABILITIES = {"dac_read_search": 2, "dac_override": 1}


def for_postgres(data: Path, binaries: Path, stop_signal: str) -> Identity | None:
    """The identity to take on, or None when we are not root.

    Root becomes the owner of the data, or `nobody` for new ones. Where that user may not pass
    through the folders (a checkout under /root), it gets the one capability to do so.

    Raises `CannotStart` when there is no way to give it that."""
    if os.geteuid() != 0:
        return None
    user = _owner(data) or pwd.getpwnam("nobody")
    if all(_lets_pass(folder, user) for path in (data.parent, binaries) for folder in path.parents):
        return Identity(user.pw_uid, user.pw_gid)
    capability = next((name for name in CAPABILITIES if _holds(name)), None)
    setpriv = shutil.which("setpriv")
    if capability is None or setpriv is None:
        raise CannotStart(
            f"PostgreSQL must not run as root, and the user {user.pw_name} may not enter "
            f"{data.parent}: move the checkout and QUARTET_STATE to where other users may go, "
            "or set QUARTET_POSTGRES_URL to a server."
        )
    return Identity(user.pw_uid, user.pw_gid, _prefix(setpriv, user, capability, stop_signal))


def _prefix(
    setpriv: str, user: pwd.struct_passwd, capability: str, stop_signal: str
) -> tuple[str, ...]:
    only = f"-all,+{capability}"
    return (
        setpriv,
        f"--reuid={user.pw_uid}",
        f"--regid={user.pw_gid}",
        "--clear-groups",
        "--no-new-privs",
        # access(2) drops the capabilities of who is not root, unless told not to fix things up.
        "--securebits=+no_setuid_fixup",
        f"--inh-caps={only}",
        f"--ambient-caps={only}",
        f"--bounding-set={only}",
        f"--pdeathsig={stop_signal}",
    )


def _owner(data: Path) -> pwd.struct_passwd | None:
    try:
        owner = data.stat().st_uid
    except FileNotFoundError:
        return None
    return pwd.getpwuid(owner) if owner != 0 else None


def _lets_pass(folder: Path, user: pwd.struct_passwd) -> bool:
    status = folder.stat()
    if status.st_uid == user.pw_uid:
        return bool(status.st_mode & 0o100)
    return bool(status.st_mode & (0o010 if status.st_gid == user.pw_gid else 0o001))


def _holds(capability: str) -> bool:
    if sys.platform != "linux":
        return False
    status = Path("/proc/self/status").read_text()
    effective = next(line for line in status.splitlines() if line.startswith("CapEff:"))
    return bool(int(effective.split()[1], 16) >> CAPABILITIES[capability] & 1)
