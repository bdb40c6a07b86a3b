"""The resource Room: one room on LiveKit, owned by a Match or created by a client as a standing room."""

from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import ConfigDict, Field

from controller.api.cel import atomic, distinct, immutable, keyed_by, ordered, rule, validations
from controller.api.failures import LastError
from controller.api.fields import MAX_SECONDS, Identity, Metadata, Placement, ShortText
from controller.api.meta import ApiModel, Condition, Resource, SpecModel, Timestamp, unstored
from controller.api.phases import RoomPhase


class DeletionPolicy(StrEnum):
    """What happens to the LiveKit room when the Room is deleted."""

    DELETE = "Delete"
    ORPHAN = "Orphan"


class Occupancy(StrEnum):
    """Whether participants are in the room."""

    AVAILABLE = "Available"
    OCCUPIED = "Occupied"
    MAINTENANCE = "Maintenance"


class RoomIssue(StrEnum):
    """A problem with a room."""

    MISSING = "Missing"
    STALE = "Stale"
    UNOWNED = "Unowned"
    FOREIGN_MARK = "ForeignMark"
    GHOST_PARTICIPANT = "GhostParticipant"
    WRONG_PARTICIPANT_COUNT = "WrongParticipantCount"
    UNEXPECTED_PARTICIPANT = "UnexpectedParticipant"


class RoomEndReason(StrEnum):
    """Why a room is closed."""

    EMPTY = "Empty"
    EXPIRED = "Expired"
    TERMINATED = "Terminated"
    DELETED = "Deleted"
    LOST = "Lost"
    DRAINED = "Drained"
    FAILED = "Failed"


MAX_RESTORES: Final = 5


