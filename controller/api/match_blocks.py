"""The parts of a Match's spec: participants, room, timeouts, tokens, requeue and termination.

Each carries the bounds and rules that concern nothing but itself; what concerns several is in `match_spec`.
"""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from controller.api.cel import atomic, distinct, rule
from controller.api.endings import ENDINGS, EndReason, RequeuePolicy, Rollback, Subject
from controller.api.fields import MAX_SECONDS, Attributes, Identity, Metadata, ShortText
from controller.api.meta import SpecModel, unstored


class TokenDelivery(StrEnum):
    """Where the participants' tokens are put."""

    NONE = "None"
    SECRET = "Secret"  # noqa: S105 (a kind of delivery)
    REDIS = "Redis"
    BOTH = "Both"

    @property
    def to_secret(self) -> bool:
        return self in {TokenDelivery.SECRET, TokenDelivery.BOTH}

    @property
    def to_redis(self) -> bool:
        return self in {TokenDelivery.REDIS, TokenDelivery.BOTH}


class TerminationAction(StrEnum):
    """How a Match is to end."""

    SKIP = "Skip"
    END = "End"
    DISCONNECT = "Disconnect"


class PublishSource(StrEnum):
    """What a participant may publish."""

    CAMERA = "camera"
    MICROPHONE = "microphone"
    SCREEN_SHARE = "screen_share"
    SCREEN_SHARE_AUDIO = "screen_share_audio"


class Grants(SpecModel):
    """What a participant may do in the room. Nobody may create, list or administer rooms."""

    model_config = ConfigDict(json_schema_extra=atomic())

    can_publish: bool = True
    """Whether the participant may publish audio and video. Default: true."""

    can_subscribe: bool = True
    """Whether the participant may receive what the other one publishes. Default: true."""

    can_publish_data: bool = True
    """Whether the participant may send data messages, such as a text chat. Default: true."""

    can_update_own_metadata: bool = False
    """Whether the participant's client may change its own name, metadata and attributes. Default: false."""

    can_publish_sources: Annotated[tuple[PublishSource, ...], Field(max_length=4, json_schema_extra=distinct())] = (
        Field(default_factory=tuple)
    )
    """Sources that the participant may publish, for example only `microphone`. Empty: all of them."""


class Participant(SpecModel):
    """One of the two people of a Match."""

    identity: Identity
    """The user's id: 1 to 256 bytes of UTF-8, no control characters. Redis keeps the user's state under
    it, and unless there is an `alias` it is the identity on LiveKit as well."""

    alias: Identity | None = None
    """The identity that LiveKit and the other person get to see, where the user's id is nobody's business.
    Default: `identity`. The aliases and identities of the two must differ."""

    name: ShortText = Field(default_factory=str)
    """Name for display, at most 256 bytes. Default: none."""

    metadata: Annotated[str, Field(max_length=2048)] = Field(default_factory=str)
    """Text that the participant's token carries as LiveKit metadata; the other person can read it. At most
    2048 characters, since the token travels in a URL. Default: none."""

    attributes: Attributes = Field(default_factory=dict)
    """Attributes that the participant's token carries; the other person can read them. At most 16."""

    grants: Grants = unstored(Grants())
    """What the participant may do in the room. Default: publish, subscribe and send data."""

    @property
    def livekit_identity(self) -> str:
        """Who the participant is on LiveKit."""
        return self.alias or self.identity


class RoomOptions(SpecModel):
    """The room that the Match gets."""

    model_config = ConfigDict(json_schema_extra=atomic())

    max_participants: Annotated[int, Field(ge=1, le=100)] = 2
    """How many may be in the room at once, 100 at most. Default: 2. An agent or a recorder that joins as a
    participant needs a place too. Whoever comes when the room is full is refused by LiveKit. Immutable."""

    empty_timeout_seconds: Annotated[int, Field(ge=1, le=MAX_SECONDS)] = 30
    """Seconds that LiveKit keeps the room when nobody has come yet; then LiveKit closes it. Default: 30.
    At least 5 more than `timeouts.connectSeconds`. Immutable."""

    departure_timeout_seconds: Annotated[int, Field(ge=1, le=MAX_SECONDS)] = 20
    """Seconds that LiveKit keeps the room after the last one left; then LiveKit closes it. Default: 20. At
    least 5 more than `timeouts.reconnectSeconds`, so that both can come back. Immutable."""

    metadata: Metadata = Field(default_factory=dict)
    """What clients read as the room's metadata, as a JSON map of texts, beside Roomkeeper's own mark. At
    most 16 entries of 1024 characters. May be changed while the call is on."""


