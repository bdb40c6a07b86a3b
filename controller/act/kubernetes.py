"""Executors that write to Kubernetes: finalizers, the Match's Room, and the status.

Every answer feeds the caches, so no step waits for the watch. A Conflict means that the object has changed: the
executor reads it again, and the next reconcile decides again.
"""

from __future__ import annotations

from typing import Any

from controller.api.match import MatchSpec
from controller.api.names import (
    API_VERSION,
    FINALIZER,
    LIVEKIT_SERVER,
    MATCH_LABEL,
    PLACED_ON,
    ROOM,
    label_value,
    room_name,
    user_label,
)
from controller.api.room import RoomSpec
from controller.backends.bundle import ROOMS, Backends, resource_of
from controller.clients.kubernetes import Body
from controller.errors import AlreadyExists, Backend, BackendError, BackendRefused, Code, Conflict, NotFound
from controller.plan.actions import (
    AddFinalizer,
    CreateRoom,
    DeleteObject,
    DeleteRoom,
    PlaceRoom,
    ReleaseFinalizer,
    Target,
    UpdateRoom,
)


async def add_finalizer(action: AddFinalizer, backends: Backends) -> None:
    """Add our finalizer, and keep all others; with it the labels, so that they cost no request of their own."""
    target = action.target
    known = backends.caches[target.kind].get(target.namespace, target.name)
    others = known.metadata.finalizers if known is not None else ()
    metadata: Body = {"finalizers": [*others, FINALIZER]}
    if action.labels:
        metadata["labels"] = dict.fromkeys(action.labels, "")
    await _guarded(target, backends, {"metadata": metadata})


async def release_finalizer(action: ReleaseFinalizer, backends: Backends) -> None:
    """Remove our finalizer only. If it was the last one, this request completes the deletion of the object."""
    target = action.target
    cache = backends.caches[target.kind]
    known = cache.get(target.namespace, target.name)
    if known is None or FINALIZER not in known.metadata.finalizers:
        return
    path = f"/metadata/finalizers/{known.metadata.finalizers.index(FINALIZER)}"
    operations = [
        {"op": "test", "path": "/metadata/uid", "value": target.uid},
        {"op": "test", "path": path, "value": FINALIZER},
        {"op": "remove", "path": path},
    ]
    try:
        body = await backends.kubernetes.json_patch(resource_of(target.kind), target.namespace, target.name, operations)
    except NotFound:
        cache.forget(target.namespace, target.name, target.uid)
        return
    except Conflict:
        await refresh(target, backends)
        raise
    if body["metadata"].get("deletionTimestamp") and not body["metadata"].get("finalizers"):
        cache.forget(target.namespace, target.name, target.uid)
    else:
        cache.offer(body)


async def delete_object(action: DeleteObject, backends: Backends) -> None:
    """Delete this incarnation of the object."""
    target = action.target
    resource, cache = resource_of(target.kind), backends.caches[target.kind]
    body = await backends.kubernetes.delete(resource, target.namespace, target.name, target.uid)
    if body is None:
        cache.forget(target.namespace, target.name, target.uid)
    else:
        cache.offer(body)


async def create_room(action: CreateRoom, backends: Backends) -> None:
    """Create the Match's Room on the LiveKit server that is chosen for it, or find the one that is there already."""
    target, name = action.target, room_name(action.target.uid)
    server = backends.servers.place(target, name, action.spec.placement)
    try:
        body = await backends.kubernetes.create(ROOMS, target.namespace, room_manifest(action, server))
    except AlreadyExists as error:
        backends.servers.give_up(target.namespace, name)
        try:
            body = await backends.kubernetes.get(ROOMS, target.namespace, name)
        except NotFound as gone:
            told = f"room {name} was there and is gone"
            raise Conflict(Backend.KUBERNETES, error.operation, told, code=gone.code) from error
        owners = body["metadata"].get("ownerReferences", [])
        if not any(owner["uid"] == target.uid and owner.get("controller") for owner in owners):
            raise BackendRefused(
                Backend.KUBERNETES,
                error.operation,
                f"room {room_name(target.uid)} exists and is not this match's; delete it",
                retryable=True,
                code=Code.NAME_TAKEN,
            ) from error
    except BackendError as error:
        if not error.may_have_run:
            backends.servers.give_up(target.namespace, name)
        raise
    backends.rooms.offer(body)


async def place_room(action: PlaceRoom, backends: Backends) -> None:
    """Write into the status which LiveKit server the Room is on. Raises BackendUnavailable if none can take it."""
    namespace, name = action.target.namespace, action.target.name
    server = action.moved_to or backends.servers.place(action.target, name, action.placement)
    try:
        await _guarded(action.target, backends, {"status": {"server": server}}, subresource="status")
    except BackendError as error:
        if not error.may_have_run and not action.moved_to:
            backends.servers.give_up(namespace, name)
        raise


