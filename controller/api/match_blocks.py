"""The parts of a Match's spec: participants, room, timeouts, tokens, requeue and termination.

Each part carries the bounds and rules that concern only itself. `match_spec` has the rules between parts.
"""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from controller.api.cel import atomic, distinct, rule
from controller.api.endings import ENDINGS, EndReason, RequeuePolicy, Rollback, Subject
from controller.api.fields import MAX_SECONDS, Attributes, Identity, Metadata, ShortText
from controller.api.meta import SpecModel, unstored
from controller.api.tolerant import is_known


class TokenDelivery(StrEnum):
    """Where Roomkeeper delivers the participants' tokens."""

    NONE = "None"
    SECRET = "Secret"  # noqa: S105 (a kind of delivery)
    REDIS = "Redis"
    BOTH = "Both"

    @property
    def to_secret(self) -> bool:
        """Whether a Secret holds the tokens; also for a word of another version, since a Secret is the default."""
        return self not in {TokenDelivery.NONE, TokenDelivery.REDIS}

    @property
    def to_redis(self) -> bool:
        return self in {TokenDelivery.REDIS, TokenDelivery.BOTH}


class TerminationAction(StrEnum):
    """How a client asks to end a Match."""

    SKIP = "Skip"
    END = "End"
    DISCONNECT = "Disconnect"


class PublishSource(StrEnum):
    """A source that a participant may publish."""

    CAMERA = "camera"
    MICROPHONE = "microphone"
    SCREEN_SHARE = "screen_share"
    SCREEN_SHARE_AUDIO = "screen_share_audio"


class Grants(SpecModel):
    """What a participant may do in the room. No token allows its owner to create, list or administer rooms."""

    model_config = ConfigDict(json_schema_extra=atomic())

    can_publish: bool = True
    """If true, the participant may publish audio and video. Default: true."""

    can_subscribe: bool = True
    """If true, the participant receives what the other participant publishes. Default: true."""

    can_publish_data: bool = True
    """If true, the participant may send data messages, for example for a text chat. Default: true."""

    can_update_own_metadata: bool = False
    """If true, the participant's client may change its own name, metadata and attributes. Default: false."""

    can_publish_sources: Annotated[tuple[PublishSource, ...], Field(max_length=4, json_schema_extra=distinct())] = (
        Field(default_factory=tuple)
    )
    """Sources that the participant may publish, for example only `microphone`. At most 4. Default: none listed,
    which allows all sources."""


class Participant(SpecModel):
    """One of the two participants of a Match."""

    identity: Identity
    """Id of the user: 1 to 256 bytes of UTF-8, no control characters. Redis stores the user's state under this id.
    It is also the identity on LiveKit, unless `alias` is set. Required."""

    alias: Identity | None = None
    """Identity on LiveKit, where the other participant must not see the user's id: 1 to 256 bytes of UTF-8, no control
    characters. It must differ from the other participant's identity and alias. Default: `identity`."""

    name: ShortText = Field(default_factory=str)
    """Display name, at most 256 bytes of UTF-8, no control characters. Default: none."""

    metadata: Annotated[str, Field(max_length=2048)] = Field(default_factory=str)
    """Text that the participant's token carries as LiveKit metadata. The other participant can read it. At most 2048
    characters, since clients send the token in a URL. Default: none."""

    attributes: Attributes = Field(default_factory=dict)
    """Attributes that the participant's token carries. The other participant can read them. At most 16, with keys of
    at most 128 and values of at most 1024 characters, and of at most 65536 bytes of UTF-8 in total. Default: none."""

    grants: Grants = unstored(Grants())
    """What the participant may do in the room. Default: publish, subscribe and send data."""

    @property
    def livekit_identity(self) -> str:
        """The participant's identity on LiveKit."""
        return self.alias or self.identity


class RoomOptions(SpecModel):
    """The room that Roomkeeper creates for the Match."""

    model_config = ConfigDict(json_schema_extra=atomic())

    max_participants: Annotated[int, Field(ge=1, le=100)] = 2
    """Largest number of participants in the room at one time, 2 to 100. An agent or a recorder that joins as a
    participant counts too. LiveKit refuses clients when the room is full. Default: 2. Immutable."""

    empty_timeout_seconds: Annotated[int, Field(ge=1, le=MAX_SECONDS)] = 30
    """Seconds after which LiveKit closes a room that no participant has joined yet, at most 604800 (a week). Must be at
    least `timeouts.connectSeconds` plus 5. Default: 30. Immutable."""

    departure_timeout_seconds: Annotated[int, Field(ge=1, le=MAX_SECONDS)] = 20
    """Seconds after which LiveKit closes the room when the last participant has left, at most 604800 (a week). Must
    be at least `timeouts.reconnectSeconds` plus 5, so that both participants can come back. Default: 20. Immutable."""

    metadata: Metadata = Field(default_factory=dict)
    """Metadata of the room: clients read it as a JSON map, which also contains Roomkeeper's own mark. At most 16
    entries, with keys of at most 128 and values of at most 1024 characters. May change during the call. Default:
    none."""


