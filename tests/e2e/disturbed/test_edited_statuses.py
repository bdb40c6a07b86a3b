"""Another client edits statuses on the real API server: an edit is corrected, or believed with all that follows.

One operator meets all edits at once, first while it runs, then after they were made without an operator. The table says
for each edit what follows; `tests.plan.test_edited` has many more of them without any program. Beside the edit, each
patch writes a field that the operator always corrects, so the test sees when the edit has been read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from controller.api.match import Match
from controller.api.names import room_name, token_secret_name
from controller.api.room import Room
from tests import manifests
from tests.support.crowd import Crowd
from tests.support.kube import Body, condition, is_true
from tests.support.rig import Rig
from tests.support.waiting import eventually

_THEN = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
_LONG_AGO, _FAR = "2020-01-01T00:00:00Z", "2099-01-01T00:00:00Z"
_LEFT = {"identity": "a", "state": "Left", "since": _LONG_AGO, "detail": "CLIENT_INITIATED"}
_FINISHED = {"type": "Finished", "status": "True", "reason": "Ended", "message": "-", "lastTransitionTime": _THEN}
_OTHER_ROOM = {"name": "other", "liveKitName": "rk-other", "server": "nowhere", "url": "wss://other"}
_OTHER_TOKENS = {"secretName": "other", "expiresAt": _FAR, "apiKey": "other"}
_OTHER_WORDS = {"reason": "Left", "sessionID": "other", "participantsSummary": "-", "observedGeneration": 99}
# So many calls at once take a loaded machine a while.
_SECONDS = 60.0
_PATIENT: dict[str, Any] = {
    # `endedAt` is edited to the moment at which the tests were collected, which may be long ago.
    "ttlSecondsAfterFinished": 86_400,
    "timeouts": {"readySeconds": 600, "connectSeconds": 600},
    "room": {"emptyTimeoutSeconds": 700, "departureTimeoutSeconds": 700},
}
_MOMENTS = ("startedAt", "readyAt", "connectedAt", "createdAt")
_SEEN_BY: dict[str, Body] = {"Match": {"connected": "9/9"}, "Room": {"numParticipants": 77}}


@dataclass(frozen=True)
class Edit:
    """One or more edits of one status, one after the other; None empties it. `people`: both are in the room.

    `reason` is that of the end, where the edit ends the call; empty where it is corrected. `users` is their state then.
    `keeps_moments`: the status has its moments again after the edit.
    """

    changes: tuple[Body | None, ...]
    of: str = "Match"
    people: bool = False
    reason: str = ""
    users: str = "WAITING"
    keeps_moments: bool = True


CALLS = (
    Edit(({"phase": "Ended"},), people=True),
    Edit(({"phase": "Failed", "endedAt": _THEN, "conditions": [_FINISHED]},), people=True),
    Edit(({"phase": "Ended", "endedAt": _THEN}, {"phase": "Active", "endedAt": None}), people=True),
    Edit(({"participants": []},), people=True),
    Edit(({"participants": [_LEFT], "startedAt": None, "readyAt": None, "connectedAt": None},), people=True),
    Edit((None,), people=True, keeps_moments=False),
    Edit(({"phase": "Terminated", "occupancy": None},), of="Room", people=True),
    Edit(({"phase": "Pending", "endedAt": _FAR}, {"phase": "Terminating"}, {"phase": "Reconnecting"})),
    Edit(({"readyAt": _FAR, "history": []},), keeps_moments=False),
    Edit(({"room": None, "tokens": None, "conditions": []},)),
    Edit(({"room": _OTHER_ROOM, "tokens": _OTHER_TOKENS, "conditions": [_FINISHED], **_OTHER_WORDS},)),
    Edit(({"phase": "Failed", "sid": None, "liveKitName": "rk-other", "issues": ["Missing"]},), of="Room"),
    Edit(({"terminatedAt": _THEN, "lostAt": _FAR},), of="Room"),
    Edit(({"createdAt": None, "emptySince": None},), of="Room", keeps_moments=False),
    Edit((None,), of="Room", keeps_moments=False),
    Edit(({"end": {"reason": "Ended"}},), reason="Ended"),
    Edit(({"phase": "Ended", "end": {"reason": "Ended"}, "endedAt": _THEN},), reason="Ended"),
    Edit(({"connectedAt": _LONG_AGO},), people=True, reason="MaxDuration", users="IDLE"),
    Edit(({"reason": "Terminated"},), of="Room", reason="RoomLost"),
    Edit(({"phase": "Terminated", "terminatedAt": _THEN},), of="Room", reason="RoomLost"),
)
"""Edits of calls and of their Rooms."""

FORGED = Edit(
    ({"phase": "Ended", "end": {"reason": "Ended"}, "endedAt": _THEN, "conditions": [_FINISHED]},),
    people=True,
    reason="Ended",
)
"""Such a status looks like one of ours. The comparison of Redis with the Matches finds it."""

ENDED: tuple[Body | None, ...] = (
    {"phase": "Active"},
    {"phase": "Connecting", "end": None},
    {"endedAt": None, "conditions": []},
    None,
)
"""Edits of Matches that are over."""

ROOMS: tuple[Body | None, ...] = ({"phase": "Terminated"}, {"terminatedAt": _THEN}, None)
CLOSED_ROOMS: tuple[Body | None, ...] = ({"phase": "Active"}, {"reason": None}, {"conditions": [], "phase": None})
"""Edits of standing Rooms."""


@dataclass(frozen=True)
class Call:
    """The Match on which an edit is tried, and what its status and that of its Room said before."""

    name: str
    edit: Edit
    match: Match
    told: Body

    @property
    def users(self) -> tuple[str, ...]:
        return self.match.spec.identities


async def test_an_edited_status_is_corrected_or_believed_with_all_that_follows(rig: Rig) -> None:
    operator = await rig.operators.start(poll_seconds="0.5")
    async with Crowd() as crowd:
        corrected = [edit for edit in CALLS if not edit.reason]
        believed = [edit for edit in CALLS if edit.reason]
        calls, ends, ends_down, over, rooms, closed = await asyncio.gather(
            _calls(rig, crowd, "call", corrected),
            _calls(rig, crowd, "end", believed),
            _calls(rig, crowd, "down", [*believed, FORGED]),
            _ended(rig),
            _rooms(rig, "open", len(ROOMS)),
            _closed_rooms(rig),
        )
        places = await rig.queue()

        async def are_as_before() -> None:
            await _agree(rig, calls)
            await _say_the_same(rig, over)
            now = {name: _told_of_room(await rig.kube.room(name)) for name in (*rooms, *closed)}
            _assert_same(rooms | closed, now)
            live = set(await rig.redis.zrange(rig.keys.live(), 0, -1))
            assert not live & {call.match.metadata.uid for call in over}

        everything = [*_edits(calls), *_edits_of_ended(over), *_edits_of_rooms(rooms, closed)]
        await asyncio.gather(*(_patch(rig, *one) for one in (*everything, *_edits(ends))))
        await eventually(are_as_before, _SECONDS)
        await eventually(lambda: _are_over(rig, ends), _SECONDS)

        await operator.kill()
        await asyncio.gather(*(_patch(rig, *one) for one in (*everything, *_edits(ends_down))))
        await operator.start()
        await eventually(are_as_before, _SECONDS)
        await eventually(lambda: _are_over(rig, ends_down), _SECONDS)
        left = {user: place for user, place in (await rig.queue()).items() if user in places}
        assert left == places, "users of Matches that were over before keep their places"


# ---- what is edited


async def _calls(rig: Rig, crowd: Crowd, prefix: str, edits: Iterable[Edit]) -> list[Call]:
    """One Match for each edit, Ready or Active."""
    return list(
        await asyncio.gather(*(_call(rig, crowd, f"{prefix}-{n}", edit) for n, edit in enumerate(edits)))
    )  # fmt: skip


async def _call(rig: Rig, crowd: Crowd, name: str, edit: Edit) -> Call:
    users = (f"{name}-a", f"{name}-b")
    await rig.enqueue(*users)
    await rig.kube.create(manifests.match(*users, name=name, **_PATIENT))
    match = await rig.kube.match_until(lambda found: is_true(found, "Ready"), name, _SECONDS)
    if edit.people:
        tokens = await rig.tokens(match)
        await asyncio.gather(*(crowd.join(who, tokens[who]) for who in users))
        match = await rig.kube.match_until(lambda found: found.status.phase == "Active", name, _SECONDS)
    inside = 2 if edit.people else 0
    room = room_name(match.metadata.uid)
    await rig.kube.room_until(
        lambda found: found.status.num_participants == inside and not found.status.issues, room, _SECONDS
    )
    call = Call(name, edit, match, {})
    return replace(call, told=await _told(rig, call))


async def _ended(rig: Rig) -> list[Call]:
    """One Match that is over for each edit of such ones."""
    calls = []
    for n in range(len(ENDED)):
        users, name = (f"over-{n}-a", f"over-{n}-b"), f"over-{n}"
        await rig.enqueue(*users)
        await rig.kube.create(manifests.match(*users, name=name, **_PATIENT))
        await rig.kube.match_until(lambda found: is_true(found, "Ready"), name, _SECONDS)
        await rig.kube.patch("Match", name, manifests.termination("End", users[0]))
        match = await rig.kube.match_until(lambda found: is_true(found, "Finished"), name, _SECONDS)
        call = Call(name, Edit((), keeps_moments=False), match, {})
        calls.append(replace(call, told=await _told(rig, call)))
    return calls


async def _rooms(rig: Rig, prefix: str, count: int) -> dict[str, Body]:
    names = [f"{prefix}-{n}" for n in range(count)]
    for name in names:
        await rig.kube.create(manifests.room(name))
    rooms = [await rig.kube.room_until(lambda found: is_true(found, "Ready"), name, _SECONDS) for name in names]
    return {room.metadata.name: _told_of_room(room) for room in rooms}


async def _closed_rooms(rig: Rig) -> dict[str, Body]:
    """Rooms that LiveKit closed for being empty: nothing in the spec says that they are over."""
    names = [f"closed-{n}" for n in range(len(CLOSED_ROOMS))]
    for name in names:
        await rig.kube.create(manifests.room(name, emptyTimeoutSeconds=1))
    rooms = [
        await rig.kube.room_until(lambda found: found.status.phase == "Terminated", name, _SECONDS) for name in names
    ]
    return {room.metadata.name: _told_of_room(room) for room in rooms}


# ---- edits


Patch = tuple[str, str, Body | None]


def _edits(calls: Iterable[Call]) -> list[tuple[Patch, ...]]:
    return [
        tuple((call.edit.of, _name(call), change) for change in call.edit.changes)
        for call in calls
    ]  # fmt: skip


def _name(call: Call) -> str:
    return call.name if call.edit.of == "Match" else room_name(call.match.metadata.uid)


def _edits_of_ended(over: Iterable[Call]) -> list[tuple[Patch, ...]]:
    return [(("Match", call.name, change),) for call, change in zip(over, ENDED, strict=True)]


def _edits_of_rooms(rooms: dict[str, Body], closed: dict[str, Body]) -> list[tuple[Patch, ...]]:
    changes = zip((*rooms, *closed), (*ROOMS, *CLOSED_ROOMS), strict=True)
    return [(("Room", name, change),) for name, change in changes]


async def _patch(rig: Rig, *patches: Patch) -> None:
    for kind, name, change in patches:
        status = None if change is None else change | _SEEN_BY[kind]
        await rig.kube.patch(kind, name, {"status": status}, subresource="status")


# ---- what is seen


async def _agree(rig: Rig, calls: list[Call]) -> None:
    """Every call goes on as it was before the edit, and the users are in it."""
    await _say_the_same(rig, calls)
    users = {user: "IN_CALL" if call.edit.people else "CONNECTING" for call in calls for user in call.users}
    _assert_same(users, await rig.states(*users))


async def _say_the_same(rig: Rig, calls: list[Call]) -> None:
    told = await asyncio.gather(*(_told(rig, call) for call in calls))
    _assert_same(
        {call.name: call.told for call in calls}, {call.name: one for call, one in zip(calls, told, strict=True)}
    )


def _assert_same(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Name what differs only."""
    for name, said in before.items():
        if said != now[name] and isinstance(said, dict):
            changed = {key: (said.get(key), now[name].get(key)) for key in said if said.get(key) != now[name].get(key)}
            raise AssertionError(f"{name}: before, and now: {changed}")
        assert said == now[name], name


