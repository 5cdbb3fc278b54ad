"""`make new-service`, tried on a copy of the repository."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.local.errors import CannotStart
from deploy.local.new_service import PLACES, create
from deploy.local.suite import ROOT
from deploy.local.words import Words, plural, singular

SECONDS = 120  # that a run may take at most; on two busy cores the longest takes 30


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository, without what Git ignores."""
    ignored = [line.rstrip("/") for line in (ROOT / ".gitignore").read_text().split()]
    target = tmp_path_factory.mktemp("copy") / "quartet"
    shutil.copytree(ROOT, target, ignore=shutil.ignore_patterns(".git", *ignored))
    return target


@pytest.fixture(scope="module")
def grown(copy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with two services more, of names that nobody needs; what one changed, the next must
    still find.
    """
    target = tmp_path_factory.mktemp("grown") / "quartet"
    shutil.copytree(copy, target)
    run(target, "deploy.local", "new-service", "--name=oddments")
    run(target, "deploy.local", "new-service", "--name=armoury", "--thing=helmet")
    return target


def run(root: Path, module: str, *arguments: str) -> None:
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr


def content(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_new_service_passes_its_tests_and_the_rules(grown: Path) -> None:
    services = ("services/oddments", "services/armoury")
    without = [
        f"--ignore=tests/rules/{name}" for name in ("test_new_service.py", "test_security.py")
    ]
    run(grown, "pytest", "-q", *services, "tests/rules", *without)


def test_a_new_service_is_formatted_linted_and_typed(grown: Path) -> None:
    touched = ("services/oddments", "services/armoury", "shared/events", "deploy/local/suite.py")
    run(grown, "ruff", "format", "--check", *touched)
    run(grown, "ruff", "check", *touched)
    packages = ("-p", "services.oddments", "-p", "services.armoury", "-p", "shared.events")
    run(
        grown, "mypy", *packages, "-m", "services.gateway.routes", "-m", "services.gateway.settings"
    )


def test_a_new_service_imports_no_other(grown: Path) -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    subprocess.run([linter], cwd=grown, capture_output=True, check=True, timeout=SECONDS)


def test_nothing_of_the_template_is_left_in_a_new_service(grown: Path) -> None:
    for folder in ("services/armoury", "deploy/k8s/base/armoury", "shared"):
        for path in (grown / folder).rglob("*.*"):
            if "__pycache__" not in path.parts and path.is_file():
                text = f"{path.name} {path.read_text()}".lower()
                assert "gadget" not in text, path
                assert "templates.service" not in text, path


def test_each_new_service_has_a_port_of_its_own(grown: Path) -> None:
    said = [path.read_text() for path in grown.glob("services/*/settings.py")]
    ports = [line for text in said for line in text.splitlines() if "port: int =" in line]
    assert len(set(ports)) == len(ports)


@pytest.mark.parametrize(
    ("name", "thing", "sentence"),
    [
        ("", None, "Name the service: make new-service NAME=library."),
        ("my-service", None, "one word of 3 to 20 lower-case letters"),
        ("Library", None, "one word of 3 to 20 lower-case letters"),
        ("../evil", None, "one word of 3 to 20 lower-case letters"),
        ("x" * 21, None, "one word of 3 to 20 lower-case letters"),
        ("armoury", "two words", "one word of 3 to 20 lower-case letters"),
        ("users", None, "There is a service `users` already."),
        ("gateway", None, "There is a service `gateway` already."),
        ("postgres", None, "`postgres` is the name of something else here"),
        ("check", None, "`check` is the name of something else here"),
        ("class", None, "`class` is the name of something else here"),
        ("shared", None, "`shared` is the name of something else here"),
        ("armoury", "event", "`event` means something else in the template"),
        ("armoury", "route", "`route` means something else in the template"),
        ("armoury", "article", "Another service has /api/articles already."),
        ("armoury", "class", "`class` means something else in the template"),
    ],
)
def test_a_name_that_cannot_be_is_refused_in_a_sentence(
    copy: Path, name: str, thing: str | None, sentence: str
) -> None:
    before = content(copy)
    with pytest.raises(CannotStart) as refused:
        create(copy, name, thing)
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)
    assert content(copy) == before


def test_a_refusal_is_exit_code_1(copy: Path) -> None:
    command = [sys.executable, "-m", "deploy.local", "new-service", "--name=users"]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True, timeout=SECONDS)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "There is a service `users` already.\n"


def test_a_file_that_has_no_place_for_a_service_leaves_all_as_it_was(
    copy: Path, tmp_path: Path
) -> None:
    target = tmp_path / "quartet"
    shutil.copytree(copy, target)
    (target / "skaffold.yaml").write_text("apiVersion: skaffold/v4beta13\n")
    before = content(target)
    with pytest.raises(CannotStart, match=f"{PLACES} does not fit skaffold.yaml"):
        create(target, "armoury", None)
    assert content(target) == before


@pytest.mark.parametrize(
    ("many", "one"),
    [
        ("bookmarks", "bookmark"),
        ("categories", "category"),
        ("boxes", "box"),
        ("branches", "branch"),
        ("classes", "class"),
        ("courses", "course"),
        ("keys", "key"),
    ],
)
def test_words_go_from_many_to_one_and_back(many: str, one: str) -> None:
    assert (singular(many), plural(one)) == (one, many)


@pytest.mark.parametrize("word", ["content", "status", "library", "analysis"])
def test_a_word_of_one_stays(word: str) -> None:
    assert singular(word) == word


def test_words_keep_the_case_of_those_that_they_replace() -> None:
    words = Words("library", "book", 8004)
    template = "gadgetry keeps gadgets: class Gadget, select_gadgets, GADGETRY_PORT=8009, 80090"
    assert words.into(template) == (
        "library keeps books: class Book, select_books, LIBRARY_PORT=8004, 80090"
    )
