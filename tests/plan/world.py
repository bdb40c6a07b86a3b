"""A small model of Kubernetes, Redis and LiveKit that executes plans and checks that none breaks a promise.

It reconciles like `loop.reconcile`: observe, plan, act, until nothing is left to do at once; then it writes the status.
Every write counts against `budget`. When the budget is used up, the operator is killed, and `restart` starts one that
remembers nothing. Users change states by the rules of the scripts (docs/redis.md).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from controller.api.match import Match, QueuePlace
from controller.api.names import FINALIZER, MATCH
from controller.api.phases import MatchPhase
from controller.api.room import Room
from controller.facts.ledger import Destination, LastEvent, Ledger, Release
from controller.facts.livekit import LiveKitParticipant, LiveKitRoom
from controller.facts.match import MatchSeen, Refusal, TokensFacts
from controller.facts.room import RecordFacts, RoomSeen
from controller.plan import actions as a
from controller.plan.match import plan_match
from controller.plan.room import plan_room
from controller.plan.step import Plan, earliest
from controller.rules.believed import believed_match, believed_room
from controller.rules.match_case import MatchCase
from controller.rules.room import end_reason
from controller.rules.room_case import RoomCase
from controller.status.match import match_status
from controller.status.room import room_status
from tests import values as b

_RANK = {"CONNECTING": 1, "IN_CALL": 2, "DISCONNECTING": 3}
_NEVER_TOGETHER = (
    {a.Claim, a.Settle},
    {a.Claim, a.CreateRoom},
    {a.Advance, a.Settle},
    {a.CreateRoom, a.DeleteRoom},
    {a.IssueTokens, a.RevokeTokens},
    {a.CreateLiveKitRoom, a.DeleteLiveKitRoom},
    {a.AddFinalizer, a.ReleaseFinalizer},
)


class Killed(Exception):
    """The operator was killed just before a write."""


@dataclass
class World:
    """One Match, its Room, two users, one LiveKit server. `held_by` names another match that holds a user."""

    match: Match | None = field(default_factory=lambda: b.a_match(finalizers=()))
    now: float = 0.0
    room: Room | None = None
    ledger: Ledger | None = None
    users: dict[str, str] = field(default_factory=lambda: dict.fromkeys(b.PEOPLE, "WAITING"))
    queue: dict[str, int] = field(default_factory=lambda: {"alice": b.ms(-20), "bob": b.ms(-10)})
    livekit: LiveKitRoom | None = None
    people: dict[str, LiveKitParticipant] = field(default_factory=dict)
    record: RecordFacts | None = None
    tokens: TokensFacts | None = None
    remembers_tokens: bool = True
    held_by: Refusal | None = None
    budget: int = 1_000_000
    writes: int = 0
    rooms_made: int = 0
    livekit_rooms_made: int = 0
    freed: list[str] = field(default_factory=list)
    called_back: list[tuple[str, str]] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    next_look: datetime | None = None

    # Events from outside: clients, matchmakers, LiveKit

    def restart(self) -> None:
        """Start the successor of a killed operator; it knows only the stored state."""
        self.budget = 1_000_000
        self.remembers_tokens = False

    def join(self, identity: str, *, webhook: bool = True) -> None:
        """Let a user with a token join. Without a room on LiveKit no client gets in."""
        wants_tokens = self.match is None or self.match.spec.tokens.delivery.value != "None"
        if self.livekit is None or (wants_tokens and self.tokens is None):
            return
        self.people[identity] = b.person(identity, sid=f"PA_{identity}_{self.now}")
        if webhook:
            self._witness(identity, "participant_joined", "")

    def leave(self, identity: str, *, webhook: bool = True, reason: str = "CLIENT_INITIATED") -> None:
        """Let a participant leave the room."""
        if self.people.pop(identity, None) is not None and webhook:
            self._witness(identity, "participant_left", reason)

    def wish(self, **termination: str) -> None:
        """Write `spec.termination` as the matchmaker does; only the first wish counts."""
        if self.match is not None and self.match.spec.termination is None:
            spec = self.match.spec.model_copy(update={"termination": None}).manifest() | {"termination": termination}
            self.match = Match.model_validate(self.match.manifest() | {"spec": spec})
            self._touch_match(generation=self.match.metadata.generation + 1)

    def delete_match(self) -> None:
        """`kubectl delete match`."""
        if self.match is not None and self.match.metadata.deletion_timestamp is None:
            if not self.match.metadata.finalizers:
                self._match_is_gone()
                return
            self._touch_match(deletion_timestamp=b.at(self.now))

    def delete_room(self) -> None:
        """Delete the Match's Room, as a user or the garbage collector does."""
        if self.room is not None and self.room.metadata.deletion_timestamp is None:
            self._touch_room(deletion_timestamp=b.at(self.now))

    def revive_livekit_room(self) -> None:
        """Let a client make the lost room with a token that it still has (`auto_create: true`)."""
        if self.livekit is None and self.room is not None:
            self.livekit_rooms_made += 1
            self.livekit = b.a_livekit_room(sid=f"RM_{self.livekit_rooms_made}", foreign=True)

    def edit_match(self, status: dict[str, Any] | None) -> None:
        """Merge this into the status of the Match as `kubectl patch --subresource=status` does; None empties it."""
        assert self.match is not None
        edited = {**self.match.manifest(), "status": _merged(self.match.status.manifest(), status)}
        self.match = Match.model_validate(edited)
        self._touch_match()

    def edit_room(self, status: dict[str, Any] | None) -> None:
        """The same for the Room of the Match."""
        assert self.room is not None
        edited = {**self.room.manifest(), "status": _merged(self.room.status.manifest(), status)}
        self.room = Room.model_validate(edited)
        self._touch_room()

    def lose_livekit_room(self) -> None:
        """Let LiveKit forget everything."""
        self.livekit, self.people = None, {}

    # The operator

    def until_rest(self) -> None:
        """Reconcile both keys until neither has anything to write."""
        for _ in range(12):
            before = self.writes
            self.next_look = earliest(self._reconcile_match(), self._reconcile_room())
            if self.writes == before:
                return
        raise AssertionError(f"still not at rest: {self.log}")

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and the operator wake up at each of its deadlines."""
        end = b.at(self.now + seconds)
        self.until_rest()
        for _ in range(1000):
            if self.next_look is None or self.next_look > end:
                break
            self.now = max(self.now, (self.next_look - b.T0).total_seconds()) + 0.001
            self.until_rest()
        else:
            raise AssertionError("the operator reconciles without end")
        self.now = (end - b.T0).total_seconds()

    def _reconcile_match(self) -> datetime | None:
        refusal: Refusal | None = None
        for _ in range(10):
            if self.match is None:
                return None
            seen, believed = self.seen_of_match(refusal), believed_match(self.match, b.at(self.now))
            plan = plan_match(MatchCase(believed, seen, b.at(self.now)))
            check_plan(plan)
            if not plan.actions:
                status = match_status(MatchCase(believed, seen, b.at(self.now)), None)
                if status.manifest() != self.match.status.manifest() and self._can_be_written(self.match):
                    self._write("status")
                    self.match = self.match.model_copy(update={"status": status})
                    self._touch_match()
                    plan = plan_match(MatchCase(self.match, seen, b.at(self.now)))
                return b.at(self.now) if plan.actions else plan.deadline
            for action in plan.actions:
                refusal = self._carry_out(action) or refusal
        raise AssertionError(f"two steps undo each other: {self.log[-20:]}")

    def _reconcile_room(self) -> datetime | None:
        for _ in range(10):
            if self.room is None:
                return None
            seen, believed = self.seen_of_room(), believed_room(self.room, b.at(self.now))
            plan = plan_room(RoomCase(believed, seen, b.at(self.now)))
            check_plan(plan)
            if not plan.actions:
                status = room_status(RoomCase(believed, seen, b.at(self.now)), None)
                if status.manifest() != self.room.status.manifest() and self._can_be_written(self.room):
                    self._write("room status")
                    self.room = self.room.model_copy(update={"status": status})
                    self._touch_room()
                    plan = plan_room(RoomCase(self.room, seen, b.at(self.now)))
                return b.at(self.now) if plan.actions else plan.deadline
            for action in plan.actions:
                self._carry_out(action)
        raise AssertionError(f"two steps undo each other: {self.log[-20:]}")

    def phase(self) -> MatchPhase | None:
        """Return the phase that `kubectl get matches` shows; None once the Match is gone."""
        return self.match.status.phase if self.match is not None else None

    def seen_of_match(self, refusal: Refusal | None) -> MatchSeen:
        """Return a fresh observation for the Match's planner."""
        assert self.match is not None
        known: Any = self.tokens
        claimed = self.ledger is not None and self.ledger.claimed
        if not self.remembers_tokens and self.match.status.tokens is None and claimed:
            known = b.unknown(self.now, "may have been delivered before")
        return b.seen(
            self.now,
            ledger=self.ledger,
            refusal=refusal,
            room=self.room,
            livekit_room=self.livekit,
            people=tuple(self.people.values()),
            tokens=known,
        )

    def seen_of_room(self) -> RoomSeen:
        """Return a fresh observation for the Room's planner."""
        return b.room_seen(
            self.now,
            livekit_room=self.livekit,
            people=tuple(self.people.values()),
            record=self.record,
            gone=self.livekit is None and "DeleteLiveKitRoom" in self.log,
        )

    # Effects

    def _carry_out(self, action: a.AnyAction) -> Refusal | None:
        self._write(type(action).__name__)
        target = action.target
        now_of: Match | Room | None = self.match if target.kind == MATCH else self.room
        assert now_of is not None
        assert target.uid == now_of.metadata.uid, "an action is for one incarnation"
        refusal: Refusal | None = _EFFECTS[type(action)](self, action)
        return refusal

    def _write(self, name: str) -> None:
        if self.budget <= 0:
            raise Killed
        self.budget -= 1
        self.writes += 1
        self.log.append(name)

    def _add_finalizer(self, action: a.AddFinalizer) -> None:
        if action.target.kind == MATCH:
            self._touch_match(finalizers=(FINALIZER,))
        else:
            self._touch_room(finalizers=(FINALIZER,))

    def _release(self, action: a.ReleaseFinalizer) -> None:
        if action.target.kind == MATCH:
            assert self.ledger is not None
            assert self.ledger.settled, "a Match goes only once its users are settled"
            assert self.room is None, "a Match goes only after its Room"
            assert self.tokens is None, "a Match goes only after its tokens"
            self._match_is_gone()
        else:
            assert self.livekit is None, "a Room goes only after its LiveKit room"
            self.room = None

    def _delete_object(self, _action: a.DeleteObject) -> None:
        self.delete_match()

    def _claim(self, _action: a.Claim) -> Refusal | None:
        assert self.match is not None
        assert FINALIZER in self.match.metadata.finalizers, "nothing is claimed before the finalizer is there"
        if self.held_by is not None:
            self.writes -= 1  # a refusal writes nothing
            return self.held_by
        if self.ledger is None:
            self.ledger = b.ledger("Creating", queued={user: self.queue.get(user) for user in b.PEOPLE})
            self.users = dict.fromkeys(b.PEOPLE, "CONNECTING")
            self.queue = {}
        return None

    def _advance(self, action: a.Advance) -> None:
        assert self.ledger is not None
        if self.ledger.settled:
            return
        solo = self.ledger.alone
        if action.state == "IN_CALL":
            solo = solo.after(alone=action.alone, now_ms=b.ms(self.now))
        room = action.livekit_name or self.ledger.room
        called_back = action.restored if action.restored != self.ledger.rejoined else ""
        if called_back:
            self.called_back += [(called_back, who) for who, _ in action.missing]
        rejoined = called_back or self.ledger.rejoined
        self.ledger = replace(self.ledger, phase=action.phase, room=room, alone=solo, rejoined=rejoined)
        for user in action.identities:
            if _RANK[action.state] > _RANK.get(self.users[user], 0):
                self.users[user] = action.state

    def _record_end(self, action: a.RecordEnd) -> None:
        assert self.ledger is not None
        if self.ledger.end is None or self.ledger.end.cause.reason == action.replaces:
            self.ledger = replace(self.ledger, end=_end(action))

    def _settle(self, action: a.Settle) -> None:
        held = self.ledger or b.ledger("", claimed=False)
        if held.settled:
            return
        done = {}
        for release in action.releases:
            if held.claimed:
                assert self.users[release.id] in _RANK, "a user is released twice"
                self.freed.append(release.id)
                done[release.id] = self._release_user(release, held.queued_at_ms[release.id])
        self.ledger = replace(held, settled=True, outcomes=done, end=held.end or _end(action))

    def _release_user(self, release: Release, original: int | None) -> Any:
        if release.to is Destination.IDLE or original is None:
            self.users[release.id] = "IDLE"
            return b.settled_user(release.id, "IDLE", detail=release.detail)
        score = b.ms(self.now) if release.to is Destination.WAITING and release.place is QueuePlace.NOW else original
        self.users[release.id] = "WAITING"
        self.queue[release.id] = score
        return b.settled_user(release.id, "WAITING", score, release.detail)

    def _create_room(self, action: a.CreateRoom) -> None:
        assert self.ledger is not None
        assert not self.ledger.settled, "no Room is made for a Match that is over"
        if self.room is None:
            self.rooms_made += 1
            people = tuple(person.livekit_identity for person in action.spec.participants)
            self.room = b.a_room(allowed_identities=people)

    def _update_room(self, action: a.UpdateRoom) -> None:
        assert self.room is not None
        spec = self.room.spec.model_copy(update={"metadata": dict(action.metadata)})
        self.room = self.room.model_copy(update={"spec": spec})

    def _update_livekit_metadata(self, action: a.UpdateLiveKitMetadata) -> None:
        assert self.livekit is not None
        self.livekit = replace(self.livekit, mark=action.request.mark)

    def _delete_room(self, action: a.DeleteRoom) -> None:
        assert self.room is not None
        assert action.room_uid == self.room.metadata.uid
        self.delete_room()

    def _issue_tokens(self, action: a.IssueTokens) -> None:
        assert self.ledger is not None
        assert not self.ledger.settled, "no tokens for a Match that is over"
        self.tokens = b.tokens(self.now + action.spec.tokens.ttl_seconds, livekit_name=action.livekit_name)
        self.remembers_tokens = True

    def _revoke_tokens(self, _action: a.RevokeTokens) -> None:
        self.tokens, self.remembers_tokens = None, True

    def _create_livekit_room(self, action: a.CreateLiveKitRoom) -> None:
        assert self.room is not None
        assert self.room.metadata.deletion_timestamp is None, "no room for a Room that is being deleted"
        if self.livekit is None:
            self.livekit_rooms_made += 1
            self.livekit = b.a_livekit_room(sid=f"RM_{self.livekit_rooms_made}", mark=action.request.mark)
        elif self.livekit.mark is None:
            self.livekit = replace(self.livekit, mark=action.request.mark)

    def _delete_livekit_room(self, _action: a.DeleteLiveKitRoom) -> None:
        assert self.room is not None
        wanted = end_reason(self.room, self.seen_of_room(), b.at(self.now)) is None
        assert not wanted, "only a room that should not exist is deleted"
        mark = self.livekit.mark if self.livekit is not None else None
        assert mark is None or mark.room_uid == self.room.metadata.uid, "only a room that carries our mark"
        self.lose_livekit_room()

    def _write_record(self, action: a.WriteRoomRecord) -> None:
        assert self.record is None or self.record.status in {"creating", "active"}, "what is over stays over"
        self.record = b.a_record(action.status, self.now)

    def _end_record(self, action: a.EndRoomRecord) -> None:
        if self.record is not None or action.status != "terminating":
            self.record = b.a_record(action.status, self.now)

    def _remove_stranger(self, action: a.RemoveStranger) -> None:
        self.leave(action.identity)

    def _match_is_gone(self) -> None:
        self.match = None
        self.delete_room()  # the garbage collector

    def _witness(self, identity: str, name: str, reason: str) -> None:
        if self.ledger is not None and self.ledger.claimed and not self.ledger.settled:
            sid = self.people[identity].sid if identity in self.people else ""
            last = LastEvent(name, reason, sid, b.ms(self.now), 0)
            self.ledger = replace(self.ledger, last={**self.ledger.last, identity: last})

    def _touch_match(self, **metadata: Any) -> None:
        assert self.match is not None
        self.match = self.match.model_copy(update={"metadata": _next_version(self.match, metadata)})

    def _touch_room(self, **metadata: Any) -> None:
        assert self.room is not None
        self.room = self.room.model_copy(update={"metadata": _next_version(self.room, metadata)})

    @staticmethod
    def _can_be_written(found: Match | Room) -> bool:
        return found.metadata.deletion_timestamp is None or bool(found.metadata.finalizers)


