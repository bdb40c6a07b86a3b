"""The states of a user in Redis, and of a participant in the status of a Match: what each means, and what ends it.

The scripts in `contract` and `controller/clients/redis/scripts` move users; `rules.presence` decides the state of a
participant.
"""

from enum import StrEnum
from typing import Final

from controller.api.machine import Exit, Machine, Stage, machine
from controller.api.match_status import ParticipantState


class UserState(StrEnum):
    """The state of a user: IDLE → WAITING → CONNECTING → IN_CALL → DISCONNECTING → IDLE | WAITING."""

    IDLE = "IDLE"
    WAITING = "WAITING"
    CONNECTING = "CONNECTING"
    IN_CALL = "IN_CALL"
    DISCONNECTING = "DISCONNECTING"

    @property
    def held(self) -> bool:
        """Whether a Match holds the users in this state."""
        return self in HELD_STATES


HELD_STATES: Final = frozenset({UserState.CONNECTING, UserState.IN_CALL, UserState.DISCONNECTING})

_U = UserState
USER_STATES: Final[Machine[UserState]] = machine(
    Stage(
        _U.IDLE,
        "neither waiting nor in a Match; so is every user whom Redis does not know",
        (
            Exit("the user enters the queue", _U.WAITING, by="enqueue"),
            Exit("a Match takes the user, with admission Any", _U.CONNECTING, by="claim"),
        ),
    ),
    Stage(
        _U.WAITING,
        "in the queue, or reserved for a Match",
        (
            Exit("a Match takes the user", _U.CONNECTING, by="claim"),
            Exit("the user leaves the queue", _U.IDLE, by="leave"),
            Exit("the client's heartbeats stopped", _U.IDLE, by="expire"),
        ),
    ),
    Stage(
        _U.CONNECTING,
        "held by a Match: Roomkeeper creates the room and the tokens, then the participants join",
        (
            Exit("both are in the room", _U.IN_CALL, by="advance"),
            Exit("the Match ends", _U.DISCONNECTING, by="advance"),
            Exit("the Match is undone: back to the same place", _U.WAITING, by="settle"),
            Exit("the Match is undone, and the user did not wait before", _U.IDLE, by="settle"),
        ),
    ),
    Stage(
        _U.IN_CALL,
        "held by a Match: both have met. A user who drops out remains IN_CALL, and so does the other user",
        (Exit("the Match ends", _U.DISCONNECTING, by="advance"),),
    ),
    Stage(
        _U.DISCONNECTING,
        "held by a Match that is ending: the reason is recorded, and clients should hang up",
        (
            Exit("settled: back into the queue", _U.WAITING, by="settle"),
            Exit("settled: not requeued", _U.IDLE, by="settle"),
        ),
    ),
)

_P = ParticipantState
PARTICIPANT_STATES: Final[Machine[ParticipantState]] = machine(
    Stage(
        _P.INVITED,
        "not seen on LiveKit yet",
        (
            Exit("signaling is up", _P.JOINING),
            Exit("media is up", _P.CONNECTED),
            Exit("fails to connect", _P.LEFT),
        ),
    ),
    Stage(
        _P.JOINING,
        "LiveKit lists the client, but there is no media yet",
        (
            Exit("media is up", _P.CONNECTED),
            Exit("gone, in a call", _P.RECONNECTING),
            Exit("gone", _P.LEFT),
        ),
    ),
    Stage(
        _P.CONNECTED,
        "in the room: media is up",
        (
            Exit("connects again", _P.JOINING),
            Exit("gone, in a call", _P.RECONNECTING),
            Exit("gone", _P.LEFT),
        ),
    ),
    Stage(
        _P.RECONNECTING,
        "gone from a call in which both have met, and may come back",
        (
            Exit("signaling is up", _P.JOINING),
            Exit("media is up", _P.CONNECTED),
            Exit("the Match ends", _P.LEFT),
        ),
    ),
    Stage(
        _P.LEFT,
        "gone: the Match is ending, or the call has not begun and the participant can still join",
        (
            Exit("signaling is up", _P.JOINING),
            Exit("media is up", _P.CONNECTED),
        ),
    ),
)
