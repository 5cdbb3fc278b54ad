"""HTTP in, one call, HTTP out."""

from datetime import UTC, datetime

from quart import Blueprint, Response
from uuid_utils.compat import uuid7

from services.users import accounts, model, names, schema
from services.users.passwords import passwords
from services.users.queries import find_account, find_account_by_email, update_password_hash
from services.users.tokens import tokens
from shared import tags
from shared.auth import caller, invalid_token, viewer
from shared.database import connection, transaction
from shared.errors import Problem
from shared.http import body, operation, query, reply
from shared.tags import tagged

AUTHENTICATION = "User and Authentication"
PROFILE = "Profile"
users = Blueprint("users", __name__)


@users.post("/api/users")
@operation(
    "CreateUser",
    "Register",
    access="public",
    tag=AUTHENTICATION,
    body=schema.NewUserRequest,
    returns={201: schema.UserResponse},
)
async def register() -> Response:
    wanted = (await body(schema.NewUserRequest)).user
    names.check(wanted.username, wanted.email)
    account = model.Account(
        id=uuid7(),
        email=wanted.email,
        username=wanted.username,
        password_hash=await passwords().hash(wanted.password),
        bio="",
        image="",
    )
    now = datetime.now(UTC)
    async with transaction() as db:
        await accounts.register(db, account, now)
    return _with_token(account, now, 201)


@users.post("/api/users/login")
@operation(
    "Login",
    "Get a token",
    access="public",
    tag=AUTHENTICATION,
    body=schema.LoginUserRequest,
    returns={200: schema.UserResponse, 401: Problem},
)
async def login() -> Response:
    given = (await body(schema.LoginUserRequest)).user
    async with connection() as db:
        found = await find_account_by_email(db, names.key(given.email))
    account = await accounts.proven(found, given.password, passwords())
    if passwords().outdated(account.password_hash):
        await _strengthen(account, given.password)
    return _with_token(account, datetime.now(UTC), 200)


@users.get("/api/user")
@operation(
    "GetCurrentUser",
    "The caller's account",
    access="required",
    tag=AUTHENTICATION,
    returns={200: schema.UserResponse},
)
async def current() -> Response:
    async with connection() as db:
        account = await find_account(db, caller().id)
    if account is None:
        raise invalid_token()
    return _own(account, caller().token)


@users.put("/api/user")
@operation(
    "UpdateCurrentUser",
    "Change the caller's account",
    access="required",
    tag=AUTHENTICATION,
    body=schema.UpdateUserRequest,
    returns={200: schema.UserResponse},
)
async def update() -> Response:
    wanted = (await body(schema.UpdateUserRequest)).user
    names.check(wanted.username, wanted.email)
    password_hash = await passwords().hash(wanted.password) if wanted.password else None
    async with transaction() as db:
        account = await accounts.update(db, caller().id, wanted, password_hash, datetime.now(UTC))
    return _own(account, caller().token)


@users.get("/api/profiles")
@operation(
    "GetProfiles",
    "What others see of several accounts",
    access="optional",
    tag=PROFILE,
    query=schema.Names,
    returns={200: schema.MultipleProfiles},
)
async def profiles() -> Response:
    wanted, who = query(schema.Names), viewer()
    async with connection() as db:
        found = await accounts.profiles(db, wanted.username, who.id if who else None)
    seen = [None if each is None else _seen(each) for each in found]
    return reply(schema.MultipleProfiles(profiles=seen))


@users.get("/api/profiles/<username>")
@operation(
    "GetProfileByUsername",
    "What others see of an account",
    access="optional",
    tag=PROFILE,
    returns={200: schema.ProfileResponse},
)
async def profile(username: str) -> Response:
    who = viewer()
    async with connection() as db:
        found = await accounts.profile(db, username, who.id if who else None)
    return _profile(found)


@users.post("/api/profiles/<username>/follow")
@operation(
    "FollowUserByUsername",
    "Follow somebody",
    access="required",
    tag=PROFILE,
    returns={200: schema.ProfileResponse},
)
async def follow(username: str) -> Response:
    async with transaction() as db:
        followee = await accounts.follow(db, caller().id, username, datetime.now(UTC))
    return _profile(followee)


@users.delete("/api/profiles/<username>/follow")
@operation(
    "UnfollowUserByUsername",
    "Follow somebody no longer",
    access="required",
    tag=PROFILE,
    returns={200: schema.ProfileResponse},
)
async def unfollow(username: str) -> Response:
    async with transaction() as db:
        followee = await accounts.unfollow(db, caller().id, username, datetime.now(UTC))
    return _profile(followee)


@users.get("/.well-known/jwks.json")
@operation(
    "SigningKeys",
    "The public keys of tokens (RFC 7517)",
    access="public",
    tag="Operations",
    returns={200: None},
)
async def jwks() -> Response:
    return reply(tokens().jwks, Cache_Control="public, max-age=60")


async def _strengthen(account: model.Account, password: str) -> None:
    """Keep the proven password with the parameters of today."""
    fresh = await passwords().hash(password)
    async with transaction() as db:
        await update_password_hash(db, account.id, account.password_hash, fresh)


def _with_token(account: model.Account, now: datetime, status: int) -> Response:
    """The gateway learns from `Quartet-Account` whose position it has to remember: the request
    had no token to tell.
    """
    response = _own(account, tokens().issue(account.id, now), status)
    response.headers["Quartet-Account"] = str(account.id)
    return response


def _own(account: model.Account, token: str, status: int = 200) -> Response:
    user = schema.User(
        email=account.email,
        token=token,
        username=account.username,
        bio=account.bio,
        image=account.image,
    )
    return reply(schema.UserResponse(user=user), status, Cache_Control="no-store")


def _profile(found: model.Profile) -> Response:
    response = reply(schema.ProfileResponse(profile=_seen(found)))
    return tagged(response, [tags.author(found.username)])


def _seen(found: model.Profile) -> schema.Profile:
    return schema.Profile(
        username=found.username, bio=found.bio, image=found.image, following=found.following
    )