class Timeouts(SpecModel):
    """How long each step of the call may take, in seconds. A change also applies to a step that has already begun."""

    model_config = ConfigDict(json_schema_extra=atomic())

    ready_seconds: Annotated[int, Field(ge=1, le=3600)] = 30
    """Seconds from the creation of the Match until the room and the tokens must be ready, 1 to 3600. After that,
    Roomkeeper rolls the Match back and its phase is Failed; users from the queue keep their places there. Default:
    30."""

    connect_seconds: Annotated[int, Field(ge=1, le=3600)] = 25
    """Seconds from Ready until both participants must be in the room, 1 to 3600. After that, the Match ends with the
    reason NoShow. Default: 25."""

    leave_seconds: Annotated[int, Field(ge=0, le=600)] = 3
    """Seconds for which a participant whose client left on its own may come back, for example after a page reload, 0 to
    600. After that, the Match ends with the reason Left. 0 ends it at once. Default: 3."""

    reconnect_seconds: Annotated[int, Field(ge=0, le=3600)] = 15
    """Seconds for which a participant who lost the connection may come back, 0 to 3600. After that, the Match ends
    with the reason NetworkLost. 0 ends it at once. Default: 15."""

    solo_seconds: Annotated[int, Field(ge=1, le=3600)] = 20
    """Seconds in total that one participant may be alone in the room after both were there, 1 to 3600. The sum
    restarts at 0 once both have been in the room together for 5 s. When the sum reaches this value, the Match ends
    with the reason Abandoned. Default: 20."""

    max_duration_seconds: Annotated[int, Field(ge=0, le=MAX_SECONDS)] = 7200
    """Seconds that a call may last from the moment when both participants are first in the room, 0 to 604800 (a week).
    After that, the Match ends with the reason MaxDuration. 0 means no limit. Default: 7200, two hours."""


class TokenOptions(SpecModel):
    """The tokens with which the participants join the room."""

    model_config = ConfigDict(json_schema_extra=atomic())

    ttl_seconds: Annotated[int, Field(ge=10, le=86400)] = 900
    """Seconds for which a token lets its owner join the room, 10 to 86400 (a day). A participant who is in the room
    stays there when the token expires. A participant who has to come back later gets a new token. Default: 900."""

    delivery: TokenDelivery = TokenDelivery.SECRET
    """Where Roomkeeper delivers the tokens. `Secret` (the default): in a Secret that the Match owns, see
    `status.tokens`. `Redis`: under the key `tokens:<uid of the Match>`. `Both`: in both places. `None`: nowhere, for
    applications that sign their own tokens. Immutable."""


def _override(reason: EndReason) -> Any:
    ending = ENDINGS[reason]
    others = "" if ending.subject is Subject.NONE else f" `Others` excludes {ending.subject}."
    undone = _UNDONE[ending.rollback]
    when = f"Which users return to the queue after {reason}: {ending.cause}."
    return Field(None, description=f"{when}{others} Default: {ending.requeue}.{undone}")


_UNDONE = {
    Rollback.NEVER: "",
    Rollback.BEFORE_READY: " Before Ready, this field has no effect: both users return to the place they had before.",
    Rollback.ALWAYS: " This field has no effect: both users always return to the place they had before.",
}


class Requeue(SpecModel):
    """Which users return to the queue, for each reason of the end. Unset fields follow the table of endings."""

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
        """Which users return to the queue after an end for this reason."""
        ending = ENDINGS[reason]
        chosen: RequeuePolicy | None = getattr(self, ending.requeue_field)
        return chosen if chosen is not None and is_known(chosen) else ending.requeue


class Termination(SpecModel):
    """A request to end the Match. A client adds it to the spec later, and only once."""

    model_config = ConfigDict(
        json_schema_extra=atomic(
            rule(
                "self.action == 'Disconnect' || (has(self.initiator) && self.initiator != '')",
                "initiator is missing: Skip and End need the identity of the participant who ends the call",
                computed="'initiator is missing: ' + self.action + "
                "' needs the identity of the participant who ends the call'",
                field=".initiator",
                reason="FieldValueRequired",
            ),
            rule(
                "self.action != 'Disconnect' || has(self.target)",
                "target is missing: Disconnect needs the identity of the participant to remove",
                field=".target",
                reason="FieldValueRequired",
            ),
            rule(
                "self.action == 'Disconnect' || !has(self.target)",
                "target is only for the action Disconnect: omit target, or set the action to Disconnect",
                computed="'target is only for the action Disconnect: omit target with ' + self.action",
                field=".target",
                reason="FieldValueForbidden",
            ),
        )
    )

    action: TerminationAction
    """How the Match ends. `Skip`: the initiator wants to talk to another user. `End`: the initiator hangs up.
    `Disconnect`: a third party, for example a moderator, removes the target from the call. Required."""

    initiator: ShortText = Field(default_factory=str)
    """Who requests the end. With Skip and End: the identity of one of the participants, required. With Disconnect: any
    text of at most 256 bytes, for example the name of a moderator; default: none."""

    target: Identity | None = None
    """Identity of the participant to remove. Required with Disconnect, refused with Skip and End."""

    reason: ShortText = Field(default_factory=str)
    """Why the Match should end, in the words of the client that requests it, at most 256 bytes. It appears in the
    status and in the logs. Default: none."""
