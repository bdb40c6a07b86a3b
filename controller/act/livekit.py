"""Executors that write to LiveKit. Only the Room's key runs them, and only if the lease outlasts the request."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace

import structlog

from controller.api.names import DRAIN_TOPIC, MARK_KEY
from controller.api.room import Room
from controller.backends.bundle import Backends
from controller.backends.servers import Server
from controller.errors import Backend, BackendError, BackendUnavailable, Code, NotFound, Overloaded
from controller.facts.drain import over
from controller.facts.livekit import LiveKitRoom, Mark, RoomRequest, parse_mark
from controller.facts.observation import Present
from controller.plan.actions import (
    Action,
    CreateLiveKitRoom,
    DeleteLiveKitRoom,
    OrphanLiveKitRoom,
    RemoveStranger,
    TellRoomOfDrain,
    UpdateLiveKitMetadata,
)

log = structlog.get_logger(__name__)


async def create_room(action: CreateLiveKitRoom, backends: Backends) -> None:
    """Create the room. The next plan uses the sid and the mark from the answer.

    CreateRoom returns a room that a client has created, and then ignores the requested metadata. Such a room is
    adopted: a second request writes our mark and the Room's own metadata.
    """
    server, request = _server(action, backends), action.request
    _require_lease(server, backends)
    client, view = server.client, server.view
    room = await _create(server, request, backends)
    adopted = room.mark is None
    if adopted:
        _require_lease(server, backends)
        await client.update_metadata(request.name, request.marked_metadata)
        room = replace(room, mark=request.mark)
    # The time of the answer counts, since a list that was requested meanwhile may be older than the room.
    made_at = backends.clock.now()
    if not (adopted or room.num_participants or _was_made_before(action, server, backends)):
        view.saw_room(room, made_at)
        return
    # The room is shown together with the people in it: those who are missing will be told that it is there again.
    sent_at = backends.clock.now()
    try:
        people = await client.list_participants(request.name)
    except BackendError:
        view.saw_room(room, made_at)
        raise
    view.saw_room(room, made_at)
    view.saw_people(request.name, people, sent_at)


async def update_metadata(action: UpdateLiveKitMetadata, backends: Backends) -> None:
    """Write the Room's present metadata and our mark to the room. If it is gone, the next list shows that."""
    server, request = _server(action, backends), action.request
    _require_lease(server, backends)
    await _write_metadata(server, request, request.marked_metadata, backends)


async def _write_metadata(
    server: Server, request: RoomRequest, metadata: dict[str, object], backends: Backends
) -> None:
    with contextlib.suppress(NotFound):
        await server.client.update_metadata(request.name, metadata)
    _saw_mark(server, request.name, request.mark, backends)


def _saw_mark(server: Server, name: str, mark: Mark | None, backends: Backends) -> None:
    now = backends.clock.now()
    known = server.view.room(name, now)
    if isinstance(known, Present):
        server.view.saw_room(replace(known.value, mark=mark), now)


async def tell_of_drain(action: TellRoomOfDrain, backends: Backends) -> None:
    """Send the drain to the clients in the room, then write it into the metadata.

    The metadata come last: the mark says that the participants were told. If the message cannot be sent, the metadata
    still reach each client. What others wrote into the metadata since the room was made stays there.
    """
    server, request = _server(action, backends), action.request
    _require_lease(server, backends, requests=3)
    if action.has_people:
        news = request.drain.to_json() if request.drain is not None else over(action.ended)
        try:
            await server.client.send_data(request.name, DRAIN_TOPIC, news)
        except BackendError as error:
            log.warning("the message about a drain cannot be sent", room=request.name, error=str(error))
    try:
        written = await server.client.metadata_of(request.name) or {}
    except NotFound:
        _saw_mark(server, request.name, request.mark, backends)  # the next list shows that it is gone
        return
    before = parse_mark(json.dumps(written))
    if before is None:
        log.info("another client has replaced the metadata of a room; they stay as they are", room=request.name)
        _saw_mark(server, request.name, None, backends)
    elif before.digest != request.mark.digest:  # the metadata of the Room have changed as well
        await _write_metadata(server, request, request.marked_metadata, backends)
    else:
        mark = {MARK_KEY: request.marked_metadata[MARK_KEY]}
        await _write_metadata(server, request, written | mark, backends)


