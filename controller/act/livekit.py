"""Executors that write to LiveKit: run by the Room's key alone, and only while the lease outlasts the call."""

from __future__ import annotations

import contextlib

from controller.backends import Backends
from controller.clients.livekit import CALL_TIMEOUT_SECONDS
from controller.errors import Backend, BackendUnavailable, NotFound, Overloaded
from controller.plan.actions import CreateLiveKitRoom, DeleteLiveKitRoom, OrphanLiveKitRoom, RemoveStranger


async def create_room(action: CreateLiveKitRoom, backends: Backends) -> None:
    """Create the room; what the answer says (sid, mark) is what the plan goes on with."""
    backends.leadership.require(CALL_TIMEOUT_SECONDS)
    room = await backends.livekit.client.create_room(action.request)
    # The moment of the answer: a list that was asked for meanwhile may have been made before.
    backends.livekit.view.saw_room(room, backends.clock.now())


async def delete_room(action: DeleteLiveKitRoom, backends: Backends) -> None:
    """Delete the room. Where LiveKit says that there is none, a second, different read must agree."""
    backends.leadership.require(CALL_TIMEOUT_SECONDS)
    client, view, name = backends.livekit.client, backends.livekit.view, action.request.name
    try:
        await client.delete_room(name)
    except NotFound:
        if await client.list_rooms((name,)):
            raise BackendUnavailable(
                Backend.LIVEKIT, "DeleteRoom", f"LiveKit lists room {name} and says that it does not exist"
            ) from None
    except Overloaded:
        # A ghost: the node that had the room is dead, and LiveKit cannot reach it. Taking it over first closes it.
        backends.leadership.require(2 * CALL_TIMEOUT_SECONDS)
        await client.create_room(action.request)
        await client.delete_room(name)
    view.saw_gone(name, backends.clock.now())


async def orphan_room(action: OrphanLiveKitRoom, backends: Backends) -> None:
    """Take our mark off; from then on the room is nobody's business but its people's."""
    backends.leadership.require(CALL_TIMEOUT_SECONDS)
    with contextlib.suppress(NotFound):  # it may have closed by itself meanwhile: nothing is left behind then either
        await backends.livekit.client.update_metadata(action.livekit_name, dict(action.metadata))
    backends.livekit.view.saw_gone(action.livekit_name, backends.clock.now())


async def remove_stranger(action: RemoveStranger, backends: Backends) -> None:
    """Remove the person, and look again at who is there."""
    backends.leadership.require(CALL_TIMEOUT_SECONDS)
    client, view, name = backends.livekit.client, backends.livekit.view, action.livekit_name
    with contextlib.suppress(NotFound):  # or they have left by themselves
        await client.remove_participant(name, action.identity)
    sent_at = backends.clock.now()
    view.saw_people(name, await client.list_participants(name), sent_at)
