"""The table of conditions: for each kind and type, when it holds, and each reason with its meaning.

`status.*` sets conditions from these enums only, docs/reference/conditions.md is made from `CONDITIONS`, and tests hold
every status against it. Where an ending is the reason, the table points at `api.endings` instead of repeating it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final, TypeAlias

from controller.api.endings import ENDINGS, EndCode, EndReason
from controller.api.meta import ConditionStatus
from controller.api.names import LIVEKIT_SERVER, MATCH, ROOM, ResourceKind
from controller.api.room import RoomEndReason, RoomIssue


class ConditionType(StrEnum):
    """The types of conditions, of all kinds."""

    ACCEPTED = "Accepted"
    ROOM_READY = "RoomReady"
    TOKENS_ISSUED = "TokensIssued"
    READY = "Ready"
    CONNECTED = "Connected"
    HEALTHY = "Healthy"
    DEGRADED = "Degraded"
    FINISHED = "Finished"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    DRAINED = "Drained"
    PAUSED = "Paused"


class ConditionReason(StrEnum):
    """Reasons that are no ending, no interruption and no issue of a Room."""

    USERS_CLAIMED = "UsersClaimed"
    USERS_RELEASED = "UsersReleased"
    NOT_CLAIMED = "NotClaimed"
    NOT_KNOWN = "NotKnown"
    NO_ROOM = "NoRoom"
    ROOM_CREATED = "RoomCreated"
    ROOM_MISSING = "RoomMissing"
    NOT_WANTED = "NotWanted"
    NOT_ISSUED = "NotIssued"
    TOKENS_DELIVERED = "TokensDelivered"
    TOKENS_DUE = "TokensDue"
    TOKENS_REFUSED = "TokensRefused"
    NOT_PUBLISHED = "NotPublished"
    PROVISIONED = "Provisioned"
    PROVISIONING = "Provisioning"
    BOTH_CONNECTED = "BothConnected"
    WAITING_FOR_PEOPLE = "WaitingForPeople"
    ALL_BACKENDS_ANSWER = "AllBackendsAnswer"
    BACKEND_UNREACHABLE = "BackendUnreachable"
    BACKEND_REFUSES = "BackendRefuses"
    NO_BACKEND_NEEDED = "NoBackendNeeded"
    RETRYING = "Retrying"
    PAUSED = "Paused"
    RECORDS_DIFFER = "RecordsDiffer"
    ACTION_REQUIRED = "ActionRequired"
    AS_EXPECTED = "AsExpected"
    IN_PROGRESS = "InProgress"
    NO_CALLS_LEFT = "NoCallsLeft"
    CALLS_LEFT = "CallsLeft"
    ANSWERS = "Answers"
    AUTO_CREATE = "AutoCreate"
    NOT_ASKED = "NotAsked"
    UNREACHABLE = "Unreachable"
    WRONG_KEY = "WrongKey"
    CLOCK_SKEW = "ClockSkew"
    CERTIFICATE = "Certificate"
    WRONG_URL = "WrongURL"
    FAILING = "Failing"
    CREDENTIALS_MISSING = "SecretMissing"
    CREDENTIALS_INCOMPLETE = "SecretIncomplete"
    CREDENTIALS_FORBIDDEN = "SecretForbidden"
    CREDENTIALS_UNREAD = "SecretUnread"


class Interruption(StrEnum):
    """Why a call is interrupted. `status.reason` shows it while the phase is Reconnecting."""

    LEFT = "Left"
    CONNECTION_LOST = "ConnectionLost"


Reason: TypeAlias = ConditionReason | Interruption | EndReason | EndCode | RoomEndReason | RoomIssue
"""What can be the reason of a condition."""


@dataclass(frozen=True, slots=True)
class Because:
    """One reason of a condition: the status that it explains, and what it means."""

    status: ConditionStatus
    reason: Reason
    meaning: str


@dataclass(frozen=True, slots=True)
class Endings:
    """Reasons that are endings: the status that they explain, and the name of the table that says what they mean."""

    status: ConditionStatus
    reasons: tuple[Reason, ...]
    table: str


@dataclass(frozen=True, slots=True)
class ConditionRow:
    """One type of condition of one kind. `true` and `false` say what each status means; `false` is empty for a type
    that is either True or absent. `absent` says when an object does not have it; empty if it always does. `served` is
    False for what the API shows and no code sets yet.
    """

    kind: ResourceKind
    type: ConditionType
    true: str
    false: str
    because: tuple[Because, ...] = ()
    endings: Endings | None = None
    absent: str = ""
    served: bool = True

    @property
    def may_be_unknown(self) -> bool:
        """Whether the status can be Unknown."""
        return any(row.status is ConditionStatus.UNKNOWN for row in self.because)

    def allows(self, status: ConditionStatus, reason: str) -> bool:
        """Whether this reason can stand beside this status."""
        if any(row.status is status and row.reason == reason for row in self.because):
            return True
        return self.endings is not None and self.endings.status is status and reason in self.endings.reasons


_C, _T = ConditionReason, ConditionType
_TRUE, _FALSE, _UNKNOWN = ConditionStatus.TRUE, ConditionStatus.FALSE, ConditionStatus.UNKNOWN
MATCH_ENDINGS: Final = "the endings of a Match"
ROOM_ENDINGS_TABLE: Final = "the endings of a Room"
NOT_ACCEPTED: Final = frozenset(
    {
        EndCode.USER_BUSY,
        EndCode.USER_RESERVED,
        EndCode.USER_NOT_QUEUED,
        EndCode.USER_BLOCKED,
        EndCode.USER_TAKEN_AWAY,
    }
)
"""The codes of endings that are about the claim: with them, Accepted is False."""

_ENDED_MATCH: Final = Endings(_FALSE, (*EndReason, *EndCode), MATCH_ENDINGS)
_ENDED_ROOM: Final = Endings(_FALSE, tuple(RoomEndReason), ROOM_ENDINGS_TABLE)

_PROVISIONED: Final = Because(_TRUE, _C.PROVISIONED, "all that the spec asks for is there")
_PROVISIONING: Final = Because(_FALSE, _C.PROVISIONING, "it is being made for the first time")
_LOST: Final = Because(_FALSE, _C.ROOM_MISSING, "LiveKit lost the room, and it is being restored")
_NOT_KNOWN: Final = Because(_UNKNOWN, _C.NOT_KNOWN, "it cannot be read at the moment; the message says why")
_NOT_LOOKED_AT: Final = Because(_UNKNOWN, _C.PAUSED, "the object is paused, and is not looked at")
_NOT_SEEN: Final = (_NOT_KNOWN, _NOT_LOOKED_AT)
_TOKENS_DUE: Final = Because(_FALSE, _C.TOKENS_DUE, "the room is there, and its tokens are being issued again")
_DEGRADED: Final = (
    Because(_TRUE, _C.RECORDS_DIFFER, "Redis has lost a record of the call, and it cannot be written again yet"),
    Because(_TRUE, _C.BACKEND_UNREACHABLE, "a backend does not answer"),
    Because(_TRUE, _C.BACKEND_REFUSES, "a backend answers what it is asked for with an error, again and again"),
    Because(_TRUE, _C.ACTION_REQUIRED, "a backend refuses what Roomkeeper needs; the message names what to repair"),
    Because(_FALSE, _C.ALL_BACKENDS_ANSWER, "all backends that this object needs answer"),
    Because(_FALSE, _C.RETRYING, "one request has failed, and is repeated"),
    Because(_FALSE, _C.NO_BACKEND_NEEDED, "the object is over, and nothing is left to do for it"),
    _NOT_KNOWN,
    _NOT_LOOKED_AT,
)
_NOT_CLAIMED_YET: Final = Because(_FALSE, _C.NOT_CLAIMED, "the users are not claimed yet: nothing is made before")
_NOT_PUBLISHED: Final = Because(
    _FALSE, _C.NOT_PUBLISHED, "the room is there, and its address is being written into the users' records again"
)
_PAUSED: Final = Because(
    _TRUE, _C.PAUSED, "the annotation `roomkeeper.dev/paused` is set, here or on the Match of a Room"
)
_READY_WHILE: Final = "it is over in the normal way, so no tool waits for Ready any longer"
_NOT_RECONCILING: Final = "Ready is True, or it is over, or it cannot become Ready"
_NOT_STALLED: Final = "otherwise"
_NOT_PAUSED: Final = "it is not paused"
_IN_PROGRESS: Final = Because(_FALSE, _C.IN_PROGRESS, "it is not over")


def _while(ready: Because) -> Because:
    """The reason for which Ready is False, as a reason for which something is being done."""
    return Because(_TRUE, ready.reason, ready.meaning)


ROOM_ISSUES: Final[Mapping[RoomIssue, str]] = MappingProxyType(
    {
        RoomIssue.MISSING: "LiveKit lost the room, or closed it while it was empty",
        RoomIssue.STALE: "LiveKit has not answered for long: the status says what was seen last",
        RoomIssue.UNOWNED: "the room on LiveKit does not carry our mark, or the Match of the Room is gone",
        RoomIssue.FOREIGN_MARK: "a room of this name on LiveKit carries the mark of another Room; it is left alone",
        RoomIssue.GHOST_PARTICIPANT: "LiveKit lists people on a node that no longer answers; they count as gone",
        RoomIssue.WRONG_PARTICIPANT_COUNT: (
            "more participants than maxParticipants, or LiveKit's count differs from its list"
        ),
        RoomIssue.UNEXPECTED_PARTICIPANT: "a participant is not in allowedIdentities; Roomkeeper removes them",
    }
)
"""What each issue of a Room means."""

ROOM_ENDINGS: Final[Mapping[RoomEndReason, str]] = MappingProxyType(
    {
        RoomEndReason.EMPTY: "a standing room was empty, and LiveKit closed it at its timeout",
        RoomEndReason.EXPIRED: "the room reached maxAgeSeconds",
        RoomEndReason.TERMINATED: "terminationReason was set",
        RoomEndReason.DELETED: "the Room was deleted",
        RoomEndReason.LOST: "LiveKit lost the room too often, or could not make it again in time",
        RoomEndReason.DRAINED: "the LiveKit server was drained",
        RoomEndReason.FAILED: "the room cannot be made (not served yet)",
    }
)
"""What each ending of a Room means."""

INTERRUPTIONS: Final[Mapping[Interruption, str]] = MappingProxyType(
    {
        Interruption.LEFT: "each participant who is missing said goodbye, and may come back within leaveSeconds",
        Interruption.CONNECTION_LOST: "a participant lost the connection, and may come back within reconnectSeconds",
    }
)
"""What each interruption of a call means."""

_ROWS: Final = (
    ConditionRow(
        MATCH,
        _T.ACCEPTED,
        "this Match holds both users, or held them until it was over",
        "the users are not claimed yet, or cannot be, or never were",
        (
            Because(_TRUE, _C.USERS_CLAIMED, "both users are claimed"),
            Because(_TRUE, _C.USERS_RELEASED, "both users were claimed, and are released by now"),
            Because(
                _FALSE, _C.NOT_CLAIMED, "the users are not claimed yet; the message names an error, if one occurred"
            ),
            _NOT_KNOWN,
        ),
        Endings(_FALSE, tuple(code for code in EndCode if code in NOT_ACCEPTED), MATCH_ENDINGS),
    ),
    ConditionRow(
        MATCH,
        _T.ROOM_READY,
        "LiveKit has the room",
        "LiveKit does not have the room, or the Match is ending or over: the message says what was",
        (
            Because(_TRUE, _C.ROOM_CREATED, "LiveKit has the room"),
            Because(_FALSE, _C.NO_ROOM, "the Match has no Room yet"),
            Because(_FALSE, _C.ROOM_MISSING, "the Room is there, and LiveKit does not have the room yet, or lost it"),
            *_NOT_SEEN,
        ),
        _ENDED_MATCH,
    ),
    ConditionRow(
        MATCH,
        _T.TOKENS_ISSUED,
        "the tokens are where tokens.delivery puts them",
        "the tokens are not there yet, or the Match is ending or over: the message says what was",
        (
            Because(_TRUE, _C.TOKENS_DELIVERED, "the tokens are delivered"),
            Because(_TRUE, _C.NOT_WANTED, "tokens.delivery is None"),
            Because(_FALSE, _C.NOT_ISSUED, "no tokens are issued yet, or those that were issued are gone"),
            Because(
                _FALSE,
                _C.TOKENS_REFUSED,
                "new tokens cannot be put where they belong, the message says why; earlier ones may still be valid",
            ),
            *_NOT_SEEN,
        ),
        _ENDED_MATCH,
    ),
    ConditionRow(
        MATCH,
        _T.READY,
        "the room is there and the tokens are delivered: clients can join",
        "clients cannot join yet, cannot join at the moment, or the Match is ending",
        (
            _PROVISIONED,
            _NOT_CLAIMED_YET,
            _PROVISIONING,
            _LOST,
            _TOKENS_DUE,
            _NOT_PUBLISHED,
            *_NOT_SEEN,
        ),
        _ENDED_MATCH,
        absent=_READY_WHILE,
    ),
    ConditionRow(
        MATCH,
        _T.CONNECTED,
        "both participants are in the room",
        "a participant is missing, or the Match is ending",
        (
            Because(_TRUE, _C.BOTH_CONNECTED, "both participants are in the room"),
            Because(_FALSE, _C.WAITING_FOR_PEOPLE, "the call has not begun: a participant has not come yet"),
            *(Because(_FALSE, interruption, meaning) for interruption, meaning in INTERRUPTIONS.items()),
            *_NOT_SEEN,
        ),
        _ENDED_MATCH,
    ),
    ConditionRow(
        MATCH,
        _T.DEGRADED,
        "a backend does not answer, or does not do what it is asked for",
        "all backends answer",
        _DEGRADED,
    ),
    ConditionRow(
        MATCH,
        _T.FINISHED,
        "the Match is over: the users are settled, room and tokens are gone",
        "the Match is not over; it may be ending",
        (_IN_PROGRESS,),
        Endings(_TRUE, tuple(ENDINGS), MATCH_ENDINGS),
    ),
    ConditionRow(
        MATCH,
        _T.RECONCILING,
        "Roomkeeper works on it: it is not Ready yet, not at the moment, or it is ending",
        "",
        tuple(_while(one) for one in (_NOT_CLAIMED_YET, _PROVISIONING, _LOST, _TOKENS_DUE, _NOT_PUBLISHED, _NOT_KNOWN)),
        Endings(_TRUE, (*EndReason, *EndCode), MATCH_ENDINGS),
        absent=_NOT_RECONCILING,
    ),
    ConditionRow(
        MATCH,
        _T.STALLED,
        "the Match is over and was never made (the phase `Failed`): it does not become Ready",
        "",
        (),
        Endings(_TRUE, (EndReason.FAILED, *EndCode), MATCH_ENDINGS),
        absent=_NOT_STALLED,
    ),
    ConditionRow(
        MATCH,
        _T.PAUSED,
        "nothing is done with the Match and its Room until the annotation is removed; a deletion waits too",
        "",
        (_PAUSED,),
        absent=_NOT_PAUSED,
    ),
    ConditionRow(
        ROOM,
        _T.READY,
        "LiveKit has the room",
        "LiveKit does not have the room, or the Room is ending",
        (
            _PROVISIONED,
            _PROVISIONING,
            _LOST,
            Because(_FALSE, RoomIssue.FOREIGN_MARK, ROOM_ISSUES[RoomIssue.FOREIGN_MARK]),
            *_NOT_SEEN,
        ),
        _ENDED_ROOM,
        absent=_READY_WHILE,
    ),
    ConditionRow(
        ROOM,
        _T.HEALTHY,
        "the room is as it should be",
        "something is wrong with the room; `status.issues` lists what",
        (
            Because(_TRUE, _C.AS_EXPECTED, "nothing is wrong"),
            *(Because(_FALSE, issue, meaning) for issue, meaning in ROOM_ISSUES.items()),
            *_NOT_SEEN,
        ),
    ),
    ConditionRow(ROOM, _T.DEGRADED, "LiveKit does not answer or does not obey", "LiveKit answers", _DEGRADED),
    ConditionRow(
        ROOM,
        _T.FINISHED,
        "the Room is over: the room is gone from LiveKit, or was given up",
        "the Room is not over; it may be ending",
        (_IN_PROGRESS,),
        Endings(_TRUE, tuple(RoomEndReason), ROOM_ENDINGS_TABLE),
    ),
    ConditionRow(
        ROOM,
        _T.RECONCILING,
        "Roomkeeper works on it: it is not Ready yet, not at the moment, or it is ending",
        "",
        (_while(_PROVISIONING), _while(_LOST), _while(_NOT_KNOWN)),
        Endings(_TRUE, tuple(RoomEndReason), ROOM_ENDINGS_TABLE),
        absent=_NOT_RECONCILING,
    ),
    ConditionRow(
        ROOM,
        _T.STALLED,
        "the Room is `Failed`: it does not become Ready by itself",
        "",
        (Because(_TRUE, RoomIssue.FOREIGN_MARK, ROOM_ISSUES[RoomIssue.FOREIGN_MARK]),),
        Endings(_TRUE, (RoomEndReason.LOST, RoomEndReason.FAILED), ROOM_ENDINGS_TABLE),
        absent=_NOT_STALLED,
    ),
    ConditionRow(
        ROOM,
        _T.PAUSED,
        "nothing is done with the room until the annotation is removed; a deletion waits too",
        "",
        (_PAUSED,),
        absent=_NOT_PAUSED,
    ),
    ConditionRow(
        LIVEKIT_SERVER,
        _T.READY,
        "the server answers and accepts the credentials",
        "the server does not answer, or refuses the credentials: no new room is placed on it, calls on it go on",
        (
            Because(_TRUE, _C.ANSWERS, "the server answers and accepts the API key"),
            Because(
                _TRUE,
                _C.AUTO_CREATE,
                "the server answers, but its `room.auto_create` is on: a client with a token that is still valid can "
                "open a closed room again",
            ),
            Because(_FALSE, _C.NOT_ASKED, "the server has not been asked yet"),
            Because(_FALSE, _C.UNREACHABLE, "there is no answer from the server"),
            Because(_FALSE, _C.WRONG_KEY, "the server refuses the API key or its secret"),
            Because(_FALSE, _C.CLOCK_SKEW, "the server refuses the API key because its clock is wrong"),
            Because(_FALSE, _C.CERTIFICATE, "the server's certificate is not trusted, or it refuses ours"),
            Because(_FALSE, _C.WRONG_URL, "what answers at the URL is not LiveKit"),
            Because(_FALSE, _C.FAILING, "the server answers with errors"),
            Because(_FALSE, _C.CREDENTIALS_MISSING, "the Secret with the credentials does not exist"),
            Because(_FALSE, _C.CREDENTIALS_INCOMPLETE, "the Secret does not have what credentials need"),
            Because(_FALSE, _C.CREDENTIALS_FORBIDDEN, "the operator has no right to read the Secret"),
            Because(_FALSE, _C.CREDENTIALS_UNREAD, "the Secret could not be read, and never was since the start"),
        ),
    ),
    ConditionRow(
        LIVEKIT_SERVER,
        _T.DRAINED,
        "none of Roomkeeper's calls is left on the server",
        "some of Roomkeeper's calls are still on the server",
        (
            Because(_TRUE, _C.NO_CALLS_LEFT, "no call and no participant is left"),
            Because(
                _FALSE,
                _C.CALLS_LEFT,
                "calls, participants or rooms are left; `status.callsLeft` has the number of calls, and the message "
                "says what the deletion of the object waits for",
            ),
            Because(
                _FALSE,
                _C.NOT_KNOWN,
                "some Rooms could not be read, so calls may be left; the message names the namespaces or a Room",
            ),
        ),
        absent="the server is neither drained nor being deleted",
    ),
)

CONDITIONS: Final[Mapping[tuple[ResourceKind, ConditionType], ConditionRow]] = MappingProxyType(
    {(row.kind, row.type): row for row in _ROWS}
)
"""Each condition by its kind and its type, in the order in which a status has them."""
