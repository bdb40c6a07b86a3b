"""Records of Redis besides the ledger: a user (`user:<id>`), a room (`room:<LiveKit name>`), and a live Match."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from controller.api.states import UserState
from controller.clients.reading import NO_SENSE
from controller.clients.redis.replies.table import milliseconds


@dataclass(frozen=True, slots=True)
class User:
    """A user's state. `match` is the UID of the Match that holds them, empty if none does.

    `seq` grows with every change that a gateway should see, `epoch` with every change of state. `session` is
    the gateway's connection that speaks for the user. `reason` is why the last Match ended.
    """

    id: str
    state: UserState
    match: str = ""
    match_name: str = ""
    room: str = ""
    url: str = ""
    session_id: str = ""
    since_ms: int | None = None
    queued_at_ms: int | None = None
    session: str = ""
    reason: str = ""
    seq: int = 0
    epoch: int = 0


def parse_user(user_id: str, fields: Mapping[str, str]) -> User | None:
    """Return the user from their hash; None if the hash is empty or cannot be read."""
    try:
        return _user(user_id, fields)
    except NO_SENSE:
        return None


def _user(user_id: str, fields: Mapping[str, str]) -> User:
    return User(
        id=user_id,
        state=UserState(fields.get("state", "")),
        match=fields.get("match", ""),
        match_name=fields.get("matchName", ""),
        room=fields.get("room", ""),
        url=fields.get("url", ""),
        session_id=fields.get("sessionID", ""),
        since_ms=milliseconds(fields.get("since", "")),
        queued_at_ms=milliseconds(fields.get("queuedAt", "")),
        session=fields.get("session", ""),
        reason=fields.get("reason", ""),
        seq=int(fields.get("seq", "0")),
        epoch=int(fields.get("epoch", "0")),
    )


@dataclass(frozen=True, slots=True)
class RoomRecord:
    """A LiveKit room as other services see it; `status`: creating, active, terminating, terminated or failed."""

    livekit_name: str
    room_name: str
    status: str
    created_at_ms: int
    max_participants: int
    session_id: str = ""
    user1: str = ""
    user2: str = ""

    def fields(self, *, knows_call: bool = True) -> tuple[tuple[str, str], ...]:
        """The hash without `status` and `lastUpdated`, which the script writes.

        Unless the caller `knows_call`, session and users are left out.
        """
        call = (("sessionID", self.session_id), ("user1", self.user1), ("user2", self.user2)) if knows_call else ()
        return (
            ("roomName", self.room_name),
            *call,
            ("createdAt", str(self.created_at_ms)),
            ("maxParticipants", str(self.max_participants)),
        )


@dataclass(frozen=True, slots=True)
class LiveMatch:
    """A Match that holds users, and the time of its claim."""

    uid: str
    claimed_at_ms: int
