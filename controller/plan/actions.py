"""Actions are values: what to do, on which backend, under which guard, and where the effect will be seen.

A plan is a set of actions without order: an action that needs the effect of another one is planned after that effect
was observed. Each action is idempotent under its `idempotency_key`: sent twice, or sent with the reply lost, it leaves
the same state. Crash tests walk `ALL_ACTIONS`, and `act` has one executor for each.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, TypeAlias, get_args

from controller.api.endings import EndReason
from controller.api.fields import Placement
from controller.api.match import MatchSpec
from controller.api.names import ResourceKind
from controller.api.phases import MatchPhase
from controller.api.states import UserState
from controller.errors import Backend
from controller.facts.drain import DrainFacts
from controller.facts.ledger import Release
from controller.facts.livekit import RoomRequest


@dataclass(frozen=True, slots=True)
class Target:
    """The Kubernetes object that an action belongs to, in the version for which it was planned."""

    kind: ResourceKind
    namespace: str
    name: str
    uid: str
    resource_version: str


@dataclass(frozen=True, slots=True)
class Action:
    """What every action declares.

    `guard` is what must still hold when it runs; the backend itself enforces it. `seen_in` is the observation that
    shows the effect.
    """

    backend: ClassVar[Backend]
    guard: ClassVar[str]
    seen_in: ClassVar[str]

    target: Target

    @property
    def idempotency_key(self) -> str:
        """Two actions with one key have one effect."""
        return f"{type(self).__name__}:{self.target.uid}"


@dataclass(frozen=True, slots=True)
class AddFinalizer(Action):
    """Put our finalizer on the object, so that it cannot go before the things that belong to it.

    The `labels`, which are in the same request, have no value.
    """

    backend = Backend.KUBERNETES
    guard = "resourceVersion"
    seen_in = "metadata.finalizers"

    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReleaseFinalizer(Action):
    """Take our finalizer off: nothing is left to clean up. Other finalizers stay.

    Where backends are named, something may be left on them: they have not answered for too long (`rules.patience`).
    """

    backend = Backend.KUBERNETES
    guard = "the finalizer is still in its place (JSON patch test), and so is the uid"
    seen_in = "the object is gone"

    without: tuple[Backend, ...] = ()


@dataclass(frozen=True, slots=True)
class DeleteObject(Action):
    """Delete the object itself: it is over, and has been kept for long enough."""

    backend = Backend.KUBERNETES
    guard = "preconditions.uid"
    seen_in = "metadata.deletionTimestamp"


@dataclass(frozen=True, slots=True)
class Claim(Action):
    """Take both users out of the queue for this Match: all or none."""

    backend = Backend.REDIS
    guard = "epoch, incarnation, and no other Match holds a user"
    seen_in = "ledger.claimed"

    spec: MatchSpec
    session_id: str
    made_at: datetime


@dataclass(frozen=True, slots=True)
class RestoreUsers(Action):
    """Write again, from the status of the Match, what Redis has lost of its ledger and of its users' records."""

    backend = Backend.REDIS
    guard = "epoch, incarnation, and no other Match holds a user"
    seen_in = "ledger.claimed, and the audit of the users' records"


@dataclass(frozen=True, slots=True)
class Advance(Action):
    """Move both users up (CONNECTING < IN_CALL < DISCONNECTING) and publish the room to them.

    `missing` names the participants who dropped out of the call, and until when they may come back (in ms; None if that
    is not known). `alone`: exactly one of them is in the room. `restored` is LiveKit's id of a room that was made
    again: those who are missing are told once to come back.
    """

    backend = Backend.REDIS
    guard = "epoch, incarnation, the users are still held by this Match"
    seen_in = "ledger.phase"

    identities: tuple[str, ...]
    state: UserState
    phase: MatchPhase
    livekit_name: str
    url: str
    session_id: str
    alone: bool = False
    missing: tuple[tuple[str, int | None], ...] = ()
    restored: str = ""


@dataclass(frozen=True, slots=True)
class RecordEnd(Action):
    """Make the cause of the end durable, before anything is taken down. The first cause that is stored stays, unless
    its reason is the word that this action `replaces`.
    """

    backend = Backend.REDIS
    guard = "epoch, incarnation, no cause is stored yet, or only the one that this replaces"
    seen_in = "ledger.end"

    reason: EndReason
    initiator: str
    message: str
    evidence: str
    session_id: str
    replaces: str = ""


