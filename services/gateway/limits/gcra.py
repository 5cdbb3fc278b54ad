"""The generic cell rate algorithm: one instant a key, moved on by each request that is let in.

In Valkey for all gateways together, by its clock; in this process where Valkey does not answer.
"""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

import msgspec
from redis.asyncio import Redis
from redis.exceptions import NoScriptError

MOST_KEYS = 10_000
MOST_A_SECOND = 10_000  # of one quota: steps are whole microseconds, and so are right to 1 %
# Each key holds the instant, in microseconds, when its quota will be whole again. A request moves
# it on by one step, unless it would then be further away than the window; where one key refuses,
# none is moved. The reply holds, for each key, what `Verdict` is made of.
_SCRIPT = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local full, refused = {}, false
for i, key in ipairs(KEYS) do
  full[i] = math.max(tonumber(redis.call('GET', key) or now), now)
  refused = refused or full[i] + ARGV[2 * i - 1] - ARGV[2 * i] > now
end
local said = {}
for i, key in ipairs(KEYS) do
  if not refused then
    full[i] = full[i] + ARGV[2 * i - 1]
    redis.call('SET', key, string.format('%.0f', full[i]),
               'PX', math.ceil((full[i] - now) / 1000))
  end
  said[i] = full[i] - now
end
return {refused and 0 or 1, said}
"""
_SHA = hashlib.sha1(_SCRIPT.encode(), usedforsecurity=False).hexdigest()  # its name in Valkey


class Policy(msgspec.Struct, frozen=True):
    """`quota` requests at once, and as many in each `window` of seconds, evenly, thereafter."""

    name: str
    quota: int
    window: int

    @property
    def step(self) -> int:
        """Microseconds until one more request may come."""
        return self.window * 1_000_000 // self.quota


class Charge(msgspec.Struct, frozen=True):
    """A request counts against the quota that `policy` gives to `who`."""

    policy: Policy
    who: str

    @property
    def key(self) -> str:
        """Where Valkey keeps it."""
        return f"limit:{self.policy.name}:{self.who}"


class Verdict(msgspec.Struct, frozen=True):
    """How a quota stands: it is whole again in `full_in` microseconds."""

    policy: Policy
    full_in: int

    @property
    def full_in_seconds(self) -> int:
        """Whole seconds until the quota is whole again."""
        return -(-self.full_in // 1_000_000)

    @property
    def remaining(self) -> int:
        """Requests that may come at once."""
        return max(0, (self.policy.window * 1_000_000 - self.full_in) // self.policy.step)

    @property
    def is_used_up(self) -> bool:
        """Whether no request may come."""
        return self.full_in + self.policy.step > self.policy.window * 1_000_000

    @property
    def wait(self) -> int:
        """Whole seconds until the next request may come."""
        missing = self.full_in + self.policy.step - self.policy.window * 1_000_000
        return max(0, -(-missing // 1_000_000))


Answer = tuple[bool, list[Verdict]]


async def charge_together(valkey: Redis, charges: Sequence[Charge]) -> Answer:
    """Whether the request may pass, and how each quota stands; counted by all gateways."""
    keys = [charge.key for charge in charges]
    numbers = [n for c in charges for n in (c.policy.step, c.policy.window * 1_000_000)]
    try:
        said = await valkey.evalsha(_SHA, len(keys), *keys, *numbers)
    except NoScriptError:
        said = await valkey.eval(_SCRIPT, len(keys), *keys, *numbers)
    verdicts = [Verdict(c.policy, full_in) for c, full_in in zip(charges, said[1], strict=True)]
    return bool(said[0]), verdicts


class Alone:
    """The same, counted by this process. The keys that were charged the longest ago are forgotten
    when there are too many.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._full: OrderedDict[str, int] = OrderedDict()

    def charge(self, charges: Sequence[Charge]) -> Answer:
        """Whether the request may pass, and how each quota stands now."""
        now = int(self._clock() * 1_000_000)
        before = [Verdict(c.policy, max(0, self._full.get(c.key, now) - now)) for c in charges]
        if any(verdict.is_used_up for verdict in before):
            return False, before
        after = []
        for charge, verdict in zip(charges, before, strict=True):
            full_in = verdict.full_in + charge.policy.step
            self._keep(charge.key, now + full_in)
            after.append(Verdict(charge.policy, full_in))
        return True, after

    def follow(self, charges: Sequence[Charge], theirs: Answer) -> Answer:
        """Take over how all gateways together have judged a request that was charged here already.
        Where more was counted here, that stands: the others are not told of all.
        """
        allowed, verdicts = theirs
        now, stand = int(self._clock() * 1_000_000), []
        for charge, verdict in zip(charges, verdicts, strict=True):
            ours = max(0, self._full.get(charge.key, now) - now)
            full_in = max(verdict.full_in, ours - (0 if allowed else charge.policy.step))
            self._keep(charge.key, now + full_in)
            stand.append(Verdict(charge.policy, full_in))
        return allowed, stand

    def _keep(self, key: str, full: int) -> None:
        self._full[key] = full
        self._full.move_to_end(key)
        if len(self._full) > MOST_KEYS:
            self._full.popitem(last=False)