async def _told(rig: Rig, call: Call) -> Body:
    """What the status of a Match says about the call, and that of its Room about the room; without times of sight."""
    match = await rig.kube.match(call.name)
    status = match.status.manifest()
    moments = _MOMENTS if call.edit.keeps_moments else ()
    if match.status.is_over:
        status.pop("room", None)  # no one knows any longer which room it was, once the status is emptied
    said: Body = {
        **{name: status.get(name) for name in ("phase", "reason", "sessionID", "room", "connected", *moments)},
        "tokens": {key: value for key, value in status.get("tokens", {}).items() if key != "expiresAt"},
        "people": [(one["identity"], one["state"], one.get("participantSid")) for one in status["participants"]]
        if "participants" in status
        else None,
        "conditions": sorted((one["type"], one["status"], one["reason"]) for one in status.get("conditions", [])),
        "ended": "endedAt" in status,
        "end": status.get("end"),
    }
    body = await rig.kube.get("Room", room_name(match.metadata.uid))
    if body is not None:
        said["its Room"] = _told_of_room(Room.model_validate(body), *moments)
    return said


def _told_of_room(room: Room, *moments: str) -> Body:
    status: dict[str, Any] = room.status.manifest()
    names = ("phase", "sid", "liveKitName", "server", "numParticipants", "occupancy", "issues", *moments)
    said: Body = {name: status.get(name) for name in names}
    is_over = room.status.phase == "Terminated"
    said["over"] = (is_over, "terminatedAt" in status, is_true(room, "Finished"), room.status.reason is not None)
    return said


async def _are_over(rig: Rig, calls: list[Call]) -> None:
    """Every call is over for its reason; its users are free, and nothing of it is left."""
    live = set(await rig.redis.zrange(rig.keys.live(), 0, -1))
    on_livekit = await rig.livekit_rooms()
    for call in calls:
        match, uid = await rig.kube.match(call.name), call.match.metadata.uid
        assert match.status.is_over, f"{call.edit}: {match.status.phase}"
        assert match.status.end is not None
        assert match.status.end.reason == call.edit.reason, call.edit
        assert condition(match, "Finished").reason == call.edit.reason
        assert await rig.states(*call.users) == dict.fromkeys(call.users, call.edit.users), call.edit
        assert uid not in live, call.edit
        for kind, name in (("Room", room_name(uid)), ("Secret", token_secret_name(uid))):
            assert await rig.kube.get(kind, name) is None, f"{call.edit}: {kind} {name}"
        assert call.told["room"]["liveKitName"] not in on_livekit, call.edit