@dataclass(frozen=True, slots=True)
class Settle(Action):
    """Release the users, each exactly once: the commit point of the ending."""

    backend = Backend.REDIS
    guard = "epoch, incarnation, the ledger of this UID"
    seen_in = "ledger.settled"

    releases: tuple[Release, ...]
    reason: EndReason
    initiator: str
    message: str
    evidence: str
    session_id: str


@dataclass(frozen=True, slots=True)
class CreateRoom(Action):
    """Create the Room that the Match owns."""

    backend = Backend.KUBERNETES
    guard = "the name is made from the Match's UID; an existing one is adopted only if this Match controls it"
    seen_in = "room"

    spec: MatchSpec


@dataclass(frozen=True, slots=True)
class UpdateRoom(Action):
    """Give the Match's Room the metadata that the Match has now."""

    backend = Backend.KUBERNETES
    guard = "the Room's uid (JSON patch test)"
    seen_in = "room"

    room_name: str
    room_uid: str
    metadata: tuple[tuple[str, str], ...]

    @property
    def idempotency_key(self) -> str:
        """One effect per metadata."""
        return f"UpdateRoom:{self.room_uid}:{self.metadata}"


@dataclass(frozen=True, slots=True)
class DeleteRoom(Action):
    """Delete the Match's Room; the Room's own key closes it on LiveKit."""

    backend = Backend.KUBERNETES
    guard = "preconditions.uid"
    seen_in = "room"

    room_name: str
    room_uid: str


@dataclass(frozen=True, slots=True)
class IssueTokens(Action):
    """Sign a token for each participant and put them where `delivery` says. `replaces`: earlier ones are there."""

    backend = Backend.KUBERNETES
    guard = "the Secret's name is made from the Match's UID, and the Match owns it"
    seen_in = "tokens"

    spec: MatchSpec
    livekit_name: str
    url: str
    replaces: bool = False

    @property
    def idempotency_key(self) -> str:
        """Tokens may be issued again for the same room: later ones replace the earlier."""
        return f"IssueTokens:{self.target.uid}:{self.livekit_name}"


@dataclass(frozen=True, slots=True)
class RevokeTokens(Action):
    """Take the tokens away from where they were put."""

    backend = Backend.KUBERNETES
    guard = "the Secret's name is made from the Match's UID"
    seen_in = "tokens"

    from_secret: bool
    from_redis: bool


@dataclass(frozen=True, slots=True)
class PlaceRoom(Action):
    """Choose the LiveKit server for a Room, and write it into its status before anything is made there.

    `moved_to` is the server for a Room whose first server could not make it; empty for the first choice.
    """

    backend = Backend.KUBERNETES
    guard = "resourceVersion"
    seen_in = "status.server"

    placement: Placement
    moved_to: str = ""

    @property
    def idempotency_key(self) -> str:
        """One effect per server."""
        return f"PlaceRoom:{self.target.uid}:{self.moved_to}"


@dataclass(frozen=True, slots=True)
class CreateLiveKitRoom(Action):
    """Create the room on LiveKit, or adopt the one that is there; a room without a mark gets ours."""

    backend = Backend.LIVEKIT
    guard = "the lease outlasts the request; the answer carries our mark, or none under our own name"
    seen_in = "livekit_room"

    request: RoomRequest


@dataclass(frozen=True, slots=True)
class UpdateLiveKitMetadata(Action):
    """Write the Room's metadata to the room on LiveKit, with our mark beside it."""

    backend = Backend.LIVEKIT
    guard = "the lease outlasts the request; the room carries our mark"
    seen_in = "livekit_room"

    request: RoomRequest

    @property
    def idempotency_key(self) -> str:
        """One effect per metadata."""
        return f"UpdateLiveKitMetadata:{self.request.name}:{self.request.mark.digest}"


@dataclass(frozen=True, slots=True)
class TellRoomOfDrain(Action):
    """Tell the people in the room that the server is drained, or no longer (`ended` is the id of the drain before).

    A message goes to the clients that are there (`has_people`), and the metadata says it to those who come later.
    """

    backend = Backend.LIVEKIT
    guard = "the lease outlasts the requests; the room carries our mark"
    seen_in = "livekit_room"

    request: RoomRequest
    ended: str
    has_people: bool

    @property
    def idempotency_key(self) -> str:
        """One effect per drain. A client that gets the same message again knows it by its id."""
        return f"TellRoomOfDrain:{self.request.name}:{self.request.mark.drain or self.ended}"


