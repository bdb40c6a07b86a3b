"""What is known about a LiveKit room and the people in it, and our mark that says which Room it belongs to.

`clients.livekit` makes these values, `views.livekit` keeps them, `plan` decides on them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

import orjson

from controller.api.names import MARK_KEY
from controller.facts.drain import DrainFacts

UNKNOWN_WORD = "UNKNOWN"
"""A kind or state of a participant that this version has no name for."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}")


@dataclass(frozen=True, slots=True)
class Mark:
    """Which Room it belongs to: in LiveKit's metadata under `roomkeeper.dev`, and read before we change anything.

    `digest` is that of the metadata of the Room that we wrote beside the mark; empty for none. `drain` is the id of the
    drain that is written in the mark, and that the participants were told about; empty for none.
    """

    cluster: str
    namespace: str
    name: str
    root_uid: str
    room_uid: str
    digest: str = ""
    drain: str = ""

    def to_json(self) -> dict[str, object]:
        """The value of the key `roomkeeper.dev`, without the drain."""
        fields: dict[str, object] = {
            "cluster": self.cluster,
            "namespace": self.namespace,
            "name": self.name,
            "rootUID": self.root_uid,
            "roomUID": self.room_uid,
        }
        return fields | ({"digest": self.digest} if self.digest else {})


@dataclass(frozen=True, slots=True)
class LiveKitRoom:
    """A room as LiveKit lists it, without its secrets."""

    name: str
    sid: str
    num_participants: int
    mark: Mark | None


@dataclass(frozen=True, slots=True)
class LiveKitParticipant:
    """A person (or agent, egress, …) as LiveKit lists them.

    Agents and recorders take no seat: LiveKit lists them, but neither counts them nor keeps a room open for them.
    """

    identity: str
    sid: str
    state: str
    kind: str
    joined_at_ms: int
    takes_seat: bool = True

    @property
    def is_active(self) -> bool:
        """Media is up (a client that only opened the signaling socket is JOINED).

        A participant in a state that this version does not know is in the room: no call ends for a new word.
        """
        return self.state in {"ACTIVE", UNKNOWN_WORD}


@dataclass(frozen=True, slots=True)
class Ghost:
    """A participant whom LiveKit lists, and for whom no node answers: they are gone.

    `since` is the first sign that they were gone, and never before the last sign of life. `probed_at` is when the
    latest request that no node answered was sent.
    """

    identity: str
    sid: str
    since: datetime
    probed_at: datetime


def seats_taken(people: Iterable[LiveKitParticipant]) -> int:
    """How many of `people` LiveKit counts as participants."""
    return sum(person.takes_seat for person in people)


@dataclass(frozen=True, slots=True)
class RoomRequest:
    """What CreateRoom is asked for. `metadata` is the user's map; the mark is added, with the drain of the server."""

    name: str
    max_participants: int
    empty_timeout_seconds: int
    departure_timeout_seconds: int
    metadata: dict[str, object]
    mark: Mark
    drain: DrainFacts | None = None

    @property
    def marked_metadata(self) -> dict[str, object]:
        """The metadata that LiveKit keeps: the user's map, and our mark."""
        drain = {"drain": self.drain.to_json()} if self.drain is not None else {}
        return {**self.metadata, MARK_KEY: self.mark.to_json() | drain}


def metadata_digest(metadata: Mapping[str, object]) -> str:
    """A short text that differs for different metadata of a Room; empty for none."""
    if not metadata:
        return ""
    return hashlib.sha256(orjson.dumps(metadata, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]


def parse_mark(metadata: str) -> Mark | None:
    """Our mark in a room's metadata, or None if there is no valid one."""
    if MARK_KEY not in metadata:
        return None
    try:
        value = orjson.loads(metadata)[MARK_KEY]
        fields = [value[key] for key in ("cluster", "namespace", "name", "rootUID", "roomUID")]
        fields.append(value.get("digest") or "")
        fields.append((value.get("drain") or {}).get("id") or "")
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        return None
    # Every client with an API key of that LiveKit can write there, so accept only what can be a name of ours.
    if not all(isinstance(field, str) and _NAME.fullmatch(field) for field in fields[:5]):
        return None
    if not all(field == "" or (isinstance(field, str) and _NAME.fullmatch(field)) for field in fields[5:]):
        return None
    return Mark(*fields)
