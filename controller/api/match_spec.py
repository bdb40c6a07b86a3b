"""The spec of a Match: what a matchmaker declares, and the rules between its parts."""

from enum import StrEnum
from typing import Annotated, Final

from pydantic import ConfigDict, Field

from controller.api.cel import immutable, keyed_by, rule, validations
from controller.api.fields import MAX_SECONDS, Identity, Placement
from controller.api.match_blocks import Participant, Requeue, RoomOptions, Termination, Timeouts, TokenOptions
from controller.api.meta import SpecModel, unstored

LIVEKIT_MARGIN_SECONDS: Final = 5
"""By so much longer LiveKit keeps a room than we wait, or it would close it before we decide."""


class Admission(StrEnum):
    """From where the users may come."""

    ANY = "Any"
    QUEUED = "Queued"


_THE_TWO = "self.participants[0].identity + ' and ' + self.participants[1].identity"


def _is_participant(field: str, when: str) -> dict[str, str]:
    value = f"self.termination.{field}"
    return rule(
        f"!has(self.termination) || !has({value}) || !({when}) || self.participants.exists(p, p.identity == {value})",
        f"{field} must be the identity of one of the participants",
        computed=f"'{field} ' + {value} + ' is not one of the participants, ' + {_THE_TWO}",
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
    immutable(".participants", "who talks to whom is settled at creation, make another Match"),
    immutable(".sessionID", "it names this call wherever it is mentioned, make another Match", optional=True),
    immutable(".admission", "the users are claimed once, make another Match"),
    immutable(".placement", "the room cannot move, make another Match", optional=True),
    immutable(".tokens.delivery", "the tokens are delivered once, make another Match"),
    immutable(".room.maxParticipants", "LiveKit cannot resize a room, make another Match"),
    immutable(".room.emptyTimeoutSeconds", "LiveKit reads it only at creation, make another Match"),
    immutable(".room.departureTimeoutSeconds", "LiveKit reads it only at creation, make another Match"),
    rule(
        "self.participants.all(p, !has(p.alias) || self.participants.all(q, q.identity == p.identity || "
        "(q.identity != p.alias && (!has(q.alias) || q.alias != p.alias))))",
        "an alias is also the alias or the identity of the other participant: on LiveKit the two must differ",
        field=".participants",
    ),
    rule(
        "self.room.maxParticipants >= size(self.participants)",
        "maxParticipants must be at least the number of participants",
        computed="'%d is less than the %d participants'.format([self.room.maxParticipants, size(self.participants)])",
        field=".room.maxParticipants",
    ),
    _livekit_waits(
        "emptyTimeoutSeconds",
        "connectSeconds",
        "LiveKit would close the room while people are still joining",
    ),
    _livekit_waits(
        "departureTimeoutSeconds",
        "reconnectSeconds",
        "LiveKit would close the room while people may still come back",
    ),
    rule(
        "!has(oldSelf.termination) || (has(self.termination) && self.termination == oldSelf.termination)",
        "termination is written once: the Match is ending already, and that cannot be changed or taken back",
        field=".termination",
        reason="FieldValueForbidden",
    ),
    _is_participant("initiator", "self.termination.action != 'Disconnect' && self.termination.initiator != ''"),
    _is_participant("target", "true"),
)


class MatchSpec(SpecModel):
    """Who talks to whom, and on which terms."""

    model_config = ConfigDict(json_schema_extra=validations(*_MATCH_RULES))

    participants: Annotated[
        tuple[Participant, ...],
        Field(
            min_length=2,
            max_length=2,
            json_schema_extra=keyed_by("identity"),
        ),
    ]
    """The two people who are to meet; exactly two, each with an identity of its own. Immutable."""

    session_id: Identity | None = None
    """Your own id for this call; it appears in Redis and in events. Default: the UID of the Match (see
    `status.sessionID`). Immutable."""

    admission: Admission = Admission.ANY
    """From where the users may come. `Any` (the default): from anywhere, if only they are in no other live
    Match. `Queued`: only from the queue, or from a reservation made for this Match. Immutable."""

    placement: Placement = unstored(Placement())
    """The LiveKit server on which the room is placed. Default: any server that accepts new rooms. Immutable. Not
    served yet: the operator places every room on the server of its settings."""

    room: RoomOptions = RoomOptions()
    """The room that the Match gets. Immutable, but for `metadata`."""

    timeouts: Timeouts = Timeouts()
    """How long each step may take, in seconds, and what happens when the time runs out."""

    tokens: TokenOptions = TokenOptions()
    """The tokens that let the participants into the room, and where they are put."""

    requeue: Requeue = unstored(Requeue())
    """Who goes back to the queue when the Match is over, per reason of the end: `All`, `Others` (everybody
    but the one whom the end goes back to), `Present` (whoever is in the room) or `None`. Whoever did not
    come from the queue, and whoever is blocked, does not go there."""

    ttl_seconds_after_finished: Annotated[int, Field(ge=0, le=MAX_SECONDS)] = 300
    """Seconds for which the Match remains to be looked at once it is over; then it is deleted. Default:
    300. With 0 it is deleted at once."""

    termination: Termination | None = None
    """Set this to end the Match. It is written once and can be neither changed nor taken back."""

    @property
    def identities(self) -> tuple[str, ...]:
        """The users' ids, in the order of the spec."""
        return tuple(p.identity for p in self.participants)
