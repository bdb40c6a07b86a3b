"""What the operator asks of the scripts: plain values, no Redis in them.

`plan` decides on them, `pool` sends them, `replies` holds the answers. Invalid ones are refused when they are
made, because a script that starts must find everything it needs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from controller.api.phases import MatchPhase
from controller.api.states import HELD_STATES, UserState
from controller.facts.ledger import VIA_SIGNAL, Cause, Release

_NO_CAUSE = Cause()


class ClaimMode(StrEnum):
    """Whom a claim may take."""

    ANY = "Any"
    """Users who are in no other Match."""
    QUEUED = "Queued"
    """Who waits in the queue, or is reserved for this Match."""
    RESTORE = "Restore"
    """As Any, with the queue times that the Match's status kept; for rebuilding what Redis lost."""


@dataclass(frozen=True, slots=True)
class Claimant:
    """A user to be claimed. `alias` is their identity on LiveKit (empty: the id), `queued_at_ms` the place in the queue
    that the Match's status remembers."""

    id: str
    alias: str = ""
    queued_at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class ClaimRequest:
    """Take all of `users` for the Match `uid`, or none.

    `match_name` is the name of the Match in its namespace: a reservation made for it is honored. `made_ms` is when the
    Match was created (None: just now): it does not take a user who left the queue after that. `state` and `phase`
    differ from their defaults only when a lost ledger is rebuilt.
    """

    uid: str
    match_name: str
    session_id: str
    users: tuple[Claimant, ...]
    mode: ClaimMode = ClaimMode.ANY
    state: UserState = UserState.CONNECTING
    phase: str = MatchPhase.CREATING
    room: str = ""
    url: str = ""
    made_ms: int | None = None

    def __post_init__(self) -> None:
        _require(self.uid, self.session_id, (user.id for user in self.users))
        if not self.state.held:
            raise ValueError(f"a claimed user cannot be {self.state}: use one of {', '.join(sorted(HELD_STATES))}")


@dataclass(frozen=True, slots=True)
class AdvanceRequest:
    """Move users of the Match `uid` forward, and publish what is known by now (empty: leave as it is).

    States only move up, so asking for a state that a user has already passed publishes and changes
    nothing else. `alone` tells whether exactly one of them is in the room (None: as before). With `flag_seconds`,
    a user who becomes DISCONNECTING finds the flag of older clients set for that long. `missing` tells both, when the
    phase becomes Reconnecting, who dropped out and until when they may be back (None: not known). `restored` is
    LiveKit's id of a room that was made again after it was lost: those who are missing are told once to come back.
    """

    uid: str
    users: tuple[tuple[str, UserState], ...]
    phase: str = ""
    room: str = ""
    url: str = ""
    session_id: str = ""
    alone: bool | None = None
    flag_seconds: int = 0
    missing: tuple[tuple[str, int | None], ...] = ()
    restored: str = ""

    def __post_init__(self) -> None:
        _require(self.uid, "-", (user_id for user_id, _ in self.users))


@dataclass(frozen=True, slots=True)
class SettleRequest:
    """Let go of `users`. `final` ends the Match: it must name every user who is not settled yet.

    The first cause that is stored stays, unless its reason is `replaces`. `match_name` is for the event of a Match that
    never claimed a user; Redis knows the name of all others.
    """

    uid: str
    session_id: str
    users: tuple[Release, ...]
    cause: Cause = _NO_CAUSE
    final: bool = True
    replaces: str = ""
    match_name: str = ""

    def __post_init__(self) -> None:
        _require(self.uid, self.session_id, (user.id for user in self.users))


class SignalKind(StrEnum):
    """What a gateway, or a flag of an older client, can say about a user in a Match."""

    SKIP = "skip"
    END = "end"
    DISCONNECT = "disconnect"
    SUSPECT = "suspect"
    """The gateway has lost the user's client, perhaps for a moment."""
    TOKEN = "token"  # noqa: S105 (a name)
    """The user's client needs a token once more."""


@dataclass(frozen=True, slots=True)
class Signal:
    """One of them, about `user` in the Match `uid`.

    `sent_ms` is when it was sent, by the clock of Redis; None where the sender named the Match. `via` is the stream or
    the flag that it came by; `flag_value` is what the flag said when it was read (None: it is none), and it counts only
    while it says so, and is deleted once it is noted.
    """

    uid: str
    user: str
    kind: SignalKind
    by: str = ""
    reason: str = ""
    via: str = VIA_SIGNAL
    sent_ms: int | None = None
    flag_value: str | None = None

    @property
    def is_flag(self) -> bool:
        """Whether an older client set it as a flag."""
        return self.flag_value is not None

    def about(self, uid: str) -> Signal:
        """The same, of the Match `uid`."""
        return replace(self, uid=uid)


@dataclass(frozen=True, slots=True)
class Served:
    """What gateways read about the operator that serves a pool: its version, and how often a client is to beat."""

    version: str
    heartbeat_seconds: float


@dataclass(frozen=True, slots=True)
class Witnessed:
    """A verified LiveKit event. `identity` and `match_uid` are empty if it is about no participant of ours.

    `at_ms` is the event's own time, `joined_at_ms` the participant's; 0 where LiveKit did not say. `entry` is
    what the stream gets.
    """

    event: str
    entry: tuple[tuple[str, str], ...]
    match_uid: str = ""
    identity: str = ""
    sid: str = ""
    reason: str = ""
    at_ms: int = 0
    joined_at_ms: int = 0


def _require(uid: str, session_id: str, user_ids: Iterable[str]) -> None:
    ids = list(user_ids)
    if not uid or not session_id:
        raise ValueError("a Match needs a UID and a session id (by default the UID itself)")
    if not all(ids) or len(set(ids)) != len(ids):
        raise ValueError(f"users must be distinct and not empty: {ids}")
