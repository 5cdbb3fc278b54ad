"""Three services in one process, and people who use them without pause."""

import random
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Self
from uuid import UUID, uuid4

import asyncpg
from quart import Quart
from quart.typing import TestClientProtocol

import services.content.app
import services.content.settings
import services.notifications.app
import services.notifications.settings
import services.users.app
import services.users.settings
from deploy.local.servers import Servers
from deploy.local.state import State
from deploy.local.suite import secrets
from shared.testing import Signer, clean_database, serving

NAMES = ("users", "content", "notifications")
Rows = set[tuple[Any, ...]]


class Community:
    """What runs, and its databases. People act at random, by `dice`."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.apps: dict[str, Quart] = {}
        self.clients: dict[str, TestClientProtocol] = {}
        self.databases: dict[str, asyncpg.Pool] = {}
        self.tokens: dict[str, str] = {}
        self._stack = AsyncExitStack()

    @classmethod
    async def start(cls, servers: Servers, folder: Path) -> Self:
        """Everything, empty."""
        community = cls(random.Random(7))
        community._signer = Signer(folder)
        signs = secrets(State(folder))
        keys = signs.signing_keys.read_text()
        for name in NAMES:
            url = await clean_database(servers.admin_url, name, "shared", f"services.{name}")
            told: Any = {"database_url": url, "nats_url": servers.nats_url, "env": "test"}
            if name == "users":
                told |= {"signing_keys": keys, "hash_memory_kib": 64, "hash_time_cost": 1}
            else:
                told["jwks_url"] = community._signer.jwks_url
            if name == "notifications":
                told["unsubscribe_key"] = signs.unsubscribe_key
            service: Any = getattr(services, name)
            app = service.app.create_app(service.settings.Settings(**told))
            community.apps[name] = app
            community.clients[name] = await community._stack.enter_async_context(serving(app))
            pool = asyncpg.create_pool(url, min_size=0, max_size=4)
            community.databases[name] = await community._stack.enter_async_context(pool)
        return community

    async def stop(self) -> None:
        """End all."""
        await self._stack.aclose()

    async def rows(self, name: str, query: str) -> Rows:
        """What a service's database says."""
        return {tuple(row) for row in await self.databases[name].fetch(query)}

    async def act(self) -> None:
        """Somebody does something; that some things are refused is life."""
        deeds = (self.register, self.rename, self.follow, self.unfollow, self.publish, self.revise)
        await self.dice.choice(deeds)()

    async def register(self) -> None:
        """Somebody joins."""
        name = f"member-{uuid4().hex[:12]}"
        user = {"username": name, "email": f"{name}@example.org", "password": "correct horse"}
        reply = await self.clients["users"].post("/api/users", json={"user": user})
        assert reply.status_code == 201
        self.tokens[reply.headers["Quartet-Account"]] = (await reply.get_json())["user"]["token"]

    async def rename(self) -> None:
        """Somebody changes their name and says something else of themselves."""
        changes = {"username": f"renamed-{uuid4().hex[:12]}", "bio": uuid4().hex}
        await self._ask("users", "PUT", "/api/user", {"user": changes})

    async def follow(self) -> None:
        """Somebody follows somebody."""
        name = await self._anybody()
        await self._ask("users", "POST", f"/api/profiles/{name}/follow")

    async def unfollow(self) -> None:
        """Somebody follows somebody no longer."""
        pairs = sorted(await self.rows("users", _FOLLOWS))
        if pairs:
            follower, name = self.dice.choice(pairs)
            path = f"/api/profiles/{name}/follow"
            await self._ask("users", "DELETE", path, account=str(follower))

    async def publish(self) -> None:
        """Somebody publishes an article."""
        article = {"title": f"On {uuid4().hex}", "description": "d", "body": "b", "tagList": ["t"]}
        await self._ask("content", "POST", "/api/articles", {"article": article})

    async def revise(self) -> None:
        """Somebody changes or deletes an article of theirs."""
        articles = sorted(await self.rows("content", "SELECT author_id, slug FROM articles"))
        if articles:
            author, slug = self.dice.choice(articles)
            method = self.dice.choice(("PUT", "PUT", "DELETE"))
            changes = {"article": {"title": f"Of {uuid4().hex}"}}
            await self._ask("content", method, f"/api/articles/{slug}", changes, str(author))

    async def _anybody(self) -> str:
        names = sorted(await self.rows("users", "SELECT username FROM accounts"))
        return str(self.dice.choice(names)[0])

    async def _ask(
        self, name: str, method: str, path: str, json: Any = None, account: str | None = None
    ) -> None:
        account = account or self.dice.choice(sorted(self.tokens))
        headers = self._signer.headers(UUID(account))
        if name == "users":
            headers = {"Authorization": f"Token {self.tokens[account]}"}
        options = {} if json is None else {"json": json}
        reply = await self.clients[name].open(path, method=method, headers=headers, **options)
        assert reply.status_code != 500, await reply.get_data()

    _signer: Signer


_FOLLOWS = """SELECT follower_id, username
                FROM follows JOIN accounts ON accounts.id = followee_id"""
