"""What a newcomer meets first: make, and a Python that may not do."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from deploy.local.suite import ROOT


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """As much of the project as the set-up needs, with nothing installed."""
    (tmp_path / "deploy" / "local").mkdir(parents=True)
    shutil.copy(ROOT / "deploy/local/setup.sh", tmp_path / "deploy/local/setup.sh")
    shutil.copy(ROOT / "Makefile", tmp_path / "Makefile")
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    return tmp_path


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {"PATH": os.defpath}
    return subprocess.run(
        ["make", *arguments], cwd=folder, env=environ, capture_output=True, text=True, check=False
    )


def a_python(folder: Path, script: str) -> str:
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return f"PYTHON={path}"


def test_make_alone_lists_every_target_that_people_use(checkout: Path) -> None:
    listing = make(checkout).stdout
    for target in ("setup", "up", "start", "stop", "status", "logs", "seed", "test", "check"):
        assert f"\n  {target} " in listing
    assert not (checkout / ".venv").exists()


def test_a_python_that_is_too_old_is_told(checkout: Path) -> None:
    result = make(checkout, "setup", a_python(checkout, "exit 1"))
    assert result.returncode != 0
    assert f"Python 3.11 or newer was not found at {checkout}/python" in result.stderr


def test_a_python_without_ensurepip_is_told(checkout: Path) -> None:
    refuses = 'case "$2" in *ensurepip*) exit 1;; esac'
    result = make(checkout, "setup", a_python(checkout, refuses))
    assert result.returncode != 0
    assert "lacks the modules venv and ensurepip: install them" in result.stderr


def test_what_is_installed_is_not_installed_again(checkout: Path) -> None:
    (checkout / ".venv").mkdir()
    (checkout / ".venv" / ".installed").touch()
    result = make(checkout, "setup", a_python(checkout, "exit 1"))
    assert result.returncode == 0
    assert "Everything is installed" in result.stdout