async def update_room(action: UpdateRoom, backends: Backends) -> None:
    """Replace the metadata of the Match's Room, and nothing else of it. The Room's own key brings it to LiveKit."""
    namespace, name, uid = action.target.namespace, action.room_name, action.room_uid
    operations: list[Body] = [
        {"op": "test", "path": "/metadata/uid", "value": uid},
        {"op": "add", "path": "/spec/metadata", "value": dict(action.metadata)},
    ]
    try:
        body = await backends.kubernetes.json_patch(ROOMS, namespace, name, operations)
    except NotFound:
        backends.rooms.forget(namespace, name, uid)
        return
    backends.rooms.offer(body)


async def delete_room(action: DeleteRoom, backends: Backends) -> None:
    """Delete the Match's Room. The key of the Room closes it on LiveKit and then removes its finalizer."""
    target = action.target
    namespace, name, uid = target.namespace, action.room_name, action.room_uid
    try:
        body = await backends.kubernetes.delete(ROOMS, namespace, name, uid)
    except Conflict:
        body = None  # another Room has this name now: ours is gone
    if body is None:
        backends.rooms.forget(namespace, name, uid)
    else:
        backends.rooms.offer(body)


async def write_status(target: Target, patch: dict[str, Any], backends: Backends, *, quiet: bool) -> None:
    """Merge `patch` into the status of this version of the object.

    A `quiet` write does not wake the key of the object. On a Conflict, the object is read again before Conflict is
    raised.
    """
    await _guarded(target, backends, {"status": patch}, subresource="status", quiet=quiet)


async def refresh(target: Target, backends: Backends) -> None:
    """Read the object again into its cache. LiveKitServers are few, and the watch brings them: no GET is needed."""
    if target.kind is LIVEKIT_SERVER:
        return
    cache = backends.caches[target.kind]
    try:
        body = await backends.kubernetes.get(resource_of(target.kind), target.namespace, target.name)
    except NotFound:
        cache.forget(target.namespace, target.name, target.uid)
        return
    cache.offer(body)


def room_manifest(action: CreateRoom, server: str) -> Body:
    """The Room of a Match: owned by the Match, named after its UID, with our finalizer, and placed on `server`."""
    target, spec = action.target, action.spec
    return {
        "apiVersion": API_VERSION,
        "kind": ROOM.kind,
        "metadata": {
            "name": room_name(target.uid),
            "namespace": target.namespace,
            "finalizers": [FINALIZER],
            "annotations": {PLACED_ON: server},
            "labels": {MATCH_LABEL: label_value(target.name), **dict.fromkeys(map(user_label, spec.identities), "")},
            "ownerReferences": [owner_reference(target, block_deletion=True)],
        },
        "spec": _room_spec(spec).manifest(),
    }


def owner_reference(target: Target, *, block_deletion: bool) -> Body:
    """The owner reference that makes the Match the controller of an object that it creates."""
    return {
        "apiVersion": API_VERSION,
        "kind": target.kind.kind,
        "name": target.name,
        "uid": target.uid,
        "controller": True,
        "blockOwnerDeletion": block_deletion,
    }


def _room_spec(spec: MatchSpec) -> RoomSpec:
    # Not validated: the API server judges what another version allows.
    return RoomSpec.model_construct(
        max_participants=spec.room.max_participants,
        # A larger room has seats for agents and guests of the application, whose identities the Match does not know.
        allowed_identities=tuple(p.livekit_identity for p in spec.participants)
        if spec.room.max_participants == len(spec.participants)
        else (),
        empty_timeout_seconds=spec.room.empty_timeout_seconds,
        departure_timeout_seconds=spec.room.departure_timeout_seconds,
        metadata=spec.room.metadata,
        placement=spec.placement,
    )


async def _guarded(
    target: Target, backends: Backends, patch: Body, subresource: str = "", *, quiet: bool = False
) -> None:
    cache = backends.caches[target.kind]
    resource = resource_of(target.kind)
    try:
        body = await backends.kubernetes.merge_patch(
            resource, target.namespace, target.name, patch, target.resource_version, subresource
        )
    except NotFound:
        cache.forget(target.namespace, target.name, target.uid)
        return
    except Conflict:
        await refresh(target, backends)
        raise
    if subresource:
        # First: who follows the cache asks what the status cannot say.
        backends.lost_fields.answered(target.kind, patch[subresource], body)
    cache.offer(body, quiet=quiet)
