"""Values as the operator sees them, with what a test is about laid over an ordinary one: `a_match(deleted=True)`.

Times are seconds after `T0` (`at(5)`), the moment at which every Match here was created. Manifests as people write them
are in `tests.manifests`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from controller.api.match import Match, MatchStatus
from controller.api.meta import ObjectMeta, OwnerReference
from controller.api.names import API_VERSION, FINALIZER, livekit_room_name, room_name
from controller.api.phases import MatchPhase, RoomPhase
from controller.api.room import Room, RoomStatus
from controller.backends.servers import Server, Servers
from controller.clients.livekit_keys import ApiKey, ApiKeys
from controller.facts.ledger import Cause, Destination, End, LastEvent, Ledger, Release, SettledUser
from controller.facts.livekit import Ghost, LiveKitParticipant, LiveKitRoom, Mark
from controller.facts.match import MatchSeen, Patience, Refusal, ServerFacts, TokensFacts
from controller.facts.observation import Absent, Observation, Present, Unknown
from controller.facts.room import OwnerFacts, RecordFacts, RoomSeen
from controller.facts.silences import Silence, Silences
from controller.facts.time import milliseconds
from controller.rules.end_cause import EndCause
from controller.rules.match_case import MatchCase
from controller.rules.outcomes import releases as decide_releases
from controller.views.livekit import LiveKitView

T0 = datetime(2026, 1, 31, 10, 0, 0, tzinfo=UTC)
CLUSTER, NAMESPACE, NAME = "default", "calls", "match-7f3a"
MATCH_UID, ROOM_UID = "11111111-match", "22222222-room"
ROOM_NAME = room_name(MATCH_UID)
LIVEKIT_NAME = livekit_room_name(CLUSTER, NAMESPACE, ROOM_UID)
URL = "wss://livekit.example"
PEOPLE = ("alice", "bob")


def at(seconds: float) -> datetime:
    """So many seconds after the Match was created."""
    return T0 + timedelta(seconds=seconds)


def ms(seconds: float) -> int:
    """The same moment in milliseconds, as Redis stores it."""
    return milliseconds(at(seconds))


# Objects


def a_match(
    *,
    phase: MatchPhase | None = None,
    deleted: bool = False,
    finalizers: tuple[str, ...] = (FINALIZER,),
    paused: bool = False,
    generation: int = 1,
    namespace: str = NAMESPACE,
    name: str = NAME,
    uid: str = MATCH_UID,
    status: Mapping[str, Any] | None = None,
    **spec: Any,
) -> Match:
    """A Match of alice and bob with our finalizer; `status` and `spec` by field name."""
    people = [{"identity": identity} for identity in PEOPLE]
    return Match.model_validate(
        {
            "metadata": ObjectMeta(
                name=name,
                namespace=namespace,
                uid=uid,
                resource_version="100",
                generation=generation,
                creation_timestamp=T0,
                deletion_timestamp=at(1) if deleted else None,
                finalizers=finalizers,
                annotations={"roomkeeper.dev/paused": "true"} if paused else {},
            ),
            "spec": {"participants": people} | spec,
            "status": MatchStatus.model_validate({"phase": phase} | dict(status or {})),
        }
    )


def connecting(**overrides: Any) -> Match:
    """A Match that became Ready after one second."""
    return a_match(**_with_status({"phase": MatchPhase.CONNECTING, "ready_at": at(1), "started_at": T0}, overrides))


OVER: dict[str, Any] = {
    "phase": "Ended",
    "end": {"reason": "Ended"},
    "ended_at": "2026-01-31T10:00:08Z",
    "conditions": [
        {"type": "Finished", "status": "True", "reason": "Ended", "last_transition_time": "2026-01-31T10:00:08Z"}
    ],
}
"""What the status of a Match that is over says at least."""


def active(**overrides: Any) -> Match:
    """A Match whose people met after three seconds."""
    people = [
        {"identity": identity, "state": "Connected", "since": at(3), "connected_at": at(3), "participant_sid": sid}
        for identity, sid in zip(PEOPLE, ("PA_alice", "PA_bob"), strict=True)
    ]
    status = {
        "phase": MatchPhase.ACTIVE,
        "started_at": T0,
        "ready_at": at(1),
        "connected_at": at(3),
        "participants": people,
    }
    return a_match(**_with_status(status, overrides))


def _with_status(status: Mapping[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    return {**overrides, "status": {**status, **overrides.get("status", {})}}


def a_room(
    *,
    owned: bool = True,
    deleted: bool = False,
    finalizers: tuple[str, ...] = (FINALIZER,),
    paused: bool = False,
    uid: str = ROOM_UID,
    placed: bool = True,
    status: Mapping[str, Any] | None = None,
    **spec: Any,
) -> Room:
    """The Room of `a_match`, or a standing one; on the server `default`, unless it is not `placed` yet."""
    owner = OwnerReference(api_version=API_VERSION, kind="Match", name=NAME, uid=MATCH_UID, controller=True)
    return Room.model_validate(
        {
            "metadata": ObjectMeta(
                name=ROOM_NAME if owned else "lobby",
                namespace=NAMESPACE,
                uid=uid,
                resource_version="200",
                generation=1,
                creation_timestamp=T0,
                deletion_timestamp=at(1) if deleted else None,
                finalizers=finalizers,
                annotations={
                    **({"roomkeeper.dev/paused": "true"} if paused else {}),
                    **({"roomkeeper.dev/server": "default"} if placed and owned else {}),
                },
                owner_references=(owner,) if owned else (),
            ),
            "spec": spec,
            "status": RoomStatus.model_validate(
                {**({} if owned or not placed else {"server": "default"}), **(status or {})}
            ),
        }
    )


def an_active_room(**overrides: Any) -> Room:
    """A Room whose LiveKit room was made after one second."""
    status = {
        "phase": RoomPhase.ACTIVE,
        "created_at": at(1),
        "sid": "RM_1",
        "num_participants": 0,
        "empty_since": at(1),
    }
    return a_room(**_with_status(status, overrides))


def a_lost_room(*restored_at: float, lost_at: float | None = None, **status: Any) -> Room:
    """An active Room with people in it that was restored at those seconds."""
    known = {
        "num_participants": 2,
        "empty_since": None,
        "restored_at": [at(second) for second in restored_at],
        "lost_at": None if lost_at is None else at(lost_at),
    }
    return an_active_room(status={**known, **status})


# Facts


def a_mark(**changes: str) -> Mark:
    """The mark of `a_room`."""
    fields = {"cluster": CLUSTER, "namespace": NAMESPACE, "name": ROOM_NAME, "root_uid": MATCH_UID}
    return Mark(**{**fields, "room_uid": ROOM_UID, **changes})


def a_livekit_room(
    *, name: str = LIVEKIT_NAME, sid: str = "RM_1", people: int = 0, mark: Mark | None = None, foreign: bool = False
) -> LiveKitRoom:
    """The room on LiveKit; `foreign` without our mark."""
    return LiveKitRoom(name, sid, people, None if foreign else mark or a_mark())


def person(
    identity: str, *, state: str = "ACTIVE", sid: str = "", kind: str = "STANDARD", takes_seat: bool = True
) -> LiveKitParticipant:
    """A participant whom LiveKit lists."""
    return LiveKitParticipant(identity, sid or f"PA_{identity}", state, kind, ms(2), takes_seat)


def event(name: str, seconds: float, *, sid: str = "", reason: str = "") -> LastEvent:
    """The last webhook about a participant: `event("joined", 3)`."""
    return LastEvent(f"participant_{name}", reason, sid, ms(seconds), 0)


def ledger(
    phase: str = "Creating",
    *,
    claimed: bool = True,
    settled: str = "",
    recorded: str = "",
    initiator: str = "",
    message: str = "",
    evidence: str = "",
    room: str | None = None,
    queued: Mapping[str, int | None] | None = None,
    outcomes: Iterable[SettledUser] = (),
    last: Mapping[str, LastEvent] | None = None,
) -> Ledger:
    """The ledger of `a_match`; `settled` is the reason of the end, `recorded` one before the users are settled."""
    published = LIVEKIT_NAME if phase not in {"", "Creating"} else ""
    reason = settled or recorded
    return Ledger(
        uid=MATCH_UID,
        claimed=claimed,
        settled=bool(settled),
        phase=phase,
        queued_at_ms=dict.fromkeys(PEOPLE) if queued is None else queued,
        outcomes={outcome.id: outcome for outcome in outcomes},
        end=End(Cause(reason, initiator, message, evidence), ms(5)) if reason else None,
        room=published if room is None else room,
        last=last or {},
    )


def settled_user(identity: str, outcome: str = "WAITING", score_ms: int | None = None, detail: str = "") -> SettledUser:
    """What the ledger says became of a user."""
    return SettledUser(identity, Destination(outcome), score_ms, detail)


def releases(match: Match, seen: MatchSeen, cause: EndCause) -> tuple[Release, ...]:
    """Where the users go when the Match ends for this cause."""
    return decide_releases(MatchCase(match, seen, T0), cause)


# Observations


def silent(*spans: tuple[float, float]) -> Silences:
    """Silences from one second to another."""
    return Silences(tuple(Silence(at(start), at(end)) for start, end in spans))


def tokens(
    expires: float = 900, *, livekit_name: str = LIVEKIT_NAME, api_key: str = "", secret_digest: str = ""
) -> TokensFacts:
    """Tokens that are good until `expires`."""
    return TokensFacts(livekit_name, at(expires), api_key, secret_digest=secret_digest)


def unknown(seconds: float = 2, why: str = "no answer in time") -> Unknown:
    """Could not be read."""
    return Unknown(at(seconds), why)


def _observed(value: Any, seconds: float) -> Any:
    if isinstance(value, Present | Absent | Unknown):
        return value
    return Absent(at(seconds)) if value is None else Present(value, at(seconds))


def seen(
    seconds: float = 2,
    *,
    ledger: Ledger | Observation[Ledger] | None = None,
    refusal: Refusal | None = None,
    room: Room | Observation[Room] | None = None,
    livekit_room: LiveKitRoom | Observation[LiveKitRoom] | None = None,
    people: tuple[LiveKitParticipant, ...] | Observation[tuple[LiveKitParticipant, ...]] = (),
    tokens: TokensFacts | Observation[TokensFacts] | None = None,
    livekit_name: str | None = None,
    trouble: str = "",
    redis_silent_since: float | None = None,
) -> MatchSeen:
    """What was seen of `a_match` at that second: a value is Present, None is Absent."""
    name = LIVEKIT_NAME if room is not None else ""
    return MatchSeen(
        ledger=_observed(ledger, seconds),
        refusal=refusal,
        room=_observed(room, seconds),
        livekit_room=_observed(livekit_room, seconds),
        people=_observed(people, seconds),
        tokens=_observed(tokens, seconds),
        livekit_name=name if livekit_name is None else livekit_name,
        server=ServerFacts("default", URL, trouble, api_key="key", secret_digest="digest"),
        patience=patience(redis_silent_since),
    )


def all_made(seconds: float = 2, **changes: Any) -> MatchSeen:
    """Everything of a call that is Ready is there; no participant has joined."""
    made: dict[str, Any] = {
        "ledger": ledger("Connecting"),
        "room": an_active_room(),
        "livekit_room": a_livekit_room(),
        "tokens": tokens(),
    }
    return seen(seconds, **{**made, **changes})


def both_in(seconds: float = 4, **changes: Any) -> MatchSeen:
    """A call that is up."""
    there = tuple(person(identity) for identity in PEOPLE)
    return all_made(seconds, **{"ledger": ledger("Active"), "people": there, **changes})


def all_gone(seconds: float = 60, **changes: Any) -> MatchSeen:
    """Settled, and nothing of the call is left."""
    return seen(seconds, **{"ledger": ledger("Terminating", settled="Ended", initiator="alice"), **changes})


def room_seen(
    seconds: float = 2,
    *,
    livekit_room: LiveKitRoom | Observation[LiveKitRoom] | None = None,
    people: tuple[LiveKitParticipant, ...] | Observation[tuple[LiveKitParticipant, ...]] = (),
    record: RecordFacts | Observation[RecordFacts] | None = None,
    owned: bool = True,
    ownerless: bool = False,
    gone: bool = False,
    miscounted: bool = False,
    ghosts: Sequence[str] = (),
    trouble: str = "",
    silences: Sequence[tuple[float, float]] = (),
    silent_since: float | None = None,
    redis_silent_since: float | None = None,
    configured: bool = True,
) -> RoomSeen:
    """What was seen of `a_room` at that second: a value is Present, None is Absent.

    `gone`: two reads agree on the absence; `ownerless`: its Match is gone.
    """
    return RoomSeen(
        livekit_name=LIVEKIT_NAME,
        livekit_room=_observed(livekit_room, seconds),
        people=_observed(people, seconds),
        record=_observed(record, seconds),
        owner=OwnerFacts(MATCH_UID, NAME, PEOPLE, "s-1", is_gone=ownerless) if owned else None,
        cluster_id=CLUSTER,
        server=ServerFacts(
            "default",
            URL,
            trouble,
            silent(*silences),
            None if silent_since is None else at(silent_since),
            configured,
        ),
        patience=patience(redis_silent_since),
        is_certainly_gone=gone,
        is_miscounted=miscounted,
        ghosts=tuple(Ghost(who, f"PA_{who}", at(0), at(seconds)) for who in ghosts),
    )


def patience(redis_silent_since: float | None) -> Patience:
    """A deletion waits for 30 s."""
    return Patience(redis_silent_since=None if redis_silent_since is None else at(redis_silent_since))


def a_record(status: str = "active", updated: float = 1) -> RecordFacts:
    """The room's record in Redis."""
    return RecordFacts(status, ms(updated))


def servers(view: LiveKitView | None = None, client: Any = None) -> Servers:
    """The one LiveKit server of a test, with this view and this client."""
    return Servers([Server("default", URL, ApiKeys(ApiKey("key", "secret")), client, view or LiveKitView())])
