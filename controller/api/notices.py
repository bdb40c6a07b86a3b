"""What Redis tells others of a call: notices to one user's client, and disconnects. Every type with its fields.

The Lua scripts write them together with what they tell of (`contract/common.lua`). The tables here and in
`api.cloudevents` are what is promised: docs/events.md and its JSON Schema are made from them
(`generate.events_page`), and tests hold real entries against them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from controller.api.endings import ENDINGS, EndReason
from controller.api.states import UserState

Json = str | int | None | tuple["Json", ...] | Mapping[str, "Json"]


class Form(StrEnum):
    """What a value is. In the entries of streams everything is spelled as text; in the data of events it is JSON."""

    TEXT = "text"
    TIME = "time in ms"
    NUMBER = "whole number"
    LIST = "list"


@dataclass(frozen=True, slots=True)
class Field:
    """One field. `values` are all that it can be; `may_be_empty` means the empty text, in JSON null for a number."""

    name: str
    meaning: str
    example: Json
    form: Form = Form.TEXT
    values: tuple[str, ...] = ()
    may_be_empty: bool = False
    items: tuple["Field", ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """One type of entry, or of event. Where a type has several shapes, `variant` names this one."""

    type: str
    when: str
    fields: tuple[Field, ...]
    variant: str = ""

    @property
    def title(self) -> str:
        """The name of the type, with the variant."""
        return f"{self.type} ({self.variant})" if self.variant else self.type


REFUSALS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "malformed": "This request could not be understood.",
        "idle": "There is no call at the moment.",
        "unknown": "There is no such call.",
        "over": "The call is over already.",
        "stranger": "This is somebody else's call.",
        "elsewhere": "The call is over already.",
        "older": "This was meant for an earlier call.",
    }
)
"""Why a signal has no effect, and what the user is told of it."""

MS = 1_795_456_034_267
_UID = "6f1c0c4e-6f0f-4d0a-9a52-0e9f5ac2f1aa"
_SEQ = Field("seq", "the user's `seq` after it, as `beat` tells it", 7, Form.NUMBER)
MATCH_UID = Field("match", "UID of the Match", _UID)
MATCH_NAME = Field("matchName", "its name in the namespace", "match-7f3a")
SESSION_ID = Field("sessionID", "the id of the call, `status.sessionID`", "s-81f2")
LIVEKIT_ROOM = Field("room", "the LiveKit room", "rk-1b2c9d5e")
URL = Field("url", "where clients reach LiveKit", "wss://livekit.example.org")
REASON = Field("reason", "why the Match ended", "Left", values=tuple(EndReason))
INITIATOR = Field(
    "initiator",
    "who wanted the end, as the Match or the signal named them; empty if nobody did",
    "bob",
    may_be_empty=True,
)
_STATE = Field("state", "where this user is now", "WAITING", values=(UserState.WAITING, UserState.IDLE))
_NOTICE = Field("notice", "a sentence for this person", ENDINGS[EndReason.LEFT].notice)
PLACE = Field("place", "the place in the queue: since when the user counts as waiting", MS, Form.TIME)
_ABOUT = Field("about", "the id of the entry in `signals`", "1795456034267-0")

NOTICES: Final = (
    Row("matched", "a Match has taken the user", (MATCH_UID, MATCH_NAME, SESSION_ID, _SEQ)),
    Row(
        "ready",
        "it is known where to join; also if that changes during a call. The token is not in it: read it from where "
        "`tokens.delivery` puts it, and if it is not there yet, again with the next beat",
        (MATCH_UID, MATCH_NAME, SESSION_ID, LIVEKIT_ROOM, URL, _SEQ),
    ),
    Row(
        "reconnecting",
        "somebody dropped out of the call, perhaps for a moment; both are told. Who is back is seen in LiveKit",
        (
            MATCH_UID,
            MATCH_NAME,
            Field("missing", "who dropped out, seen from this user", "other", values=("you", "other", "both")),
            Field(
                "until",
                "the call ends then unless everybody is back; empty if that is not known yet",
                MS,
                Form.TIME,
                may_be_empty=True,
            ),
            _SEQ,
        ),
    ),
    Row(
        "ended",
        "the Match has let go of the user. Every `matched` is followed by one `ended`, or by one `error` that names "
        "the Match",
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
    Row("requeued", "the user waits again; follows `ended` or `error`", (MATCH_UID, MATCH_NAME, REASON, PLACE, _SEQ)),
    Row(
        "left-queue",
        "the user waits no more",
        (
            Field(
                "why",
                "`Left`: by `leave`. `Silent`: beats had come, and stopped for 90 s",
                "Silent",
                values=("Left", "Silent"),
            ),
            _SEQ,
        ),
    ),
    Row(
        "replaced",
        "another connection speaks for the user now",
        (
            Field("session", "the one that is replaced: whoever holds it should close it", "tab-1"),
            Field("by", "the one that speaks for the user", "tab-2"),
            _SEQ,
        ),
    ),
    Row(
        "error",
        "the Match could not be made: the call that was announced with `matched` does not come",
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
        "a signal of the user's gateway (`skip`, `end`, `token`, or one that cannot be read) has no effect",
        (
            Field("code", "what went wrong", "SignalRefused", values=("SignalRefused",)),
            _ABOUT,
            Field("signal", "its `type`, as it was sent", "skip", may_be_empty=True),
            Field("why", "the cause in one word", "over", values=tuple(REFUSALS)),
            replace(_NOTICE, example=REFUSALS["over"]),
        ),
        variant="SignalRefused",
    ),
    Row(
        "shutdown",
        "the server that the call is on is being drained",
        (
            replace(_ABOUT, meaning="the drain: nobody is told of one twice", example="default/3"),
            Field(
                "drain",
                "`graceful`: the call may go on. `maintenance`: it ends at the deadline. `emergency`: at once",
                "maintenance",
                values=("graceful", "maintenance", "emergency"),
            ),
            replace(_NOTICE, meaning="what whoever drains it says", example="Back in ten minutes.", may_be_empty=True),
            Field("expectedDowntimeSeconds", "how long, if that is known", 600, Form.NUMBER, may_be_empty=True),
        ),
    ),
)
"""The entries of `notify:<id>`; every one also has `type` and `at`."""

DISCONNECT: Final = Row(
    "disconnect",
    "a Match that has ended let go of a user: one entry per user. A rollback (the Match could not be made, or was "
    "deleted before Ready) has none, because nobody was in a call",
    (
        Field("user", "the user's id", "alice"),
        MATCH_UID,
        MATCH_NAME,
        REASON,
        INITIATOR,
        replace(_STATE, name="targetState", meaning="where the user is now"),
        Field("at", "when", MS, Form.TIME),
    ),
)
"""The entries of `disconnects`."""
