from random import Random

import asyncpg

from services.content.queries.counters import recount
from services.content.tests.members import Join, Member, miscounted


async def act(dice: Random, members: list[Member], slugs: list[str]) -> None:
    """One deed of one member, that may as well be refused."""
    member, slug = dice.choice(members), dice.choice(slugs or ["no-such-article"])
    tags = [f"dice {n}" for n in dice.sample(range(6), dice.randrange(5))]
    deeds = ["POST", "POST", "PUT", "DELETE", "favorite", "favorite", "favorite", "unfavorite"]
    path = f"/articles/{slug}"
    match dice.choice(deeds):
        case "POST":
            slugs.append((await member.publish("Dice", tagList=tags))["slug"])
            return
        case "PUT":
            title = f"Dice {dice.randrange(3)}"
            change = dice.choice([{"tagList": tags}, {"title": title, "tagList": tags}])
            reply = await member.send("PUT", path, {"article": change})
        case "DELETE":
            reply = await member.send("DELETE", path)
        case "favorite":
            reply = await member.send("POST", f"{path}/favorite")
        case _:
            reply = await member.send("DELETE", f"{path}/favorite")
    assert reply.status in (200, 204, 403, 404)


async def test_counters_equal_what_they_count_after_whatever_happens(
    db: asyncpg.Connection, join: Join
) -> None:
    dice, slugs = Random(7), list[str]()
    members = [await join() for _ in range(4)]
    for _ in range(20):
        for _ in range(15):
            await act(dice, members, slugs)
        assert await miscounted(db) == []


async def test_a_recount_finds_what_was_counted(db: asyncpg.Connection, author: Member) -> None:
    slug = (await author.publish(tagList=[author.id.hex]))["slug"]
    await author.send("POST", f"/articles/{slug}/favorite")
    async with db.transaction():
        await db.execute(
            """DELETE FROM tags; DELETE FROM account_counts;
               UPDATE article_counts SET articles = 7; UPDATE articles SET favorites_count = 7"""
        )
        assert await miscounted(db) != []
        await recount(db)
        assert await miscounted(db) == []
