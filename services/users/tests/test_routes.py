"""Every operation and every status, as clients see them."""

import asyncio
from typing import Any
from urllib.parse import quote, urlencode
from uuid import uuid4

import asyncpg
import pytest
from openapi_spec_validator import validate

from services.users.passwords import Passwords, Threads
from services.users.settings import Settings
from services.users.tests.conftest import Costs
from services.users.tests.people import PASSWORD, Person, faults, succeeded
from services.users.tests.signing import SigningKey
from shared.auth import Verifier, public_keys

BLANK = ["can't be blank"]
TAKEN = ["has already been taken"]


async def test_a_registration_answers_the_account_and_a_token(nobody: Person) -> None:
    name = f"Ada {uuid4()}"
    user = {"username": name, "email": f"{uuid4()}@Example.org", "password": PASSWORD}
    response = await nobody.send("POST", "/api/users", {"user": user | {"bio": "x", "id": 7}})
    body = await succeeded(response)
    token = body["user"].pop("token")
    assert response.status_code == 201
    assert body == {"user": {"username": name, "email": user["email"], "bio": "", "image": ""}}
    assert response.headers["Quartet-Position"].startswith("users=")
    assert response.headers["Cache-Control"] == "no-store"
    account = (await nobody.with_token(token).get("/api/user"))["user"]
    assert account == body["user"] | {"token": token}


async def test_a_registration_that_is_sent_again_gets_the_same_token(nobody: Person) -> None:
    user = {"username": f"Ada {uuid4()}", "email": f"{uuid4()}@example.org", "password": PASSWORD}
    key = {"Idempotency-Key": str(uuid4())}
    together = [nobody.send("POST", "/api/users", {"user": user}, headers=key) for _ in range(3)]
    responses = await asyncio.gather(*together)
    responses.append(await nobody.send("POST", "/api/users", {"user": user}, headers=key))
    assert {response.status_code for response in responses} == {201}
    assert len({await response.get_data() for response in responses}) == 1
    for name in ("Quartet-Position", "Quartet-Account", "Content-Type", "Cache-Control"):
        assert len({response.headers[name] for response in responses}) == 1
    again = await faults(await nobody.send("POST", "/api/users", {"user": user}))
    assert TAKEN in again.values()


async def test_a_token_names_the_account_in_the_header(nobody: Person) -> None:
    ada = await nobody.registered()
    keys = public_keys(await nobody.get("/.well-known/jwks.json"))
    assert (await Verifier(keys).verify(ada.token)).id == ada.id


async def test_names_are_taken_in_any_form(nobody: Person, ada: Person) -> None:
    user = {"username": ada.username, "email": ada.email.upper(), "password": PASSWORD}
    response = await nobody.send("POST", "/api/users", {"user": user | {"username": f"{uuid4()}"}})
    assert await faults(response) == {"email": TAKEN, "body": []}
    user |= {"username": ada.username.upper(), "email": f"{uuid4()}@example.org"}
    response = await nobody.send("POST", "/api/users", {"user": user})
    assert await faults(response) == {"username": TAKEN, "body": []}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"username": ""}, {"username": BLANK}),
        ({"username": " \t"}, {"username": BLANK}),
        ({"username": None, "email": None}, {"username": BLANK, "email": BLANK}),
        ({"username": 7}, {"username": ["must be of type str"]}),
        ({"username": "x" * 65}, {"username": ["is too long (maximum is 64 characters)"]}),
        ({"username": "a/b"}, {"username": ["is invalid"]}),
        ({"email": ["a@b"]}, {"email": ["must be of type str"]}),
        ({"email": "nowhere"}, {"email": ["is invalid"]}),
        ({"email": "a@" + "b" * 253}, {"email": ["is too long (maximum is 254 characters)"]}),
        ({"password": "1234567"}, {"password": ["is too short (minimum is 8 characters)"]}),
        ({"password": "x" * 129}, {"password": ["is too long (maximum is 128 characters)"]}),
        ({"password": ""}, {"password": ["is too short (minimum is 8 characters)"]}),
    ],
)
async def test_what_does_not_fit_is_named(
    nobody: Person, changes: dict[str, Any], expected: dict[str, list[str]]
) -> None:
    good = {"username": f"{uuid4()}", "email": f"{uuid4()}@example.org", "password": PASSWORD}
    response = await nobody.send("POST", "/api/users", {"user": good | changes})
    assert await faults(response) == expected | {"body": []}


async def test_what_is_absent_is_named(nobody: Person) -> None:
    response = await nobody.send("POST", "/api/users", {"user": {}})
    assert await faults(response) == {
        "username": BLANK,
        "email": BLANK,
        "password": BLANK,
        "body": [],
    }
    assert await faults(await nobody.send("POST", "/api/users", {})) == {"user": BLANK, "body": []}


async def test_a_login_answers_a_token(nobody: Person, ada: Person) -> None:
    user = {"email": ada.email.upper(), "password": PASSWORD}
    response = await nobody.send("POST", "/api/users/login", {"user": user})
    body = await succeeded(response)
    assert (response.status_code, body["user"]["email"]) == (200, ada.email)
    assert response.headers["Quartet-Account"] == str(ada.id)
    assert await nobody.with_token(body["user"]["token"]).get("/api/user")