async def delete_room(action: DeleteLiveKitRoom, backends: Backends) -> None:
    """Delete the room. If LiveKit says that there is no such room, a second, different read must agree.

    A LiveKit whose Redis came back empty does not find rooms that are still alive, neither for DeleteRoom nor for
    ListRooms. If participants may be in the room, only CreateRoom shows it, by returning it. LiveKit stores such a room
    again when a participant joins or leaves, and only then can delete it; until then the deletion is repeated.
    """
    server, name = _server(action, backends), action.request.name
    _require_lease(server, backends)
    client = server.client
    if server.view.may_be_created(name):
        # Side by side they leave a room that lives and is not listed. The next list shows that LiveKit works again.
        raise _in_doubt(f"room {name} may still be being made: its CreateRoom was not answered")
    try:
        await client.delete_room(name)
    except NotFound:
        if action.may_have_people:
            await _take_over_and_delete(action, backends)
        elif await client.list_rooms((name,)):
            raise _in_doubt(f"LiveKit lists room {name} and says that it does not exist") from None
    except Overloaded:
        # LiveKit cannot reach the dead node that had the room. Creating it again takes it over, so it can be deleted.
        await _take_over_and_delete(action, backends)
    server.view.saw_gone(name, backends.clock.now())


async def _take_over_and_delete(action: DeleteLiveKitRoom, backends: Backends) -> None:
    server, request = _server(action, backends), action.request
    client = server.client
    _require_lease(server, backends, requests=2)
    room = await _create(server, request, backends)
    if room.mark is not None and room.mark.room_uid != request.mark.room_uid:
        server.view.saw_room(room, backends.clock.now())
        raise _in_doubt(f"room {request.name} carries the mark of another Room")
    try:
        await client.delete_room(request.name)
    except NotFound:
        raise _in_doubt(f"LiveKit makes room {request.name} and says that it does not exist") from None


async def _create(server: Server, request: RoomRequest, backends: Backends) -> LiveKitRoom:
    try:
        return await server.client.create_room(request)
    except BackendError as error:
        if error.may_have_run:
            server.view.creation_unanswered(request.name, backends.clock.now())
        raise


def _was_made_before(action: CreateLiveKitRoom, server: Server, backends: Backends) -> bool:
    """Whether an operator before us made the room, so that we do not know who was in it."""
    room = backends.rooms.get(action.target.namespace, action.target.name)
    is_again = isinstance(room, Room) and room.status.created_at is not None
    return is_again and server.view.sid_since(action.request.name) is None


def _in_doubt(sentence: str) -> BackendUnavailable:
    return BackendUnavailable(Backend.LIVEKIT, "DeleteRoom", sentence, code=Code.IN_DOUBT)


async def orphan_room(action: OrphanLiveKitRoom, backends: Backends) -> None:
    """Remove our mark. From then on, Roomkeeper leaves the room to its participants."""
    server = _server(action, backends)
    _require_lease(server, backends)
    with contextlib.suppress(NotFound):  # LiveKit may have closed the room meanwhile
        await server.client.update_metadata(action.livekit_name, dict(action.metadata))
    server.view.saw_gone(action.livekit_name, backends.clock.now())


async def remove_stranger(action: RemoveStranger, backends: Backends) -> None:
    """Remove a participant who may not be in the room, then list the participants again."""
    server, name = _server(action, backends), action.livekit_name
    _require_lease(server, backends)
    client, view = server.client, server.view
    with contextlib.suppress(NotFound):  # the participant may have left meanwhile
        await client.remove_participant(name, action.identity)
    sent_at = backends.clock.now()
    view.saw_people(name, await client.list_participants(name), sent_at)


def _require_lease(server: Server, backends: Backends, requests: int = 1) -> None:
    """Raise LeadershipLost unless the lease outlasts this many requests, one after the other."""
    backends.leadership.require(requests * server.client.deadline_seconds)


def _server(action: Action, backends: Backends) -> Server:
    """The server that the Room of the action is on. The Room is in the cache, since our finalizer holds it."""
    return backends.servers.of(backends.rooms.get(action.target.namespace, action.target.name))
