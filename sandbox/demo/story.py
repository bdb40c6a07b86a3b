"""The story, step by step: what a user does, and what must then be seen in Kubernetes, LiveKit and Redis.

A step returns a `Verified`, or raises StepFailed. Where the watch shows the action itself, the seconds of the step
count from there to its effect, so they do not include the start of `kubectl`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from sandbox.demo.checks import StepFailed, require, until
from sandbox.demo.watch import Body, Sighting, condition
from sandbox.demo.world import World
from sandbox.errors import JoinError
from sandbox.people import Person

_USERS = ("alice", "bob")
_MATCH = "match-demo"
_ROOM = "lobby"
_MATCH_FILE = "examples/match.yaml"
_ROOM_FILE = "examples/room.yaml"

# Keys that stay in Redis also without a call: the queue and its users, those of the operator, and capped streams.
_LASTING = frozenset({"queue", "user:alice", "user:bob", "incarnation", "fence:0", "heartbeats"})
_STREAMS = ("webhooks:", "events", "disconnects", "signals")


@dataclass(frozen=True)
class Verified:
    """A verified step: what was seen, how long it took, and what a user would see on the terminal."""

    detail: str
    seconds: float
    shown: tuple[str, ...] = ()


Step = tuple[str, Callable[[], Awaitable[Verified]]]


@dataclass
class Story:
    """The steps in order, and the state that one leaves for the next."""

    world: World
    match: Body = field(default_factory=dict)
    people: dict[str, Person] = field(default_factory=dict)

    def steps(self) -> tuple[Step, ...]:
        """All steps, each with its title."""
        apply_match = f"kubectl apply -f {_MATCH_FILE}"
        return (
            ("alice and bob are waiting", self.wait_in_queue),
            (apply_match, self.apply_match),
            ("both join over WebRTC", self.join),
            ("a third person tries to join", self.refuse_third),
            (f"kubectl delete match {_MATCH}", self.delete_match),
            ("the same file applied again", self.apply_match),
            ("both join again", self.join),
            ("alice skips", self.skip),
            ("the ended match is deleted", self.delete_ended),
        )

    def steps_of_a_room(self) -> tuple[Step, ...]:
        """The steps of a standing room, each with its title."""
        return (
            (f"kubectl apply -f {_ROOM_FILE}", self.apply_room),
            (f"kubectl delete room {_ROOM}", self.delete_room),
        )

    # ---- a call

    async def wait_in_queue(self) -> Verified:
        began = time.monotonic()
        for user_id in _USERS:
            await self.world.enqueue(user_id)
        at = await self.all_waiting()
        return Verified("2 in the queue", at - began)

    async def apply_match(self) -> Verified:
        world, mark = self.world, self.world.matches.mark
        said = await world.kubectl("apply", "-f", _MATCH_FILE)
        created = await world.matches.find(f"Match {_MATCH} to be created", _is("ADDED", _MATCH), after=mark)
        ready = await world.matches.find(
            f"Match {_MATCH} to be Ready", lambda seen: _named(seen, _MATCH) and seen.is_ready, after=mark
        )
        self.match = ready.body
        livekit_name = self._livekit_name
        rooms = await world.livekit_rooms()
        require(rooms == (livekit_name,), f"LiveKit to have the room {livekit_name} and no other", rooms)
        states = await world.states(*_USERS)
        require(set(states.values()) == {"CONNECTING"}, "alice and bob to be CONNECTING in Redis", states)
        queue = await world.queue()
        require(not queue, "the queue to be empty", queue)
        return Verified("Ready", ready.at - created.at, (f"$ kubectl apply -f {_MATCH_FILE}\n{said}",))

    async def join(self) -> Verified:
        world = self.world
        tokens = await world.tokens(self.match["status"]["tokens"]["secretName"])
        require(set(tokens) == set(_USERS), "the Secret to hold a token for alice and one for bob", sorted(tokens))
        self.people = {
            user_id: await world.person(tokens[user_id]["url"], tokens[user_id]["token"], user_id) for user_id in _USERS
        }
        began = time.monotonic()
        try:
            await asyncio.gather(*(person.join() for person in self.people.values()))
        except (JoinError, RuntimeError, TimeoutError) as error:
            raise StepFailed("both people to get into the room", str(error)) from error
        uid = self.match["metadata"]["uid"]
        active = await world.matches.find(
            f"Match {_MATCH} to be Active",
            lambda seen: seen.body["metadata"]["uid"] == uid and seen.phase == "Active",
        )
        connected = active.body["status"].get("connected")
        require(connected == "2/2", "status.connected to be 2/2", connected)
        in_call = await until("alice and bob to be IN_CALL in Redis", lambda: self._states_are("IN_CALL"))
        inside = await world.people_in(self._livekit_name)
        require(inside == _USERS, "LiveKit to have alice and bob in the room", inside)
        shown = await self._shown("get matches")
        return Verified("Active, 2/2, users IN_CALL", max(active.at, in_call) - began, shown)

    async def refuse_third(self) -> Verified:
        world, name = self.world, self._livekit_name
        stranger = await world.person(world.endpoints.livekit_url, world.uninvited_token("mallory", name), "mallory")
        began = time.monotonic()
        try:
            await stranger.join()
        except JoinError:
            took = time.monotonic() - began
        else:
            raise StepFailed("LiveKit to refuse mallory, since the room is for two", "mallory is in the room")
        await stranger.stop()
        inside = await world.people_in(name)
        require(inside == _USERS, "only alice and bob to be in the room", inside)
        match = await world.read("match", _MATCH)
        require(match["status"]["phase"] == "Active", "the Match to be still Active", match["status"]["phase"])
        room = match["status"]["room"]["name"]
        await world.rooms.find(
            f"Room {room} to be Occupied by 2",
            lambda seen: _named(seen, room) and seen.body.get("status", {}).get("numParticipants") == 2,
        )
        return Verified("refused, the call goes on", took, await self._shown("get rooms"))

    async def delete_match(self) -> Verified:
        world, mark = self.world, self.world.matches.mark
        said, gone, waiting = await asyncio.gather(
            world.kubectl("delete", "match", _MATCH),
            self._gone(mark),
            self.all_waiting(),
        )
        asked = await world.matches.find("the deletion to be seen", _is_being_deleted, after=mark)
        people = await self.people_were_disconnected()
        left = await self._nothing_is_left()
        shown = (f"$ kubectl delete match {_MATCH}\n{said}", f"{people}\n{left}")
        return Verified("both WAITING again, all clean", max(gone.at, waiting) - asked.at, shown)

    async def skip(self) -> Verified:
        world, mark = self.world, self.world.matches.mark
        patch = '{"spec": {"termination": {"action": "Skip", "initiator": "alice", "reason": "next"}}}'
        await world.kubectl("patch", "match", _MATCH, "--type=merge", "-p", patch)
        asked = await world.matches.find(
            "the termination to be seen", lambda seen: "termination" in seen.body["spec"], after=mark
        )
        waiting = await self.all_waiting(since=asked.at)
        ended_at = await self.ended_as("Skipped", mark)
        await self.people_were_disconnected()
        return Verified("both WAITING again", max(waiting, ended_at) - asked.at, await self._shown("get matches"))

    async def ended_as(self, reason: str, mark: int) -> float:
        """Wait until the Match has Ended with this reason; return when."""
        ended = await self.world.matches.find(
            f"Match {_MATCH} to be Ended", lambda seen: _named(seen, _MATCH) and seen.phase == "Ended", after=mark
        )
        end = ended.body["status"]["end"]
        require(end["reason"] == reason, f"status.end.reason to be {reason}", end)
        finished = condition(ended.body, "Finished")
        require(finished == "True", "condition Finished to be True", finished)
        return ended.at

    async def delete_ended(self) -> Verified:
        began, mark = time.monotonic(), self.world.matches.mark
        await self.world.kubectl("delete", "match", _MATCH)
        gone = await self._gone(mark)
        await self.all_waiting()
        await self._nothing_is_left()
        return Verified("gone; both still WAITING", gone.at - began)

    # ---- a standing room

    async def apply_room(self) -> Verified:
        world, mark = self.world, self.world.rooms.mark
        await world.kubectl("apply", "-f", _ROOM_FILE)
        created = await world.rooms.find(f"Room {_ROOM} to be created", _is("ADDED", _ROOM), after=mark)
        ready = await world.rooms.find(
            f"Room {_ROOM} to be Ready", lambda seen: _named(seen, _ROOM) and seen.is_ready, after=mark
        )
        rooms, name = await world.livekit_rooms(), ready.body["status"]["liveKitName"]
        require(rooms == (name,), f"LiveKit to have the room {name} and no other", rooms)
        return Verified("Ready, a standing room", ready.at - created.at, await self._shown("get rooms"))

    async def delete_room(self) -> Verified:
        world, mark = self.world, self.world.rooms.mark
        await world.kubectl("delete", "room", _ROOM)
        asked = await world.rooms.find("the deletion to be seen", _is_being_deleted, after=mark)
        gone = await world.rooms.find(f"Room {_ROOM} to be gone", _is("DELETED", _ROOM), after=mark)
        await self._nothing_is_left()
        return Verified("all clean", gone.at - asked.at)

    # ---- what must be seen

    @property
    def _livekit_name(self) -> str:
        return str(self.match["status"]["room"]["liveKitName"])

    async def _gone(self, mark: int) -> Sighting:
        return await self.world.matches.find(f"Match {_MATCH} to be gone", _is("DELETED", _MATCH), after=mark)

    async def all_waiting(self, since: float | None = None) -> float:
        """Wait until both are in the queue again; return when."""
        at = await until("alice and bob to be WAITING in Redis", lambda: self._states_are("WAITING"))
        queue = await self.world.queue()
        require(set(queue) == set(_USERS), "the queue to hold alice and bob", queue)
        return at if since is None else max(at, since)

    async def _states_are(self, wanted: str) -> str | None:
        states = await self.world.states(*_USERS)
        return None if set(states.values()) == {wanted} else str(states)

    async def people_were_disconnected(self) -> str:
        """Wait until LiveKit has disconnected each person because the room is deleted, and end them."""
        try:
            events = [await person.wait_for("disconnected") for person in self.people.values()]
        except (RuntimeError, TimeoutError) as error:
            raise StepFailed("LiveKit to disconnect both people", str(error)) from error
        for person in self.people.values():
            await person.stop()
        reasons = sorted({event["reason"] for event in events})
        require(reasons == ["ROOM_DELETED"], "LiveKit to give both people the reason ROOM_DELETED", reasons)
        return "People      LiveKit has disconnected both: ROOM_DELETED"

    async def _nothing_is_left(self) -> str:
        """Read each store: nothing of the call is left there, or it expires."""
        world = self.world
        listed = (await world.read("matches,rooms,secrets"))["items"]
        names = [f"{entry['kind']} {entry['metadata']['name']}" for entry in listed]
        require(not names, "no Match, Room or Secret to be left in Kubernetes", names)
        rooms = await world.livekit_rooms()
        require(not rooms, "no room to be left on LiveKit", rooms)
        keys = await world.keys()
        stuck = sorted(name for name, seconds in keys.items() if seconds < 0 and not _may_last(name))
        require(not stuck, "every key of the call in Redis to have a time to live", stuck)
        expiring = sum(seconds >= 0 for seconds in keys.values())
        return (
            "Kubernetes  no Match, Room or Secret is left\n"
            "LiveKit     no room is left\n"
            f"Redis       alice and bob are in the queue; {expiring} keys of the call expire by themselves"
        )

    async def _shown(self, *commands: str) -> tuple[str, ...]:
        return tuple([f"$ kubectl {command}\n{await self.world.kubectl(*command.split())}" for command in commands])


def _may_last(key: str) -> bool:
    return key in _LASTING or key.startswith(_STREAMS) or key.endswith("}:epoch")


def _named(seen: Sighting, name: str) -> bool:
    return bool(seen.body["metadata"]["name"] == name)


def _is(kind: str, name: str) -> Callable[[Sighting], bool]:
    return lambda seen: seen.type == kind and _named(seen, name)


def _is_being_deleted(seen: Sighting) -> bool:
    return "deletionTimestamp" in seen.body["metadata"]
