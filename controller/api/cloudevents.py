"""The events in the stream `events`: every transition of a Match, of a user and of a room, with the fields of its data.

They are CloudEvents 1.0 in JSON. Like the tables in `api.notices`, this table is the contract with other services.
"""

from dataclasses import replace
from typing import Final

from controller.api.endings import ENDINGS, EndReason
from controller.api.notices import (
    INITIATOR,
    LIVEKIT_ROOM,
    MATCH_NAME,
    MATCH_UID,
    MS,
    PLACE,
    REASON,
    SESSION_ID,
    URL,
    Field,
    Form,
    Row,
)
from controller.api.phases import MatchPhase, RoomPhase
from controller.api.states import UserState

EVENT_PREFIX: Final = "dev.roomkeeper."

_DETAIL = Field(
    "detail",
    "further detail: what was seen of the user (`NeverSeen`, `CONNECTION_TIMEOUT`, …), or `Blocked`",
    "NeverSeen",
    may_be_empty=True,
)
_WHO = Field("user", "the user's id", "alice")
_USERS = Field(
    "users",
    "the users whom the Match holds, with their states",
    ({"user": "alice", "state": "IN_CALL"}, {"user": "bob", "state": "IN_CALL"}),
    Form.LIST,
    items=(_WHO, Field("state", "the user's state", "IN_CALL", values=tuple(s for s in UserState if s.held))),
)
_ENDED = (
    replace(REASON, values=tuple(reason for reason in EndReason if reason is not EndReason.FAILED)),
    INITIATOR,
    Field(
        "message", "the cause as a sentence, as in `status.end.message`", "bob left and did not come back within 3 s"
    ),
)
_OUTCOMES = Field(
    "users",
    "where each claimed user went; `LOST` means that the Match no longer held them",
    (
        {"user": "alice", "outcome": "WAITING", "place": MS, "detail": ""},
        {"user": "bob", "outcome": "IDLE", "place": None, "detail": ""},
    ),
    Form.LIST,
    items=(
        _WHO,
        Field("outcome", "the state of the user after the end", "WAITING", values=("WAITING", "IDLE", "LOST")),
        replace(PLACE, may_be_empty=True),
        _DETAIL,
    ),
)


def _users_are(state: UserState) -> Field:
    return replace(_USERS, example=tuple({"user": who, "state": state.value} for who in ("alice", "bob")))


def _match(phase: MatchPhase, when: str, *more: Field) -> Row:
    about = Field("phase", "the phase that begins", phase.value, values=(phase.value,))
    return Row(f"match.{phase.lower()}", when, (MATCH_UID, MATCH_NAME, SESSION_ID, about, *more))


_MISSING = Field("missing", "the ids of the users who dropped out", ("bob",), Form.LIST)
_GOES_ON = (MatchPhase.CONNECTING, MatchPhase.ACTIVE, MatchPhase.RECONNECTING)
_REJOIN = Row(
    "match.rejoin",
    "LiveKit lost the room, and the room is there again; the users who are not in it were told to join it at once. "
    "Once for each time that the room was made again, and only if a user is missing",
    (
        MATCH_UID,
        MATCH_NAME,
        SESSION_ID,
        Field("phase", "the phase of the Match", MatchPhase.RECONNECTING.value, values=_GOES_ON),
        replace(_MISSING, meaning="the ids of the users who are not in the room", example=("alice", "bob")),
        LIVEKIT_ROOM,
        URL,
    ),
)


def _user(state: UserState, when: str, reason: str, place: int | None) -> Row:
    return Row(
        f"user.{state.lower().replace('_', '-')}",
        when,
        (
            _WHO,
            Field("state", "the state that begins", state.value, values=(state.value,)),
            Field(
                "reason",
                "why: the reason for which a Match ended, or `Left` or `Silent` for a user who left the queue; empty "
                "for a user who enters it",
                reason,
                may_be_empty=True,
            ),
            replace(PLACE, example=place, may_be_empty=True),
            replace(
                MATCH_UID, meaning="UID of the Match that caused the transition; empty if none did", may_be_empty=True
            ),
            replace(MATCH_NAME, may_be_empty=True),
            replace(_DETAIL, example=""),
        ),
    )


def _room(phase: RoomPhase) -> Row:
    return Row(
        f"room.{phase.record}",
        f"the record `room:<LiveKit name>` changes to `{phase.record}`",
        (
            LIVEKIT_ROOM,
            Field("roomName", "name of the Room in Kubernetes", "rk-1b2c9d5e"),
            replace(SESSION_ID, meaning="id of the call; empty for a Room without a Match", may_be_empty=True),
            Field("status", "the status that begins", phase.record, values=(phase.record,)),
        ),
    )


_M, _U = MatchPhase, UserState
_SAID_BY_THE_MATCH = "only if no event of the Match says it already: "

EVENTS: Final = (
    _match(
        _M.CREATING,
        "the Match has claimed the users",
        replace(
            _USERS,
            meaning="the users whom the Match claimed, with their states and the places in the queue that they had",
            example=tuple({"user": who, "state": "CONNECTING", "place": MS} for who in ("alice", "bob")),
            items=(*_USERS.items, replace(PLACE, may_be_empty=True)),
        ),
    ),
    _match(_M.CONNECTING, "the room and its address are published", _users_are(_U.CONNECTING), LIVEKIT_ROOM, URL),
    _match(_M.ACTIVE, "both participants are in the room, for the first time or again", _users_are(_U.IN_CALL)),
    _match(
        _M.RECONNECTING,
        "a participant dropped out",
        _users_are(_U.IN_CALL),
        _MISSING,
        Field(
            "until",
            "when the call ends unless they are back; empty if that is not known yet",
            MS,
            Form.TIME,
            may_be_empty=True,
        ),
    ),
    _REJOIN,
    _match(
        _M.TERMINATING, "the end is decided, and Roomkeeper notifies the users", _users_are(_U.DISCONNECTING), *_ENDED
    ),
    _match(_M.ENDED, "the Match has released both users, and Roomkeeper closes the room", *_ENDED, _OUTCOMES),
    _match(
        _M.FAILED,
        "the Match could not be set up: both users are where they were before, or were never claimed",
        replace(REASON, example=EndReason.FAILED.value, values=(EndReason.FAILED,)),
        replace(INITIATOR, example=""),
        replace(_ENDED[2], example=ENDINGS[EndReason.FAILED].sentence()),
        replace(_OUTCOMES, example=()),
    ),
    _user(_U.WAITING, "the user entered the queue, or returned to it", "", MS),
    _user(_U.IN_CALL, _SAID_BY_THE_MATCH + "the user is in a call", "", None),
    _user(_U.DISCONNECTING, _SAID_BY_THE_MATCH + "the user's call is ending", "", None),
    _user(_U.IDLE, "the user left the queue or a call, and does not wait", "Silent", None),
    *(_room(phase) for phase in RoomPhase if phase is not RoomPhase.PENDING),
)
"""The events by type, without `EVENT_PREFIX`, with the fields of their `data`."""
