"""What the service can be told, and what its README says of that."""

import re
from pathlib import Path

import msgspec
import pytest

from services.users.settings import Settings
from shared.settings import SettingsError, load

REQUIRED = {"USERS_DATABASE_URL": "postgresql://db/users", "USERS_SIGNING_KEYS": "{}"}


def test_what_is_not_told_has_a_default() -> None:
    settings = load(Settings, "users", REQUIRED)
    assert (settings.port, settings.token_ttl, settings.hash_threads) == (8001, 604_800, 2)


def test_keys_may_come_from_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "keys.json"
    secret.write_text('{"keys": []}\n')
    environ = {
        "QUARTET_DATABASE_URL": "postgresql://db/users",
        "USERS_SIGNING_KEYS_FILE": str(secret),
    }
    assert load(Settings, "users", environ).signing_keys == '{"keys": []}'


@pytest.mark.parametrize(
    "name", ["TOKEN_TTL", "HASH_MEMORY_KIB", "HASH_TIME_COST", "HASH_PARALLELISM", "HASH_THREADS"]
)
def test_none_of_it_can_be_nothing(name: str) -> None:
    with pytest.raises(SettingsError, match=f"^USERS_{name}: "):
        load(Settings, "users", REQUIRED | {f"USERS_{name}": "0"})


def test_the_readme_tells_every_setting_and_its_default() -> None:
    readme = Path(__file__).parents[1].joinpath("README.md").read_text()
    told = dict(re.findall(r"^\| `USERS_([A-Z0-9_]+)` \| ([^|]+) \|", readme, re.MULTILINE))
    defaults = {
        field.name.upper(): "required"
        if field.required
        else ("none" if field.default == "" else f"`{field.default}`")
        for field in msgspec.structs.fields(Settings)
    }
    assert told == defaults