@dataclass(frozen=True, slots=True)
class TellUsersOfDrain(Action):
    """Write to the notices of the users that the server of their call is drained, or (None) no longer."""

    backend = Backend.REDIS
    guard = "epoch, incarnation, the users are still held by this Match, and were not told yet"
    seen_in = "ledger.drain"

    identities: tuple[str, ...]
    drain: DrainFacts | None

    @property
    def idempotency_key(self) -> str:
        """One effect per drain."""
        return f"TellUsersOfDrain:{self.target.uid}:{self.drain.id if self.drain is not None else ''}"


@dataclass(frozen=True, slots=True)
class DeleteLiveKitRoom(Action):
    """Close the room on LiveKit, which disconnects all participants.

    `may_have_people`: it is not certain that all people are gone, so a room that LiveKit does not list may still be
    alive.
    """

    backend = Backend.LIVEKIT
    guard = "the lease outlasts the request; the room, where it is listed, carries our mark, or none under our own name"
    seen_in = "livekit_room"

    request: RoomRequest
    may_have_people: bool


@dataclass(frozen=True, slots=True)
class OrphanLiveKitRoom(Action):
    """Leave the room alone: take our mark off, so that no sweep treats it as a leftover."""

    backend = Backend.LIVEKIT
    guard = "the lease outlasts the request; the room carries our mark"
    seen_in = "livekit_room"

    livekit_name: str
    metadata: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class RemoveStranger(Action):
    """Remove a participant who is not in the Room's allowedIdentities."""

    backend = Backend.LIVEKIT
    guard = "the lease outlasts the request; the room carries our mark"
    seen_in = "people"

    livekit_name: str
    identity: str
    participant_sid: str

    @property
    def idempotency_key(self) -> str:
        """One removal per session of the stranger."""
        return f"RemoveStranger:{self.livekit_name}:{self.participant_sid}"


@dataclass(frozen=True, slots=True)
class WriteRoomRecord(Action):
    """Write or renew the room's record in Redis: the room is being made, or is there.

    Without `knows_call`, the record keeps what it says about session and users.
    """

    backend = Backend.REDIS
    guard = "a record that says terminating, terminated or failed stays as it is"
    seen_in = "record"

    livekit_name: str
    status: str
    session_id: str
    users: tuple[str, ...]
    max_participants: int
    created_at: datetime
    knows_call: bool = True

    @property
    def idempotency_key(self) -> str:
        """One effect per status."""
        return f"WriteRoomRecord:{self.target.uid}:{self.status}"


@dataclass(frozen=True, slots=True)
class EndRoomRecord(Action):
    """Write into the record that the room is being closed (`terminating`), or is over (`terminated`, `failed`).

    For a room that is over, a tombstone under the LiveKit name says so as well, also where there is no record. A room
    that is left to its participants (`Orphan`) has none: the sweep closes what has one.
    """

    backend = Backend.REDIS
    guard = "only an existing record is changed; the first final status stays"
    seen_in = "record"

    livekit_name: str
    status: str
    leaves_tombstone: bool = True

    @property
    def idempotency_key(self) -> str:
        """One effect per status."""
        return f"EndRoomRecord:{self.target.uid}:{self.status}"


AnyAction: TypeAlias = (
    AddFinalizer
    | ReleaseFinalizer
    | DeleteObject
    | Claim
    | RestoreUsers
    | Advance
    | RecordEnd
    | Settle
    | CreateRoom
    | UpdateRoom
    | DeleteRoom
    | IssueTokens
    | RevokeTokens
    | PlaceRoom
    | CreateLiveKitRoom
    | UpdateLiveKitMetadata
    | TellRoomOfDrain
    | TellUsersOfDrain
    | DeleteLiveKitRoom
    | OrphanLiveKitRoom
    | RemoveStranger
    | WriteRoomRecord
    | EndRoomRecord
)
"""All actions. A plan holds no other ones."""

ALL_ACTIONS: tuple[type[Action], ...] = get_args(AnyAction)
