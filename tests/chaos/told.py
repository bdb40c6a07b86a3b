"""S3, S4 and S5 by what the stream of events says: each step of a user is legal, and each Match frees a user once.

A Redis that lost data lost the events of what it forgot as well, so the stream always agrees with the data that is
there. Only two things break it off: a restore writes calls again without an event, and a fault that deletes or damages
a key changes what nobody tells. The users and Matches of such a key are left out.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, cast

from controller.api.states import USER_STATES
from tests.chaos.calls import FAILURES
from tests.support.rig import Rig

_LOOK_SECONDS = 0.5
_LEGAL = {(stage.name, way.to) for stage in USER_STATES.values() for way in stage.exits}


@dataclass
class Told:
    """`touched` has the ids of users and the UIDs of Matches whose keys a fault has changed."""

    touched: set[str] = field(default_factory=set)
    is_broken: bool = False
    """A fault has changed a key that all users share."""
    restores: list[tuple[int, int]] = field(default_factory=list)
    """Within which milliseconds of the server's clock another incarnation came."""

    def touch(self, key: str) -> None:
        """A fault has changed this key."""
        stem, _, rest = key.rpartition("}:")[2].partition(":")
        self.is_broken = self.is_broken or not rest or stem not in _OF_ONE
        self.touched.add(rest)

    async def follow(self, rig: Rig) -> None:
        """Note when Redis gets another incarnation, until cancelled."""
        known, seen_ms = await self._look(rig)
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            with contextlib.suppress(*FAILURES):
                found, now_ms = await self._look(rig)
                if found != known:
                    self.restores.append((seen_ms, now_ms + 1000))  # the moments are whole seconds
                known, seen_ms = found, now_ms

    @staticmethod
    async def _look(rig: Rig) -> tuple[str, int]:
        seconds, _ = await rig.redis.time()
        return str(await rig.redis.get(rig.keys.incarnation())), int(seconds) * 1000

    async def check(self, rig: Rig) -> int:
        """Raise AssertionError for a step that is not legal, and for a user whom one Match freed twice.

        Returns how many steps were judged.
        """
        states: dict[str, tuple[str, int]] = {}
        freed: Counter[tuple[str, str]] = Counter()
        judged = 0
        for event, at_ms in await _events(rig):
            about = event["subject"].startswith("user/")
            for one in [event["data"]] if about else event["data"].get("users", ()):
                user, state, uid = one["user"], one.get("state"), str(event["data"].get("match") or "")
                if not self.touched.isdisjoint({user, uid}):
                    states.pop(user, None)
                    continue
                if state is None:
                    continue
                before, since_ms = states.get(user, (state, at_ms))
                states[user] = state, at_ms
                if about and uid and state in {"IDLE", "WAITING"}:
                    freed[user, uid] += 1
                if state != before and not self._is_broken_off(since_ms, at_ms) and not self.is_broken:
                    judged += 1
                    assert (before, state) in _LEGAL, f"S3: {user}: {before} → {state} by {event}"
        twice = {pair for pair, times in freed.items() if times > 1}
        assert self.is_broken or not twice, f"S4, S5: freed more than once: {twice}"
        return judged + len(freed)

    def _is_broken_off(self, since_ms: int, at_ms: int) -> bool:
        """Whether Redis may have got another incarnation between two events."""
        return any(begin <= at_ms and since_ms <= end for begin, end in self.restores)


_OF_ONE = {"user", "match", "notify", "recent", "tokens", "session", "room", "room-deleted", "blocked"}


async def _events(rig: Rig) -> list[tuple[dict[str, Any], int]]:
    found = cast("list[tuple[str, dict[str, str]]]", await rig.redis.xrange(rig.keys.events()))
    return [(json.loads(fields["event"]), int(entry.partition("-")[0])) for entry, fields in found]