async def test_a_wrong_login_does_not_tell_what_is_wrong(nobody: Person, ada: Person) -> None:
    for email, password in ((ada.email, "x"), (f"{uuid4()}@example.org", PASSWORD), ("?", "?")):
        user = {"email": email, "password": password}
        response = await nobody.send("POST", "/api/users/login", {"user": user})
        assert await faults(response, 401) == {"credentials": ["invalid"], "body": []}


async def test_a_blank_login_is_named(nobody: Person) -> None:
    response = await nobody.send(
        "POST", "/api/users/login", {"user": {"email": "", "password": ""}}
    )
    assert await faults(response) == {"email": BLANK, "password": BLANK, "body": []}
    user = {"email": "a@b", "password": "x" * 129}
    response = await nobody.send("POST", "/api/users/login", {"user": user})
    assert (await faults(response)).keys() == {"password", "body"}


async def test_a_login_renews_a_hash_of_other_parameters(
    nobody: Person, ada: Person, settings: Settings
) -> None:
    threads = Threads(1, 0)
    old = Settings(database_url="", signing_keys="", hash_memory_kib=32, hash_time_cost=2)
    weak = await Passwords(old, threads).hash(PASSWORD)
    threads.stop()
    db = await asyncpg.connect(settings.database_url)
    await db.execute("UPDATE accounts SET password_hash = $2 WHERE id = $1", ada.id, weak)
    login = {"user": {"email": ada.email, "password": PASSWORD}}
    await succeeded(await nobody.send("POST", "/api/users/login", login))
    kept = await db.fetchval("SELECT password_hash FROM accounts WHERE id = $1", ada.id)
    await db.close()
    assert kept.startswith("$argon2id$v=19$m=64,t=1,p=1$")
    await succeeded(await nobody.send("POST", "/api/users/login", login))


async def test_a_change_is_answered_and_kept(ada: Person) -> None:
    wanted = {"bio": "Écrit.", "image": "https://example.org/a.png", "username": f"{uuid4()}"}
    response = await ada.send("PUT", "/api/user", {"user": wanted})
    body = await succeeded(response)
    assert body == {"user": wanted | {"email": ada.email, "token": ada.token}}
    assert "Quartet-Position" in response.headers
    assert await ada.get("/api/user") == body


async def test_null_empties_bio_and_image(ada: Person) -> None:
    await succeeded(await ada.send("PUT", "/api/user", {"user": {"bio": "x", "image": "y"}}))
    response = await ada.send("PUT", "/api/user", {"user": {"bio": None, "image": ""}})
    user = (await succeeded(response))["user"]
    assert (user["bio"], user["image"]) == ("", "")


async def test_no_change_is_no_fault_and_no_event(ada: Person) -> None:
    response = await ada.send("PUT", "/api/user", {"user": {}})
    assert await succeeded(response) == await ada.get("/api/user")
    assert "Quartet-Position" not in response.headers


async def test_a_name_may_change_its_case(ada: Person) -> None:
    louder = ada.username.upper()
    await succeeded(await ada.send("PUT", "/api/user", {"user": {"username": louder}}))
    assert (await ada.get(f"/api/profiles/{ada.username}"))["profile"]["username"] == louder


async def test_a_new_password_replaces_the_old(nobody: Person, ada: Person) -> None:
    await succeeded(await ada.send("PUT", "/api/user", {"user": {"password": "battery staple"}}))
    for password, status in ((PASSWORD, 401), ("battery staple", 200)):
        login = {"user": {"email": ada.email, "password": password}}
        response = await nobody.send("POST", "/api/users/login", login)
        assert response.status_code == status
    assert await ada.get("/api/user")


@pytest.mark.parametrize("field", ["username", "email", "password"])
@pytest.mark.parametrize("value", ["", None, 7, "x" * 300])
async def test_a_change_that_does_not_fit_is_named(ada: Person, field: str, value: Any) -> None:
    response = await ada.send("PUT", "/api/user", {"user": {field: value, "bio": "not kept"}})
    assert (await faults(response)).keys() == {field, "body"}
    assert (await ada.get("/api/user"))["user"]["bio"] == ""


@pytest.mark.parametrize(("field", "value"), [("username", "a/b"), ("email", "nowhere")])
async def test_a_changed_name_is_valid(ada: Person, field: str, value: str) -> None:
    response = await ada.send("PUT", "/api/user", {"user": {field: value}})
    assert await faults(response) == {field: ["is invalid"], "body": []}


async def test_somebody_elses_name_is_taken(ada: Person, bob: Person) -> None:
    response = await ada.send("PUT", "/api/user", {"user": {"username": bob.username.title()}})
    assert await faults(response) == {"username": TAKEN, "body": []}
    response = await ada.send("PUT", "/api/user", {"user": {"email": bob.email}})
    assert await faults(response) == {"email": TAKEN, "body": []}