class RoomSpec(SpecModel):
    """The desired state of the room on LiveKit."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            immutable(".maxParticipants", "LiveKit cannot resize a room, create another Room"),
            immutable(".emptyTimeoutSeconds", "LiveKit reads it when it creates the room, create another Room"),
            immutable(".departureTimeoutSeconds", "LiveKit reads it when it creates the room, create another Room"),
            immutable(".placement", "the room cannot move to another server, create another Room", optional=True),
            rule(
                "oldSelf.terminationReason == '' || self.terminationReason == oldSelf.terminationReason",
                "terminationReason is written once: a closed room stays closed, create another Room",
                field=".terminationReason",
                reason="FieldValueForbidden",
            ),
        )
    )

    max_participants: Annotated[int, Field(ge=1, le=1000)] = 2
    """Largest number of participants in the room at one time, 1 to 1000. LiveKit refuses clients when the room is full.
    Default: 2. Immutable."""

    allowed_identities: Annotated[tuple[Identity, ...], Field(max_length=100, json_schema_extra=distinct())] = Field(
        default_factory=tuple
    )
    """Identities on LiveKit of the participants who may be in the room, at most 100. Roomkeeper removes every other
    participant as soon as it sees them, except agents, recorders, ingress and telephone lines. Empty (the default):
    every participant with a valid token may be in the room."""

    empty_timeout_seconds: Annotated[int, Field(ge=1, le=MAX_SECONDS)] = 30
    """Seconds after which LiveKit closes a room that no participant has joined yet, at most 604800 (a week). A standing
    room is then Terminated with the reason Empty; the room of a Match is created again while the Match needs it.
    Default: 30. Immutable."""

    departure_timeout_seconds: Annotated[int, Field(ge=1, le=MAX_SECONDS)] = 20
    """Seconds after which LiveKit closes the room when the last participant has left, at most 604800 (a week). A
    standing room is then Terminated with the reason Empty; the room of a Match is created again while the Match
    needs it. Default: 20. Immutable."""

    metadata: Metadata = Field(default_factory=dict)
    """Metadata of the room: clients read it as a JSON map, which also contains Roomkeeper's own mark. At most 16
    entries, with keys of at most 128 and values of at most 1024 characters. May change at any time. Default: none."""

    max_age_seconds: Annotated[int, Field(ge=0, le=30 * 24 * 3600)] = 0
    """Seconds after its creation at which Roomkeeper closes a standing room, even if participants are in it, at most
    2592000 (30 days). 0 (the default): never."""

    placement: Placement = unstored(Placement())
    """The LiveKit server on which the room is placed. Default: any server that accepts new rooms. Immutable."""

    deletion_policy: DeletionPolicy = DeletionPolicy.DELETE
    """What happens to the LiveKit room when this Room is deleted. `Delete` (the default): Roomkeeper closes it and
    disconnects its participants. `Orphan`: Roomkeeper leaves it alone, and LiveKit closes it after one of its two empty
    timeouts."""

    termination_reason: ShortText = ""
    """Set this to close the room for good, to a word or a sentence that says why, at most 256 bytes. Once set, it
    can be neither changed nor removed. Empty (the default): the room stays open."""


class RoomStatus(ApiModel):
    """The observed state of the room."""

    model_config = ConfigDict(json_schema_extra=atomic())

    observed_generation: int | None = None
    """The generation of the spec that this status describes."""

    phase: RoomPhase | None = None
    """The phase of the room: Pending, Creating, Active, Terminating, and finally Terminated or Failed."""

    reason: RoomEndReason | None = None
    """Why the room is closed. Empty: LiveKit closed an empty standing room after its timeout. Expired:
    `maxAgeSeconds` passed. Terminated: `terminationReason` was set. Deleted: the Room was deleted. Lost: LiveKit
    lost the room too often, or could not create it again in time. Drained: its server was drained.
    Failed: the room cannot be made (not served yet)."""

    occupancy: Occupancy | None = None
    """Whether participants are in the room. Available: it is empty. Occupied: participants are in it. Maintenance:
    Roomkeeper is restoring or closing it."""

    conditions: Annotated[
        tuple[Condition, ...],
        Field(json_schema_extra=keyed_by("type")),
    ] = ()
    """Ready: LiveKit has the room. Healthy: the room has none of the `issues`. Degraded: LiveKit does not
    answer, or refuses. Finished: the room is closed for good. Paused: nothing is done with it."""

    livekit_name: str | None = None
    """Name of the room on LiveKit. A restored room keeps it, and no other room ever gets it."""

    sid: str | None = None
    """Id that LiveKit gave to the room. A restored room has a new id."""

    server: str | None = None
    """Name of the LiveKit server that has the room; `default` is the server of the operator's settings."""

    num_participants: int | None = None
    """Number of participants at the latest observation, without agents and recorders that take no seat."""

    empty_since: Timestamp | None = None
    """Time since which the room has been empty; absent while a participant is in it."""

    created_at: Timestamp | None = None
    """When LiveKit created the room."""

    terminated_at: Timestamp | None = None
    """When Roomkeeper saw that LiveKit no longer has the room and that it is closed for good."""

    lost_at: Timestamp | None = None
    """Time since which the room has been missing on LiveKit although it should exist; absent while LiveKit has it."""

    restores: int | None = None
    """Number of times that LiveKit lost the room and Roomkeeper created it again."""

    restored_at: Annotated[
        tuple[Timestamp, ...],
        Field(max_length=MAX_RESTORES, json_schema_extra=ordered()),
    ] = ()
    """Times of the latest restores, at most 5. Within ten minutes, the first restore happens at once, and each
    further one after a pause that starts at 1 s and doubles; after 5 restores, Roomkeeper gives the room up."""

    issues: Annotated[tuple[RoomIssue, ...], Field(json_schema_extra=distinct())] = ()
    """Problems with the room; the condition Healthy explains each in a sentence. Missing: LiveKit lost the room. Stale:
    LiveKit has not answered for 10 s. Unowned: the LiveKit room does not carry Roomkeeper's mark, or its Match is gone.
    ForeignMark: another owner has marked a room of this name. WrongParticipantCount: more participants than
    `maxParticipants`, or LiveKit's count differs from its list. UnexpectedParticipant: a participant is not in
    `allowedIdentities`."""

    last_error: LastError | None = None
    """The current error, or else the latest one."""


class Room(Resource):
    """One room on LiveKit, owned by a Match or created by a client as a standing room.

    Roomkeeper restores a room that LiveKit lost under the same name, and deletes a LiveKit room that should not exist.
    """

    api_version: Literal["roomkeeper.dev/v1alpha1"] = "roomkeeper.dev/v1alpha1"
    kind: Literal["Room"] = "Room"
    spec: RoomSpec
    """The desired state of the room on LiveKit."""
    status: RoomStatus = Field(default_factory=RoomStatus)
    """The observed state of the room. Only Roomkeeper writes it."""
