"""Kept replies in Valkey, for all gateway processes: the second tier, and one fill at a time.

Each tag has a mark there: when it was last purged, by Valkey's clock. An entry holds when it was
asked for by the same clock, and counts only while the marks of all its tags are there and older. So
a mark that Valkey lost or evicted makes entries invalid, never a stale one valid. What was purged
lately is in one set besides, so that an entry about tags without marks can be kept: where that set
is lost, nothing that was asked for before is kept.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from hashlib import blake2b
from typing import NamedTuple, TypeVar

import msgspec
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.gateway.cache.kept import Entry
from services.gateway.valkey import WAIT
from shared.tags import EVERYTHING

LOCK_SECONDS = 3.0
_PAUSE = 1.0
_MARK_SECONDS = 7 * 24 * 3600
_RECENT_SECONDS = 60  # longer than any fill
_T = TypeVar("_T")
_log = structlog.get_logger()
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Entry).decode
_NOW = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local function written(number) return string.format('%.0f', number) end
"""
_LOOK = (
    _NOW
    + """
local found = redis.call('HMGET', KEYS[1], 'asked', 'tags', 'entry')
if found[1] then
  local names = {}
  for tag in string.gmatch(found[2], '[^ ]+') do names[#names + 1] = 'cache:tag:' .. tag end
  local marks, valid = redis.call('MGET', unpack(names)), true
  for i = 1, #names do
    if not marks[i] or tonumber(marks[i]) >= tonumber(found[1]) then valid = false end
  end
  if valid then return {found[3], '', 0} end
end
local ours = redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2])
return {false, written(now), ours and 1 or 0}
"""
)
_PUT = (
    _NOW
    + """
local asked = tonumber(ARGV[1])
local valid = redis.call('ZSCORE', 'cache:purges', '*') and asked > now - ARGV[6] * 1000000
for tag in string.gmatch(ARGV[2], '[^ ]+') do
  local last = redis.call('ZSCORE', 'cache:purges', tag)
  if last and tonumber(last) >= asked then valid = false end
end
if valid then
  for tag in string.gmatch(ARGV[2], '[^ ]+') do
    redis.call('SET', 'cache:tag:' .. tag, written(asked - 1), 'NX', 'EX', ARGV[5])
  end
  redis.call('HSET', KEYS[1], 'asked', ARGV[1], 'tags', ARGV[2], 'entry', ARGV[3])
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
end
return valid and 1 or 0
"""
)
_PURGE = (
    _NOW
    + """
redis.call('ZREMRANGEBYSCORE', 'cache:purges', '-inf', written(now - ARGV[2] * 1000000))
for i = 3, #ARGV do
  redis.call('SET', 'cache:tag:' .. ARGV[i], written(now), 'XX', 'EX', ARGV[1])
  redis.call('ZADD', 'cache:purges', written(now), ARGV[i])
end
redis.call('ZADD', 'cache:purges', 'NX', written(now), '*')
return 1
"""
)
_UNLOCK = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 1
"""


class Looked(NamedTuple):
    """What was found: an entry, or when that was, by Valkey's clock, and whether the fill is ours
    to do.
    """

    entry: Entry | None
    asked: str
    ours: bool


class Depot:
    """Entries in Valkey. It is used only while all purges that this process knows of are there."""

    def __init__(self, valkey: Redis) -> None:
        self._valkey = valkey
        self._look = valkey.register_script(_LOOK)
        self._put = valkey.register_script(_PUT)
        self._mark = valkey.register_script(_PURGE)
        self._unlock = valkey.register_script(_UNLOCK)
        self._trusted, self._distrusted = False, True
        self._pending: Counter[str] = Counter()
        self._purges: list[str] = []
        self._wake = asyncio.Event()

    async def look(self, key: bytes, token: str) -> Looked | None:
        """What is there of an entry; None while Valkey is not to be asked."""
        if not self._trusted:
            return None
        name = _name(key)
        keys, millis = [name, f"{name}:lock"], int(LOCK_SECONDS * 1000)
        said = await self._ask(lambda: self._look(keys=keys, args=[token, millis]))
        if said is None:
            return None
        if not said[0]:
            return Looked(None, said[1].decode(), said[2] == 1)
        try:
            entry = _decode(said[0])
        except msgspec.MsgspecError:  # of another version of us
            return Looked(None, "", True)
        return Looked(None if self._is_pending(entry.tags) else entry, "", False)

    async def put(self, key: bytes, entry: Entry, asked: str, seconds: float) -> None:
        """Keep an entry that was asked for at `asked`, unless it may be stale."""
        if self._trusted and asked:
            tags = " ".join((EVERYTHING, *entry.tags))
            args: list[str | bytes | int] = [asked, tags, _encode(entry)]
            args += [int(seconds * 1000), _MARK_SECONDS, _RECENT_SECONDS]
            await self._ask(lambda: self._put(keys=[_name(key)], args=args))

    async def unlock(self, key: bytes, token: str) -> None:
        """Let others fill; the lock ends by itself as well."""
        if self._trusted:
            name = f"{_name(key)}:lock"
            await self._ask(lambda: self._unlock(keys=[name], args=[token]))

    def purge(self, tags: Iterable[str]) -> None:
        """Purge soon; what is purged is not found by this process from now on."""
        purge = list(tags)
        self._pending.update(purge)
        self._purges += purge
        self._wake.set()

    def distrust(self) -> None:
        """Use nothing of Valkey's until all in it was purged."""
        self._trusted, self._distrusted = False, True
        self._wake.set()

    async def run(self) -> None:
        """Carry purges to Valkey, for ever; all is purged there whenever some may be missing."""
        while True:
            if not self._trusted and not await self._restore():
                await asyncio.sleep(_PAUSE)
            elif self._purges:
                await self._carry()
            else:
                await self._wake.wait()
                self._wake.clear()

    async def _carry(self) -> None:
        purges, self._purges = self._purges, []
        if await self._purged(purges):
            self._pending -= Counter(purges)
        else:
            self._trusted = False

    async def _restore(self) -> bool:
        """Purge all; whether that could be done, if perhaps it has to be done again."""
        self._purges.clear()
        self._pending.clear()
        self._distrusted = False
        purged = await self._purged((EVERYTHING,))
        self._trusted = purged and not self._distrusted
        return purged

    async def _purged(self, tags: Iterable[str]) -> bool:
        args: list[str | int] = [_MARK_SECONDS, _RECENT_SECONDS, *set(tags)]
        return await self._ask(lambda: self._mark(keys=[], args=args)) is not None

    def _is_pending(self, tags: Iterable[str]) -> bool:
        pending = self._pending
        return pending[EVERYTHING] > 0 or any(pending[tag] > 0 for tag in tags)

    async def _ask(self, question: Callable[[], Awaitable[_T]]) -> _T | None:
        """What Valkey answers; None where it doesn't. Then it may miss a purge, or be another
        Valkey when it answers again, and is trusted no more.
        """
        try:
            async with asyncio.timeout(WAIT):
                return await question()
        except (RedisError, OSError) as error:
            if self._trusted:
                _log.warning("valkey does not answer; replies are kept in memory only")
                _log.debug("valkey", reason=type(error).__name__)
            self.distrust()
            return None


def _name(key: bytes) -> str:
    return "cache:reply:" + blake2b(key, digest_size=20).hexdigest()


def jittered(pause: float) -> float:
    """A pause that differs from others' a little."""
    return pause * (0.75 + 0.5 * (time.perf_counter_ns() % 1024) / 1024)
