"""The resource Room: one room on LiveKit, owned by a Match or applied by hand as a standing room."""

from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import ConfigDict, Field

from controller.api.cel import atomic, distinct, immutable, keyed_by, ordered, rule, validations
from controller.api.failures import LastError
from controller.api.fields import MAX_SECONDS, Identity, Metadata, Placement, ShortText
from controller.api.meta import ApiModel, Condition, Resource, SpecModel, Timestamp, unstored
from controller.api.phases import RoomPhase


class DeletionPolicy(StrEnum):
    """What becomes of the LiveKit room when the Room is deleted."""

    DELETE = "Delete"
    ORPHAN = "Orphan"


class Occupancy(StrEnum):
    """Whether the room is in use."""

    AVAILABLE = "Available"
    OCCUPIED = "Occupied"
    MAINTENANCE = "Maintenance"


class RoomIssue(StrEnum):
    """What is not as it should be."""

    MISSING = "Missing"
    STALE = "Stale"
    UNOWNED = "Unowned"
    FOREIGN_MARK = "ForeignMark"
    WRONG_PARTICIPANT_COUNT = "WrongParticipantCount"
    UNEXPECTED_PARTICIPANT = "UnexpectedParticipant"


class RoomEndReason(StrEnum):
    """Why a room is gone."""

    EMPTY = "Empty"
    EXPIRED = "Expired"
    TERMINATED = "Terminated"
    DELETED = "Deleted"
    LOST = "Lost"
    DRAINED = "Drained"
    FAILED = "Failed"


MAX_RESTORES: Final = 5


