"""Known weaknesses of the locked packages, as pip-audit finds them."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from deploy.local.errors import CannotStart

HEADINGS = ("PACKAGE", "VERSION", "WEAKNESS", "FIXED IN")


class Weakness(msgspec.Struct, frozen=True):
    """One that is published, and the versions that no longer have it."""

    id: str
    fix_versions: list[str] = []


class Package(msgspec.Struct, frozen=True):
    """What is known of a package; `skip_reason` says why nothing is."""

    name: str
    version: str = ""
    vulns: list[Weakness] = []
    skip_reason: str = ""


class Report(msgspec.Struct, frozen=True):
    """What pip-audit says."""

    dependencies: list[Package]


def audit(locks: Sequence[Path], osv_url: str | None) -> list[Package]:
    """The locked packages, each looked up at PyPI, or at a service that speaks as OSV does.

    Raises `CannotStart` when not every package could be looked up: nothing is proven then.
    """
    service = ["--vulnerability-service=osv", f"--osv-url={osv_url}"] if osv_url else []
    files = [f"--requirement={lock}" for lock in locks]
    options = ["--require-hashes", "--disable-pip", "--progress-spinner=off", "--format=json"]
    command = [sys.executable, "-m", "pip_audit", *files, *options, *service]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        found = msgspec.json.decode(done.stdout, type=Report).dependencies
    except msgspec.DecodeError:
        reason = done.stderr.strip().rpartition("\n")[2] or "pip-audit said nothing"
        raise CannotStart(f"Weaknesses could not be looked up: {reason}") from None
    skipped = [package for package in found if package.skip_reason]
    if skipped:
        raise CannotStart(
            f"{len(skipped)} of {len(found)} packages could not be looked up: "
            f"{skipped[0].skip_reason}."
        )
    return found


def lines(packages: Sequence[Package]) -> Iterator[tuple[str, ...]]:
    """For people: a line for each weakness."""
    for package in packages:
        for weakness in package.vulns:
            fixed = ", ".join(weakness.fix_versions) or "none yet"
            yield package.name, package.version, weakness.id, fixed