def _merged(before: dict[str, Any], changes: dict[str, Any] | None) -> dict[str, Any]:
    after = {} if changes is None else {**before, **changes}
    return {key: value for key, value in after.items() if value is not None}


def _end(action: a.RecordEnd | a.Settle) -> Any:
    return b.ledger(
        recorded=action.reason, initiator=action.initiator, message=action.message, evidence=action.evidence
    ).end


def _next_version(found: Match | Room, changes: dict[str, Any]) -> Any:
    version = str(int(found.metadata.resource_version) + 1)
    return found.metadata.model_copy(update={"resource_version": version, **changes})


def check_plan(plan: Plan) -> None:
    """Assert that the plan does not contradict itself."""
    kinds = {type(action) for action in plan.actions}
    for pair in _NEVER_TOGETHER:
        assert not pair <= kinds, f"{pair} in one plan"
    keys = [action.idempotency_key for action in plan.actions]
    assert len(set(keys)) == len(keys), f"one effect twice: {keys}"


def names(plan: Plan) -> list[str]:
    """Return the names of a plan's actions, for tables."""
    return [type(action).__name__ for action in plan.actions]


def only(plan: Plan, kind: type[Any]) -> Any:
    """Return the only action of this kind in the plan."""
    found: Iterable[a.AnyAction] = [action for action in plan.actions if isinstance(action, kind)]
    (action,) = found
    return action


_EFFECTS: dict[type[a.Action], Any] = {
    a.AddFinalizer: World._add_finalizer,
    a.ReleaseFinalizer: World._release,
    a.DeleteObject: World._delete_object,
    a.Claim: World._claim,
    a.Advance: World._advance,
    a.RecordEnd: World._record_end,
    a.Settle: World._settle,
    a.CreateRoom: World._create_room,
    a.UpdateRoom: World._update_room,
    a.DeleteRoom: World._delete_room,
    a.IssueTokens: World._issue_tokens,
    a.RevokeTokens: World._revoke_tokens,
    a.CreateLiveKitRoom: World._create_livekit_room,
    a.UpdateLiveKitMetadata: World._update_livekit_metadata,
    a.DeleteLiveKitRoom: World._delete_livekit_room,
    a.RemoveStranger: World._remove_stranger,
    a.WriteRoomRecord: World._write_record,
    a.EndRoomRecord: World._end_record,
}