class RoomSpec(SpecModel):
    """The room as it should be on LiveKit."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            immutable(".maxParticipants", "make another Room, LiveKit cannot resize this one"),
            immutable(".emptyTimeoutSeconds", "make another Room, LiveKit reads it only at creation"),
            immutable(".departureTimeoutSeconds", "make another Room, LiveKit reads it only at creation"),
            immutable(".placement", "make another Room, this one cannot move", optional=True),
            rule(
                "oldSelf.terminationReason == '' || self.terminationReason == oldSelf.terminationReason",
                "terminationReason is written once: a room that is closed stays closed, make another Room",
                field=".terminationReason",
                reason="FieldValueForbidden",
            ),
        )
    )

    max_participants: Annotated[int, Field(ge=1, le=1000)] = 2
    """How many may be in the room at once, 1 to 1000. Default: 2. Whoever comes when the room is full is
    refused by LiveKit. Immutable."""

    allowed_identities: Annotated[tuple[Identity, ...], Field(max_length=100, json_schema_extra=distinct())] = Field(
        default_factory=tuple
    )
    """Who may be in the room, by identity on LiveKit; at most 100. Anybody else is removed on sight, but
    for agents, recorders, ingress and telephone lines. Empty (the default): anybody with a token."""

    empty_timeout_seconds: Annotated[int, Field(ge=1, le=MAX_SECONDS)] = 30
    """Seconds that LiveKit keeps the room when nobody has come yet; then a standing room is Terminated
    (Empty), and that of a Match is made again until the Match is over. Default: 30. Immutable."""

    departure_timeout_seconds: Annotated[int, Field(ge=1, le=MAX_SECONDS)] = 20
    """Seconds that LiveKit keeps the room after the last one left; then a standing room is Terminated
    (Empty), and that of a Match is made again until the Match is over. Default: 20. Immutable."""

    metadata: Metadata = Field(default_factory=dict)
    """What clients read as the room's metadata, as a JSON map of texts, beside Roomkeeper's own mark. At
    most 16 entries of 1024 characters. May be changed at any time."""

    max_age_seconds: Annotated[int, Field(ge=0, le=30 * 24 * 3600)] = 0
    """Seconds after its creation when the room is closed, whoever is in it; for standing rooms. 0 (the
    default): never."""

    placement: Placement = unstored(Placement())
    """The LiveKit server on which the room is placed. Default: any server that accepts new rooms. Immutable. Not
    served yet: the operator places every room on the server of its settings."""

    deletion_policy: DeletionPolicy = DeletionPolicy.DELETE
    """What becomes of the LiveKit room when this Room is deleted. `Delete` (the default): it is closed,
    with everybody in it. `Orphan`: it is left alone, and LiveKit closes it when it has been empty for long
    enough."""

    termination_reason: ShortText = ""
    """Set this to close the room for good, with a word or a sentence why. Empty (the default): the room is
    wanted. It is written once."""


class RoomStatus(ApiModel):
    """What has become of the room."""

    model_config = ConfigDict(json_schema_extra=atomic())

    observed_generation: int | None = None
    """The generation of the spec that this status speaks of."""

    phase: RoomPhase | None = None
    """Where the room is on its way: Pending, Creating, Active, Terminating, and at last Terminated or
    Failed."""

    reason: RoomEndReason | None = None
    """Why the room is gone: Empty (a standing room that was closed by its own timeout), Expired
    (maxAgeSeconds), Terminated (terminationReason), Deleted, Lost (LiveKit lost it too often, or could not
    make it again in time), Drained (its server was drained; not served yet) or Failed."""

    occupancy: Occupancy | None = None
    """Available (nobody in it), Occupied, or Maintenance (it is being restored, or closed)."""

    conditions: Annotated[
        tuple[Condition, ...],
        Field(json_schema_extra=keyed_by("type")),
    ] = ()
    """Ready (LiveKit has the room), Healthy (as it should be), Degraded (LiveKit cannot be asked) and
    Finished."""

    livekit_name: str | None = None
    """Name of the room on LiveKit. It is never used again, and stays the same when a lost room is
    restored."""

    sid: str | None = None
    """Id that LiveKit gave to the room. A restored room has a new one."""

    server: str | None = None
    """The LiveKitServer that the room is on; `default` is the one of the operator's settings."""

    num_participants: int | None = None
    """How many were in the room when it was last looked at. Agents and recorders that take no seat are not
    counted."""

    empty_since: Timestamp | None = None
    """Since when nobody has been in the room; absent while somebody is."""

    created_at: Timestamp | None = None
    """When the room was made on LiveKit."""

    terminated_at: Timestamp | None = None
    """When the room was seen to be gone for good."""

    lost_at: Timestamp | None = None
    """Since when LiveKit has not had the room though it should; absent while it has it."""

    restores: int | None = None
    """How often the room was lost and made again."""

    restored_at: Annotated[
        tuple[Timestamp, ...],
        Field(max_length=MAX_RESTORES, json_schema_extra=ordered()),
    ] = ()
    """When it was made again, the last five times. The first restore within ten minutes is made at once,
    each further one after a pause that doubles; after five the room is given up."""

    issues: Annotated[tuple[RoomIssue, ...], Field(json_schema_extra=distinct())] = ()
    """What is not as it should be; the condition Healthy has the sentences. Missing (LiveKit lost it),
    Stale (LiveKit has not answered for long), Unowned (it does not carry our mark, or its Match is gone),
    ForeignMark (a room of this name belongs to somebody else), WrongParticipantCount (more people than
    maxParticipants, or LiveKit's count is not its list), UnexpectedParticipant."""

    last_error: LastError | None = None
    """The error that stands in the way at present, or did last."""


class Room(Resource):
    """One room on LiveKit, owned by a Match or standing for itself.

    A room that LiveKit lost is restored under the same name; one that should not exist is deleted again.
    """

    api_version: Literal["roomkeeper.dev/v1alpha1"] = "roomkeeper.dev/v1alpha1"
    kind: Literal["Room"] = "Room"
    spec: RoomSpec
    """The room as it should be on LiveKit."""
    status: RoomStatus = Field(default_factory=RoomStatus)
    """What has become of the room; written by Roomkeeper."""