class Timeouts(SpecModel):
    """How long each step may take, in seconds. Changes apply to what is under way."""

    model_config = ConfigDict(json_schema_extra=atomic())

    ready_seconds: Annotated[int, Field(ge=1, le=3600)] = 30
    """Seconds from the creation of the Match until room and tokens must be there. Default: 30. When they
    run out, everything is undone and the Match has Failed; both people keep their places in the queue."""

    connect_seconds: Annotated[int, Field(ge=1, le=3600)] = 25
    """Seconds from Ready until both people must be in the room. Default: 25. When they run out, the Match
    ends as NoShow."""

    leave_seconds: Annotated[int, Field(ge=0, le=600)] = 3
    """Seconds that somebody whose client said goodbye may take to come back, for example to reload the page.
    Default: 3. When they run out, the Match ends as Left. With 0 it ends at once."""

    reconnect_seconds: Annotated[int, Field(ge=0, le=3600)] = 15
    """Seconds that somebody who lost the connection may take to come back. Default: 15. When they run out,
    the Match ends as NetworkLost."""

    solo_seconds: Annotated[int, Field(ge=1, le=3600)] = 20
    """Seconds, summed up over the call, that one person may be alone in the room after both were there.
    Default: 20. The sum starts anew once both were together for 5 s. When it is reached, the Match ends as
    Abandoned."""

    max_duration_seconds: Annotated[int, Field(ge=0, le=MAX_SECONDS)] = 7200
    """Seconds that a call may last, counted from the moment when both were in the room. Default: 7200, two
    hours. When they run out, the Match ends as MaxDuration. With 0 there is no limit."""


class TokenOptions(SpecModel):
    """The tokens that let the participants into the room."""

    model_config = ConfigDict(json_schema_extra=atomic())

    ttl_seconds: Annotated[int, Field(ge=10, le=86400)] = 900
    """Seconds for which a token lets its owner join. Default: 900. Who is already in the room stays there;
    whoever has to come back later gets a new token."""

    delivery: TokenDelivery = TokenDelivery.SECRET
    """Where the tokens are put: `Secret` (the default) in a Secret that the Match owns (see
    `status.tokens`), `Redis` under the key `tokens:<uid of the Match>`, `Both`, or `None` where the
    application makes its own. Immutable."""


def _override(reason: EndReason) -> Any:
    ending = ENDINGS[reason]
    others = "" if ending.subject is Subject.NOBODY else f" `Others` leaves out {ending.subject}."
    undone = _UNDONE[ending.rollback]
    return Field(None, description=f"After {reason}: {ending.cause}.{others} Default: {ending.requeue}.{undone}")


_UNDONE = {
    Rollback.NEVER: "",
    Rollback.BEFORE_READY: " Before Ready everybody goes back to where they were, whatever is said here.",
    Rollback.ALWAYS: " Everybody goes back to where they were, whatever is said here.",
}


class Requeue(SpecModel):
    """Who goes back to the queue, per reason of the end. What is not given follows the table of endings."""

    model_config = ConfigDict(json_schema_extra=atomic())

    on_skipped: RequeuePolicy | None = _override(EndReason.SKIPPED)
    on_ended: RequeuePolicy | None = _override(EndReason.ENDED)
    on_left: RequeuePolicy | None = _override(EndReason.LEFT)
    on_disconnected: RequeuePolicy | None = _override(EndReason.DISCONNECTED)
    on_no_show: RequeuePolicy | None = _override(EndReason.NO_SHOW)
    on_network_lost: RequeuePolicy | None = _override(EndReason.NETWORK_LOST)
    on_abandoned: RequeuePolicy | None = _override(EndReason.ABANDONED)
    on_max_duration: RequeuePolicy | None = _override(EndReason.MAX_DURATION)
    on_deleted: RequeuePolicy | None = _override(EndReason.DELETED)
    on_room_lost: RequeuePolicy | None = _override(EndReason.ROOM_LOST)
    on_failed: RequeuePolicy | None = _override(EndReason.FAILED)
    on_drained: RequeuePolicy | None = _override(EndReason.DRAINED)

    def policy_for(self, reason: EndReason) -> RequeuePolicy:
        """Who goes back to the queue after an end for this reason."""
        ending = ENDINGS[reason]
        chosen: RequeuePolicy | None = getattr(self, ending.requeue_field)
        return chosen or ending.requeue


class Termination(SpecModel):
    """The wish that the Match be over: written later, and only once, by whoever wants it."""

    model_config = ConfigDict(
        json_schema_extra=atomic(
            rule(
                "self.action == 'Disconnect' || (has(self.initiator) && self.initiator != '')",
                "initiator is missing: Skip and End need the identity of the participant who wants it",
                computed="'initiator is missing: ' + self.action + "
                "' needs the identity of the participant who wants it'",
                field=".initiator",
                reason="FieldValueRequired",
            ),
            rule(
                "self.action != 'Disconnect' || has(self.target)",
                "target is missing: Disconnect needs the identity of the participant who is to be removed",
                field=".target",
                reason="FieldValueRequired",
            ),
            rule(
                "self.action == 'Disconnect' || !has(self.target)",
                "target belongs to Disconnect: leave it out, or choose that action",
                computed="'target belongs to Disconnect: leave it out with ' + self.action",
                field=".target",
                reason="FieldValueForbidden",
            ),
        )
    )

    action: TerminationAction
    """How it ends. `Skip`: the initiator wants somebody else. `End`: the initiator hangs up. `Disconnect`:
    the target is to be removed, by decision of somebody who need not be in the call."""

    initiator: ShortText = Field(default_factory=str)
    """Who wants it. With Skip and End the identity of a participant, required; with Disconnect any text,
    for example the name of a moderator."""

    target: Identity | None = None
    """With Disconnect, and only then: the identity of the participant who is to be removed. Required."""

    reason: ShortText = Field(default_factory=str)
    """Why, in the words of whoever writes it. It appears in the status and in the logs."""