async def test_a_profile_is_seen_by_anybody(nobody: Person, ada: Person, bob: Person) -> None:
    path = f"/api/profiles/{ada.username.upper()}"
    profile = {"username": ada.username, "bio": "", "image": "", "following": False}
    assert await nobody.get(path) == {"profile": profile}
    assert await bob.get(path) == {"profile": profile}


async def test_many_profiles_come_in_the_order_of_their_names(
    nobody: Person, ada: Person, bob: Person
) -> None:
    await succeeded(await bob.send("POST", f"/api/profiles/{ada.username}/follow"))
    names = [bob.username, "nobody", ada.username.upper(), bob.username]
    path = "/api/profiles?" + urlencode({"username": names}, doseq=True)
    found = (await bob.get(path))["profiles"]
    assert [one and (one["username"], one["following"]) for one in found] == [
        (bob.username, False),
        None,
        (ada.username, True),
        (bob.username, False),
    ]
    assert not any(one and one["following"] for one in (await nobody.get(path))["profiles"])


async def test_profiles_are_asked_for_by_a_hundred_names_at_most(nobody: Person) -> None:
    assert await faults(await nobody.send("GET", "/api/profiles")) == {
        "username": ["can't be blank"],
        "body": [],
    }
    path = "/api/profiles?" + "&".join(["username=x"] * 101)
    said = await faults(await nobody.send("GET", path))
    assert said == {"username": ["has too many entries (maximum is 100)"], "body": []}


async def test_a_follow_shows(nobody: Person, ada: Person, bob: Person) -> None:
    path = f"/api/profiles/{ada.username}"
    first = await bob.send("POST", f"{path}/follow")
    assert (await succeeded(first))["profile"]["following"]
    assert "Quartet-Position" in first.headers
    again = await bob.send("POST", f"{path}/follow")
    assert (again.status_code, "Quartet-Position" in again.headers) == (200, False)
    assert (await bob.get(path))["profile"]["following"]
    assert not (await nobody.get(path))["profile"]["following"]
    for _ in range(2):
        left = await succeeded(await bob.send("DELETE", f"{path}/follow"))
        assert left == {"profile": (await nobody.get(path))["profile"]}
    assert not (await bob.get(path))["profile"]["following"]


async def test_a_name_of_any_script_has_a_profile(nobody: Person) -> None:
    ada = await nobody.registered(username=f"李 {uuid4()}?#%.")
    seen = await nobody.get(f"/api/profiles/{quote(ada.username, safe='')}")
    assert seen["profile"]["username"] == ada.username


FOLLOW = [("POST", "/follow"), ("DELETE", "/follow")]


@pytest.mark.parametrize(("method", "end"), [("GET", ""), *FOLLOW])
async def test_the_unknown_is_404_and_the_endless_422(ada: Person, method: str, end: str) -> None:
    response = await ada.send(method, f"/api/profiles/nobody-at-all{end}")
    assert await faults(response, 404) == {"profile": ["not found"], "body": []}
    response = await ada.send(method, f"/api/profiles/{'x' * 65}{end}")
    assert (await faults(response)).keys() == {"username", "body"}


async def test_oneself_can_not_be_followed(ada: Person) -> None:
    response = await ada.send("POST", f"/api/profiles/{ada.username}/follow")
    assert await faults(response) == {"profile": ["can't be yourself"], "body": []}


async def test_the_key_set_is_public(nobody: Person, current_key: SigningKey) -> None:
    response = await nobody.send("GET", "/.well-known/jwks.json")
    keys = (await succeeded(response))["keys"]
    assert [key["kid"] for key in keys] == ["current", "next"]
    assert keys[0]["x"] == current_key.jwk["x"]
    assert not any("d" in key for key in keys)
    assert response.headers["Cache-Control"] == "public, max-age=60"


async def test_no_route_costs_more_statements_than_it_needs(
    ada: Person, bob: Person, costs: Costs
) -> None:
    """BEGIN and COMMIT count."""
    user, path = {"email": ada.email, "password": PASSWORD}, f"/api/profiles/{bob.username}"
    costs.clear()
    await ada.registered()
    await ada.send("POST", "/api/users/login", {"user": user})
    await ada.send("GET", "/api/user")
    await ada.send("PUT", "/api/user", {"user": {"bio": "changed"}})
    await ada.send("GET", path)
    await ada.send("POST", f"{path}/follow")
    await ada.send("DELETE", f"{path}/follow")
    await ada.send("GET", "/.well-known/jwks.json")
    assert costs == [
        ("/api/users", 4),
        ("/api/users/login", 1),
        ("/api/user", 1),
        ("/api/user", 5),
        ("/api/profiles/<username>", 1),
        ("/api/profiles/<username>/follow", 5),
        ("/api/profiles/<username>/follow", 5),
        ("/.well-known/jwks.json", 0),
    ]


async def test_the_openapi_document_is_valid(nobody: Person) -> None:
    document = await nobody.get("/openapi.json")
    validate(document)
    login = document["paths"]["/api/users/login"]["post"]["responses"]
    assert login["401"]["content"].keys() == {"application/problem+json"}
