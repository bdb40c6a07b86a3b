"""Everything that was seen of one Match at one moment: `observe.match` makes it, plan and status are made from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from controller.api.endings import EndCode
from controller.api.meta import ObjectMeta
from controller.api.room import Room
from controller.facts.drain import DrainFacts
from controller.facts.ledger import Ledger
from controller.facts.livekit import Ghost, LiveKitParticipant, LiveKitRoom
from controller.facts.observation import Observation
from controller.facts.silences import Silences


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the users could not be claimed: the answer of the claim script, with the holder looked up.

    `code` is one of the `USER_…` codes. `holder` is the name of the Match that holds the user (its UID where the name
    is not known), or the name of the Match for which the user is reserved.
    """

    code: EndCode
    identity: str
    holder: str = ""
    holder_is_ending: bool = False


@dataclass(frozen=True, slots=True)
class TokensFacts:
    """Tokens that were delivered: for which LiveKit room, until when they are valid, which API key signed them, and
    with which address of the server.

    `secret_digest` is that of the secret of the API key. All but the first two are empty where they are not known.
    """

    livekit_name: str
    expires_at: datetime
    api_key: str = ""
    url: str = ""
    secret_digest: str = ""


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """The LiveKit server that the Match's room is on. `url` is the address that clients connect to.

    `silences` are the times in which no client could come back, or be seen to: windows stand still in them. For a Match
    they include those of Redis, which tells clients about their room. `silent_since` is the last answer before an
    outage that still lasts. `has_answered`: it has listed its rooms to this replica; until then it is not known for how
    long no replica asked it. A server that is not configured (any longer) is not asked. `api_key` names the key that
    signs tokens now, `secret_digest` is that of its secret; both are empty if that is not known. `drain`: the server is
    being taken out of service.
    """

    name: str
    url: str
    trouble: str = ""
    silences: Silences = field(default_factory=Silences)
    silent_since: datetime | None = None
    is_configured: bool = True
    api_key: str = ""
    drain: DrainFacts | None = None
    secret_digest: str = ""
    has_answered: bool = True


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a deletion waits for a backend that does not answer, and since when Redis has not: None if it does."""

    limit: timedelta = timedelta(seconds=30)
    redis_silent_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class HeartbeatFacts:
    """The users (identities in Redis) whose clients sent heartbeats after the claim, and then none for `after_seconds`.

    With `decide_alone`, their silence ends the call whatever LiveKit says.
    """

    silent: frozenset[str] = frozenset()
    after_seconds: float = 0.0
    decide_alone: bool = False


@dataclass(frozen=True, slots=True)
class AuditFacts:
    """What other services did to the records of a call that is up.

    `taken_away` are users whose record says that this Match does not hold them. `unrecorded` are users without a record
    that could say so: it was evicted, deleted or damaged, which is no evidence. `room_has_tombstone`: Redis has a
    tombstone under the name of its LiveKit room.
    """

    taken_away: frozenset[str] = frozenset()
    unrecorded: frozenset[str] = frozenset()
    room_has_tombstone: bool = False


@dataclass(frozen=True, slots=True)
class MatchSeen:
    """Observations of one Match, without decisions.

    `refusal` is None unless a claim was tried in this reconcile; `livekit_name` is empty while there is no Room.
    `tokens_refused` is why the latest attempt to deliver tokens was refused; empty if it was not.
    `is_over_limit`: the Match is over, and it is one of the oldest where a namespace has more than it keeps.
    `ghosts` are people whom LiveKit lists and who are gone; `people` has none of them. `drain_turn`: since when it is
    the turn of this call to end, because its server is drained; None as long as it is not.
    `unreadable_room` has the metadata of a Room that is there and cannot be read: `room` is Unknown then.
    """

    ledger: Observation[Ledger]
    refusal: Refusal | None
    room: Observation[Room]
    livekit_room: Observation[LiveKitRoom]
    people: Observation[tuple[LiveKitParticipant, ...]]
    tokens: Observation[TokensFacts]
    livekit_name: str
    server: ServerFacts
    heartbeats: HeartbeatFacts = HeartbeatFacts()
    audit: AuditFacts = AuditFacts()
    is_over_limit: bool = False
    unreadable_room: ObjectMeta | None = None
    tokens_refused: str = ""
    patience: Patience = Patience()
    ghosts: tuple[Ghost, ...] = ()
    drain_turn: datetime | None = None
