"""What Roomkeeper publishes in Redis about a call: notices for one user's client, and disconnects, with all fields.

The Lua scripts write each entry together with the change that it reports (`contract/common.lua`). The
tables here and in `api.cloudevents` are the contract with other services: `generate.events_page` makes docs/events.md
and its JSON Schema from them, and the tests compare real entries with them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from controller.api.endings import ENDINGS, EndReason
from controller.api.failure_codes import FailureCode
from controller.api.failures import Recovery
from controller.api.failures_table import FAILURES
from controller.api.livekitserver import OFF, DrainType
from controller.api.states import UserState

Json = str | int | None | tuple["Json", ...] | Mapping[str, "Json"]


class Form(StrEnum):
    """The form of a value. Entries of streams spell every value as text; the data of events is JSON."""

    TEXT = "text"
    TIME = "time in ms"
    NUMBER = "whole number"
    LIST = "list"


@dataclass(frozen=True, slots=True)
class Field:
    """One field. `values` lists all possible values, if they are limited. A field that `may_be_empty` can be the
    empty text, or null for a number in JSON."""

    name: str
    meaning: str
    example: Json
    form: Form = Form.TEXT
    values: tuple[str, ...] = ()
    may_be_empty: bool = False
    items: tuple["Field", ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """One type of entry or of event. If a type has several variants with different fields, `variant` names this one."""

    type: str
    when: str
    fields: tuple[Field, ...]
    variant: str = ""

    @property
    def title(self) -> str:
        """The name of the type, followed by its variant if there is one."""
        return f"{self.type} ({self.variant})" if self.variant else self.type


REFUSALS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "malformed": "This request could not be understood.",
        "idle": "You are not in a call.",
        "unknown": "This call does not exist.",
        "over": "The call is already over.",
        "stranger": "You are not part of this call.",
        "elsewhere": "The call is already over.",
        "older": "This request belongs to an earlier call.",
        "timeless": "It is unknown to which call this request belongs.",
    }
)
"""Why a signal has no effect, with the sentence that the user receives."""

STOP: Final = "stop"
"""What a notice `shutdown` says instead of the type of a drain when the operator itself stops."""

MS = 1_795_456_034_267
_UID = "6f1c0c4e-6f0f-4d0a-9a52-0e9f5ac2f1aa"
_SEQ = Field("seq", "the user's `seq` after this change, as `beat` returns it", 7, Form.NUMBER)
MATCH_UID = Field("match", "UID of the Match", _UID)
MATCH_NAME = Field("matchName", "name of the Match in its namespace", "match-7f3a")
SESSION_ID = Field("sessionID", "id of the call, as in `status.sessionID`", "s-81f2")
LIVEKIT_ROOM = Field("room", "name of the room on LiveKit", "rk-1b2c9d5e")
URL = Field("url", "address of LiveKit to which clients connect", "wss://livekit.example.org")
REASON = Field("reason", "why the Match ended", "Left", values=tuple(EndReason))
INITIATOR = Field(
    "initiator",
    "who requested the end, as the Match or the signal names them; empty if the call ended without a request",
    "bob",
    may_be_empty=True,
)
_STATE = Field("state", "the state of this user now", "WAITING", values=(UserState.WAITING, UserState.IDLE))
_NOTICE = Field("notice", "a sentence to show to this user", ENDINGS[EndReason.LEFT].notice)
PLACE = Field("place", "the place in the queue: the time since which the user counts as waiting", MS, Form.TIME)
_ABOUT = Field("about", "the id of the entry in `signals`", "1795456034267-0")

TOLD: Final = tuple(
    code
    for code, row in FAILURES.items()
    if row.recovery is Recovery.NOTIFY and code not in {FailureCode.SIGNAL_REFUSED, FailureCode.REQUEST_INVALID}
)
"""The errors of a Match that its users get a notice about. The other two belong to no Match."""

NOTICES: Final = (
    Row("matched", "a Match has claimed the user", (MATCH_UID, MATCH_NAME, SESSION_ID, _SEQ)),
    Row(
        "ready",
        "the user can join the room; sent again if the room or the address changes during a call. The notice does not "
        "contain the token: read it from where `tokens.delivery` puts it, and if it is not there yet, read again with "
        "the next beat",
        (MATCH_UID, MATCH_NAME, SESSION_ID, LIVEKIT_ROOM, URL, _SEQ),
    ),
    Row(
        "reconnecting",
        "a participant dropped out of the call, perhaps only for a moment; both users receive this notice. No notice "
        "follows when they are back: LiveKit shows this to the clients",
        (
            MATCH_UID,
            MATCH_NAME,
            Field("missing", "who dropped out, from the view of this user", "other", values=("you", "other", "both")),
            Field(
                "until",
                "when the call ends unless both are back; empty if that is not known yet",
                MS,
                Form.TIME,
                may_be_empty=True,
            ),
            _SEQ,
        ),
    ),
    Row(
        "rejoin",
        "LiveKit lost the room of the call, and the room is there again under its name: the client joins it at once, "
        "with the token and the address that it has, instead of waiting for its own next try. Only users who are not "
        "in the room receive this notice, once for each time that the room was made again. A client that is connected "
        "ignores it",
        (MATCH_UID, MATCH_NAME, SESSION_ID, LIVEKIT_ROOM, URL, _SEQ),
    ),
    Row(
        "ended",
        "the Match has released the user. After every `matched` follows exactly one `ended`, or one `error` with the "
        "code `MatchFailed`; neither follows if another service has taken the user's record away meanwhile",
        (
            MATCH_UID,
            MATCH_NAME,
            SESSION_ID,
            replace(REASON, values=tuple(reason for reason in EndReason if reason is not EndReason.FAILED)),
            INITIATOR,
            _NOTICE,
            _STATE,
            _SEQ,
        ),
    ),
    Row(
        "requeued",
        "the user waits in the queue again; follows `ended` or `error`",
        (MATCH_UID, MATCH_NAME, REASON, PLACE, _SEQ),
    ),
    Row(
        "left-queue",
        "the user no longer waits in the queue",
        (
            Field(
                "why",
                "`Left`: the gateway sent `leave`. `Silent`: three heartbeats in a row did not come (90 s)",
                "Silent",
                values=("Left", "Silent"),
            ),
            _SEQ,
        ),
    ),
    Row(
        "replaced",
        "another connection has taken over this user",
        (
            Field("session", "the replaced connection: the gateway that holds it should close it", "tab-1"),
            Field("by", "the connection that took over", "tab-2"),
            _SEQ,
        ),
    ),
    Row(
        "error",
        "the Match could not be set up: the call that `matched` announced does not take place",
        (
            Field("code", "what went wrong", "MatchFailed", values=("MatchFailed",)),
            MATCH_UID,
            MATCH_NAME,
            replace(_NOTICE, example=ENDINGS[EndReason.FAILED].notice),
            _STATE,
            _SEQ,
        ),
        variant="MatchFailed",
    ),
    Row(
        "error",
        "a signal of the user's gateway (`skip`, `end`, `token`, or an unreadable one) has no effect",
        (
            Field("code", "what went wrong", "SignalRefused", values=("SignalRefused",)),
            _ABOUT,
            Field("signal", "the `type` of the signal, as the gateway sent it", "skip", may_be_empty=True),
            Field("why", "the cause in one word", "over", values=tuple(REFUSALS)),
            replace(_NOTICE, example=REFUSALS["over"]),
        ),
        variant="SignalRefused",
    ),
    Row(
        "error",
        "the Match cannot be made as it was asked for; Roomkeeper goes on trying until `readySeconds` is over",
        (
            Field("code", "what went wrong", "MatchRefused", values=("MatchRefused",)),
            Field("error", "the error, as in errors.md", TOLD[0], values=TOLD),
            Field("about", "UID of the Match and the error", f"{_UID}/{TOLD[0]}"),
            MATCH_NAME,
            replace(_NOTICE, meaning="what happened and what to do", example=FAILURES[TOLD[0]].user),
        ),
        variant="MatchRefused",
    ),
    Row(
        "shutdown",
        "the LiveKit server of the call is being drained, or (`off`) no longer, or (`stop`) "
        "Roomkeeper itself stops. Once per drain; a changed one is "
        "another",
        (
            replace(
                _ABOUT,
                meaning="the id of the drain; with `off`, that of the drain that is over; with `stop`, the name of the "
                "operator's replica",
                example="default-3f2a9c1be07d",
            ),
            Field(
                "drain",
                "`graceful`: the call may continue. `maintenance`: it ends at the deadline. `emergency`: at once. "
                "`off`: the server stays in service, and the call continues. `stop`: the operator stops; the call "
                "goes on, and is not watched until an operator runs again",
                "maintenance",
                values=(*DrainType, OFF, STOP),
            ),
            replace(
                _NOTICE,
                meaning="the message of the drain, for users",
                example="Back in ten minutes.",
                may_be_empty=True,
            ),
            Field(
                "expectedDowntimeSeconds",
                "seconds that the server is expected to be down, if known",
                600,
                Form.NUMBER,
                may_be_empty=True,
            ),
            Field("deadline", "when a drain `maintenance` ends the call", MS, Form.TIME, may_be_empty=True),
        ),
    ),
)
"""The entries of `notify:<id>`. Each entry also has the fields `type` and `at`."""

DISCONNECT: Final = Row(
    "disconnect",
    "a Match that ended has released a user: one entry per user. A rollback (the Match could not be set up, or was "
    "deleted before Ready) writes none, because no user was in a call",
    (
        Field("user", "the user's id", "alice"),
        MATCH_UID,
        MATCH_NAME,
        REASON,
        INITIATOR,
        replace(_STATE, name="targetState", meaning="the state of the user now"),
        Field("at", "when the Match released the user", MS, Form.TIME),
    ),
)
"""The entries of `disconnects`."""
