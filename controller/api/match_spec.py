"""The spec of a Match: what a matchmaker declares, and the validation rules between its parts.

Neighbor: `match_blocks` defines the parts.
"""

from enum import StrEnum
from typing import Annotated, Final

from pydantic import ConfigDict, Field

from controller.api.cel import immutable, keyed_by, rule, validations
from controller.api.fields import MAX_SECONDS, Identity, Placement
from controller.api.match_blocks import Participant, Requeue, RoomOptions, Termination, Timeouts, TokenOptions
from controller.api.meta import SpecModel, unstored

LIVEKIT_MARGIN_SECONDS: Final = 5
"""LiveKit must keep a room for this much longer than we wait, or LiveKit closes it before we decide."""


class Admission(StrEnum):
    """From which states a Match may claim users."""

    ANY = "Any"
    QUEUED = "Queued"


_THE_TWO = "self.participants[0].identity + ' and ' + self.participants[1].identity"


def _is_participant(field: str, when: str) -> dict[str, str]:
    value = f"self.termination.{field}"
    return rule(
        f"!has(self.termination) || !has({value}) || !({when}) || self.participants.exists(p, p.identity == {value})",
        f"{field} must be the identity of one of the two participants",
        computed=f"'{field} ' + {value} + ' is not one of the two participants, ' + {_THE_TWO}",
        field=f".termination.{field}",
    )


def _livekit_waits(room_field: str, timeout: str, why: str) -> dict[str, str]:
    has, least = f"self.room.{room_field}", f"{timeout} + {LIVEKIT_MARGIN_SECONDS}"
    return rule(
        f"{has} >= self.timeouts.{least}",
        f"{room_field} must be at least {least}: {why}",
        computed=f"'%d s is less than {least} (%d s): {why}'.format([{has}, self.timeouts.{least}])",
        field=f".room.{room_field}",
    )


_MATCH_RULES: Final = (
    immutable(".participants", "the users are claimed once, create another Match"),
    immutable(".sessionID", "Redis and events name this call by it, create another Match", optional=True),
    immutable(".admission", "the users are claimed once, create another Match"),
    immutable(".placement", "the room cannot move to another server, create another Match", optional=True),
    immutable(".tokens.delivery", "the tokens are delivered once, create another Match"),
    immutable(".room.maxParticipants", "LiveKit cannot resize a room, create another Match"),
    immutable(".room.emptyTimeoutSeconds", "LiveKit reads it when it creates the room, create another Match"),
    immutable(".room.departureTimeoutSeconds", "LiveKit reads it when it creates the room, create another Match"),
    rule(
        "self.participants.all(p, !has(p.alias) || self.participants.all(q, q.identity == p.identity || "
        "(q.identity != p.alias && (!has(q.alias) || q.alias != p.alias))))",
        "an alias equals the alias or identity of the other participant: they must differ on LiveKit",
        field=".participants",
    ),
    rule(
        "self.room.maxParticipants >= size(self.participants)",
        "maxParticipants must be at least the number of participants in the spec",
        computed="'%d is less than the %d participants in the spec'"
        ".format([self.room.maxParticipants, size(self.participants)])",
        field=".room.maxParticipants",
    ),
    _livekit_waits(
        "emptyTimeoutSeconds",
        "connectSeconds",
        "LiveKit would close the room while participants are still joining",
    ),
    _livekit_waits(
        "departureTimeoutSeconds",
        "reconnectSeconds",
        "LiveKit would close the room while participants may still come back",
    ),
    rule(
        "!has(oldSelf.termination) || (has(self.termination) && self.termination == oldSelf.termination)",
        "termination is written once: the Match is already ending, and this cannot be changed or undone",
        field=".termination",
        reason="FieldValueForbidden",
    ),
    _is_participant("initiator", "self.termination.action != 'Disconnect' && self.termination.initiator != ''"),
    _is_participant("target", "true"),
)


class MatchSpec(SpecModel):
    """The two participants and the terms of their call."""

    model_config = ConfigDict(json_schema_extra=validations(*_MATCH_RULES))

    participants: Annotated[
        tuple[Participant, ...],
        Field(
            min_length=2,
            max_length=2,
            json_schema_extra=keyed_by("identity"),
        ),
    ]
    """The participants of the call: exactly two, with different identities. Required. Immutable."""

    session_id: Identity | None = None
    """Your own id for this call: 1 to 256 bytes of UTF-8, no control characters. It appears in Redis and in events.
    Default: the UID of the Match, see `status.sessionID`. Immutable."""

    admission: Admission = Admission.ANY
    """Which users the Match may claim. `Any` (the default): users who are in no other live Match, except those who left
    the queue after the Match was created, or within ten seconds before. `Queued`: only users who wait in the queue, or
    whom a matchmaker reserved for this Match. Immutable."""

    placement: Placement = unstored(Placement())
    """The LiveKit server on which the room is placed. Default: any server that accepts new rooms. Immutable."""

    room: RoomOptions = RoomOptions()
    """The room that Roomkeeper creates for the Match. Immutable, except for `metadata`."""

    timeouts: Timeouts = Timeouts()
    """How long each step of the call may take, in seconds. A change also applies to a step that has already begun."""

    tokens: TokenOptions = TokenOptions()
    """The tokens with which the participants join the room, and where Roomkeeper delivers them."""

    requeue: Requeue = unstored(Requeue())
    """Which users return to the queue when the Match is over, for each reason of the end. `All`: both users.
    `Others`: all but the participant who caused the end. `Present`: the participants who are in the room, and after
    NoShow also those who came but got no media. `None`: no user. Users who did not come from the queue, and blocked
    users, never return to it: they become idle."""

    ttl_seconds_after_finished: Annotated[int, Field(ge=0, le=MAX_SECONDS)] = 300
    """Seconds for which a Match that is over remains, 0 to 604800 (a week); then Roomkeeper deletes it. 0 deletes it
    at once. Default: 300."""

    termination: Termination | None = None
    """Set this to end the Match. Once set, it can be neither changed nor removed. Default: none."""

    @property
    def identities(self) -> tuple[str, ...]:
        """The users' ids, in the order of the spec."""
        return tuple(p.identity for p in self.participants)
