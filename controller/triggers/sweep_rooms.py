"""The rooms of LiveKit in a light sweep: those that are left over for long enough are closed.

A room with our mark whose Room is gone stays open for as long as its clients stay. A client can also make a room again
after its end, where `auto_create` is on; such a room has no mark, and only its tombstone says that it was ours. Nothing
wakes a key for either of them. Neighbors: `triggers.sweep` calls this, `views.livekit` has the rooms,
`backends.leftover_rooms` says which are left over, `backends.cleaning` closes them.
"""

from __future__ import annotations

import asyncio

from controller.backends.bundle import Backends
from controller.backends.cleaning import Cleaner
from controller.backends.leftover_rooms import RoomFinder
from controller.backends.servers import Server
from controller.facts.leftover import Leftover, SweepKind
from controller.telemetry.pulse import Pulse
from controller.triggers.sweep_tally import SweepTally
from controller.triggers.sweep_work import in_turn

_ROOMS_PER_ROUND = 100
# One that is being closed stays listed for a while, and another client may close it meanwhile.
_OLD_SECONDS = 45.0


class RoomSweep:
    """Sweeps all LiveKit servers, every `interval_seconds`."""

    def __init__(self, backends: Backends, finder: RoomFinder, cleaner: Cleaner, interval_seconds: float) -> None:
        self._backends = backends
        self._finder = finder
        self._cleaner = cleaner
        self._old_seconds = min(_OLD_SECONDS, interval_seconds)
        self._without_room: dict[str, float] = {}
        self._last_unmarked: dict[str, str] = {}

    @property
    def next_due_at(self) -> float | None:
        """When the next room that was found will have been without its Room for long enough; by the loop's clock."""
        return min(self._without_room.values()) + self._old_seconds if self._without_room else None

    async def sweep(self, pulse: Pulse, tally: SweepTally) -> None:
        """One round: a budget of rooms."""
        await self._sweep_marked(pulse, tally)
        await self._sweep_revived(pulse, tally)

    async def _sweep_marked(self, pulse: Pulse, tally: SweepTally) -> None:
        """Close marked rooms whose Room is gone for longer than a room can be without one."""
        now = asyncio.get_running_loop().time()
        found = {
            leftover.id: leftover
            for server in self._backends.servers
            for leftover in self._finder.marked(server.name, server.view.listed())
        }
        self._without_room = {name: self._without_room.get(name, now) for name in found}
        due = [name for name, since in self._without_room.items() if now - since >= self._old_seconds]
        for name in due[:_ROOMS_PER_ROUND]:
            await self._close(found[name], pulse, tally)
            # A budget that other rooms wait for must not go to this one again at once.
            self._without_room[name] = now

    async def _sweep_revived(self, pulse: Pulse, tally: SweepTally) -> None:
        """Close rooms that a client has made again after their end."""
        for server in self._backends.servers:
            names = self._in_turn(server)
            for namespace in self._backends.pools.namespaces() if names else ():
                found = list[list[Leftover]]()
                with pulse.item("to look for rooms that were made again", namespace=namespace):
                    pool = self._backends.pools.opened(namespace)
                    found.append(await self._finder.revived(server.name, names, pool))
                if not found:
                    tally.failed(SweepKind.ROOMS)
                for leftover in found[0] if found else ():
                    await self._close(leftover, pulse, tally)

    async def _close(self, leftover: Leftover, pulse: Pulse, tally: SweepTally) -> None:
        """Close one room, and count it: closed, left alone, or failed."""
        pulse.beat()
        was_closed = list[bool]()
        with pulse.item("to close a room that is left over", room=leftover.id):
            was_closed.append(await self._cleaner.clean(leftover))
        if not was_closed or was_closed[0]:  # else it has its Room, or a mark
            tally.found(SweepKind.ROOMS)
        if not was_closed:
            tally.failed(SweepKind.ROOMS)
        elif was_closed[0]:
            tally.cleaned(SweepKind.ROOMS)

    def _in_turn(self, server: Server) -> list[str]:
        """The unmarked rooms of this round: those after the last one of the round before, and then from the first."""
        turn = in_turn(server.view.unmarked, self._last_unmarked.get(server.name, ""))[:_ROOMS_PER_ROUND]
        self._last_unmarked[server.name] = turn[-1] if turn else ""
        return turn
