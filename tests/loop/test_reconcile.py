"""One reconcile: rounds of observing, planning and acting, and at most one status write at the end.

Observation, planner, actions and writes are stubs here, so the tests cover only their order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from controller.act.execute import ActionResult
from controller.api import names
from controller.api.endings import EndCode
from controller.api.match import Match, MatchStatus
from controller.api.phases import MatchPhase
from controller.backends.bundle import Backends
from controller.clients.breaker import RULES, Breaker, Ticket
from controller.errors import Backend, BackendUnavailable, Conflict, LeadershipLost
from controller.facts.learned import READ_AGAIN, Effect, Learned
from controller.facts.ledger import Ledger
from controller.facts.match import MatchSeen, Refusal
from controller.facts.observation import Present
from controller.facts.unreadable import Unreadable
from controller.loop import reconcile as reconcile_module
from controller.loop.budgets import Budgets
from controller.loop.key import Key
from controller.loop.recipes import MATCHES, ROOMS
from controller.loop.reconcile import Reconciler
from controller.loop.status_limit import BURST, INTERVAL
from controller.loop.worker import Result
from controller.plan import actions as a
from controller.plan.match import plan_match
from controller.plan.step import Plan
from controller.rules import match_case
from controller.rules.end_cause import EndCause
from controller.rules.endings import cause_of_end
from controller.rules.match_case import MatchCase
from controller.rules.room_case import RoomCase
from controller.status.match import match_status
from controller.status.room import room_status
from controller.views.lost_fields import LostFields
from tests import values as b
from tests.plan.world import only

KEY = Key(names.MATCH, b.NAMESPACE, b.NAME)
AWAY = BackendUnavailable(Backend.REDIS, "claim", "no answer")
CLAIM = only(plan_match(MatchCase(b.a_match(), b.seen(), b.at(1))), a.Claim)
RELEASE = a.ReleaseFinalizer(CLAIM.target)
CREATE = only(plan_match(MatchCase(b.a_match(), b.seen(ledger=b.ledger()), b.at(1))), a.CreateRoom)


class Rig:
    """A reconciler whose planner returns the plans of a test, one after another; it repeats the last one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *plans: Plan, match: Match | None = None) -> None:
        self.plans = list(plans)
        self.learned: list[Learned] = []
        self.done: list[str] = []
        self.writes: list[dict[str, Any]] = []
        self.asked: list[bool] = []
        self.effects: list[Effect | None] = [None]
        self.error: Exception | None = None
        self.write_error: Exception | None = None
        self.is_leader = True
        self.ledger: Ledger | Exception | None = None
        self.seconds = 5.0
        self.writing: Callable[[], None] = lambda: None
        self.phase: MatchPhase | None = MatchPhase.CONNECTING
        self.match = match or b.connecting()
        self.acted: list[tuple[a.AnyAction, ...]] = []
        self.told: list[str] = []
        self.announced: list[Any] = []
        self.cases: list[MatchCase] = []
        self.described: list[MatchCase] = []
        self.cache = SimpleNamespace(get=lambda _namespace, _name: self.match, has=lambda _uid: True)
        self.lost_fields = LostFields()
        self.redis_breaker = Breaker(RULES[Backend.REDIS])
        backends = SimpleNamespace(
            clock=SimpleNamespace(now=lambda: b.at(self.seconds)),
            leadership=SimpleNamespace(require=self._require),
            caches={names.MATCH: self.cache},
            pools=SimpleNamespace(unbound=lambda _namespace: SimpleNamespace(ledger=self._read_ledger)),
            redis=SimpleNamespace(breaker=self.redis_breaker),
            lost_fields=self.lost_fields,
        )
        recipe = replace(
            MATCHES,
            observe=self._observe,
            plan=self._plan,
            status=self._status,
            is_held_back=lambda case: self.phase is MatchPhase.CREATING and case.match.status.phase is None,
            leaving=lambda _announcer, case: self.told.append(f"leaving: {case.match.metadata.uid}, {self.done}"),
            acted=lambda _announcer, _match, actions: self.acted.append(actions),
            announce=lambda _announcer, _match, status, _first_seen: self.announced.append(status),
        )
        queue = SimpleNamespace(observing=self._observing)
        announcer = SimpleNamespace(
            gone=lambda uid: self.told.append(f"gone: {uid}"),
            deletion_paused=lambda _kind, _match: self.told.append("the deletion waits"),
        )
        self.woken: list[Key] = []
        self.budgets = Budgets(4, self.woken.append)
        self.reconciler = Reconciler(
            {names.MATCH: recipe},
            cast("Backends", backends),
            cast("Any", queue),
            self.budgets,
            cast("Any", announcer),
            None,
        )
        monkeypatch.setattr(reconcile_module, "execute", self._execute)
        monkeypatch.setattr(reconcile_module, "write_status", self._write)

    def set_clock(self, by_seconds: float) -> None:
        """The clock of the API server goes on or back, as the term says it."""
        self.seconds += by_seconds
        self.reconciler.clock_was_set(timedelta(seconds=by_seconds))

    async def run(self) -> Result:
        """Run one reconcile."""
        return await self.reconciler(KEY)

    async def _read_ledger(self, _uid: str) -> Ledger | None:
        if isinstance(self.ledger, Exception):
            raise self.ledger
        return self.ledger

    def _require(self) -> None:
        if not self.is_leader:
            raise LeadershipLost("another replica")

    def _observing(self, _key: Key, *, reads: bool) -> None:
        self.asked.append(reads)

    async def _observe(self, _match: Match, _backends: Backends, learned: Learned) -> MatchSeen:
        self.learned.append(learned)
        return b.all_made(self.seconds, refusal=learned.refusal)

    def _plan(self, case: MatchCase) -> Plan:
        self.cases.append(case)
        return self.plans.pop(0) if len(self.plans) > 1 else self.plans[0]

    def _status(self, case: MatchCase, error: Any) -> MatchStatus:
        self.described.append(case)
        return case.match.status.model_copy(update={"phase": self.phase, "last_error": error})

    async def _execute(self, actions: tuple[a.AnyAction, ...], _backends: Backends) -> tuple[ActionResult, ...]:
        if isinstance(self.error, LeadershipLost):
            raise self.error
        self.done += [type(action).__name__ for action in actions]
        effect = self.effects.pop(0) if len(self.effects) > 1 else self.effects[0]
        return tuple(ActionResult(action, error=cast("Any", self.error), effect=effect) for action in actions)

    async def _write(self, _target: Any, patch: dict[str, Any], _backends: Backends, *, quiet: bool) -> None:
        if self.write_error is not None:
            raise self.write_error
        self.writes.append(patch | {"quiet": quiet})
        self.writing()
        status = MatchStatus.model_validate(self.match.status.manifest() | patch)
        self.match = self.match.model_copy(update={"status": status})


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Rig]:
    return lambda *plans, **options: Rig(monkeypatch, *plans, **options)


REST = Plan(deadline=b.at(26), waits_for="people")
Make = Callable[..., Rig]


async def test_nothing_is_done_for_an_object_that_is_gone(make: Make) -> None:
    rig = make(REST)
    rig.match = cast("Match", None)
    assert await rig.run() == Result()
    assert rig.asked == [True], "its key comes back for no wake until now"


def unreadable(**metadata: Any) -> Unreadable:
    """The Match of the key, which cannot be read."""
    return Unreadable(b.a_match(**metadata).metadata, "spec: it cannot be read")


async def test_an_object_that_cannot_be_read_is_left_alone(make: Make) -> None:
    rig = make(Plan((CLAIM,)))
    rig.match = cast("Match", unreadable())
    assert await rig.run() == Result()
    assert (rig.learned, rig.done, rig.writes) == ([], [], [])


async def test_the_deletion_of_an_object_that_cannot_be_read_is_finished_and_no_status_is_written(make: Make) -> None:
    rig = make(Plan((RELEASE,)), Plan(waits_for="the room", deadline=b.at(26)))
    rig.match, rig.ledger = cast("Match", unreadable(deleted=True)), b.ledger("Active")
    assert await rig.run() == Result(b.at(26))
    assert (rig.done, rig.writes) == (["ReleaseFinalizer"], [])
    assert [case.match.spec.identities for case in rig.cases] == [b.PEOPLE] * 2
    assert rig.cases[0].match.metadata == rig.match.metadata


async def test_the_deletion_waits_while_the_ledger_cannot_be_read(make: Make) -> None:
    rig = make(Plan((RELEASE,)))
    rig.match, rig.ledger = cast("Match", unreadable(deleted=True)), AWAY
    assert await rig.run() == Result(error=AWAY)
    assert rig.done == []


async def test_at_rest_nothing_is_written_and_the_deadline_is_kept(make: Make) -> None:
    rig = make(REST)
    assert await rig.run() == Result(b.at(26))
    assert (rig.done, rig.writes, rig.asked) == ([], [], [True])


async def test_plan_and_status_read_the_same_case_of_a_round(make: Make) -> None:
    rig = make(Plan((CLAIM,)), REST)
    await rig.run()
    assert len(rig.cases) == 2
    assert rig.described == rig.cases[1:]
    assert rig.described[0] is rig.cases[1]


@pytest.mark.parametrize("match", [b.active(), b.active(deleted=True)], ids=["going on", "ending"])
def test_the_cause_of_an_end_is_worked_out_once_per_round(match: Match, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[MatchCase] = []

    def counted(case: MatchCase) -> EndCause | None:
        asked.append(case)
        return cause_of_end(case)

    monkeypatch.setattr(match_case, "cause_of_end", counted)
    case = MatchCase(match, b.both_in(ledger=b.ledger("Active")), b.at(9))
    plan_match(case)
    match_status(case, None)
    assert asked == [case]


async def test_the_planner_is_asked_again_after_each_round_and_the_status_written_once(make: Make) -> None:
    rig = make(Plan((CLAIM,)), Plan((CREATE,)), REST)
    rig.phase = MatchPhase.ACTIVE
    assert await rig.run() == Result(b.at(26))
    assert rig.done == ["Claim", "CreateRoom"]
    assert rig.writes == [{"phase": "Active", "quiet": True}]


async def test_the_contents_of_an_answer_are_not_read_again(make: Make) -> None:
    rig = make(Plan((CLAIM,)), REST)
    rig.effects = [Effect(ledger=b.ledger("Creating"))]
    await rig.run()
    first, second = rig.learned
    assert first == Learned()
    assert second.ledger == Present(b.ledger("Creating"), b.at(5))
    assert rig.asked == [True, False]


async def test_a_wake_up_is_covered_only_by_a_round_that_really_reads(make: Make) -> None:
    rig = make(Plan((CREATE,)), Plan((CREATE,)), REST)
    rig.effects = [None, READ_AGAIN]
    await rig.run()
    assert rig.asked == [True, False, True]


async def test_a_refusal_is_shown_to_the_planner_in_the_same_reconcile(make: Make) -> None:
    busy = Refusal(EndCode.USER_BUSY, "bob", "calls/other")
    rig = make(Plan((CLAIM,)), REST)
    rig.effects = [Effect(refusal=busy, must_read=True)]
    await rig.run()
    assert [learned.refusal for learned in rig.learned] == [None, busy]


async def test_an_error_is_followed_by_one_more_observation_and_shown_in_the_status(make: Make) -> None:
    rig = make(Plan((CLAIM,)), Plan((CREATE,), b.at(26)))
    rig.error = AWAY
    result = await rig.run()
    assert (result.error, result.deadline, rig.done) == (AWAY, b.at(26), ["Claim"])
    assert rig.writes[0]["lastError"]["message"] == "Redis: no answer"


async def test_a_conflict_is_not_reported_as_an_error(make: Make) -> None:
    rig = make(Plan((CLAIM,)), REST)
    rig.error = Conflict(Backend.KUBERNETES, "patch", "moved on")
    result = await rig.run()
    assert result.error is rig.error
    assert rig.writes == []


async def test_an_action_without_a_slot_waits_and_holds_nothing_else_up(make: Make) -> None:
    rig = make(Plan((CLAIM, CREATE), b.at(26)), Plan((CREATE,), b.at(26)))
    rig.phase = MatchPhase.ACTIVE
    others = [Key(names.ROOM, b.NAMESPACE, str(number)) for number in range(3)]
    assert all(rig.budgets.take(other, Backend.KUBERNETES) for other in others)
    assert await rig.run() == Result(b.at(26))
    assert rig.done == ["Claim"]
    assert rig.writes == [{"phase": "Active", "quiet": True}], "the status says what was done, and the key sleeps"
    rig.budgets.give_back(Backend.KUBERNETES)
    assert rig.woken == [KEY]
    rig.plans = [Plan((CREATE,)), REST]
    await rig.run()
    assert rig.done == ["Claim", "CreateRoom"]


async def test_a_failed_action_gives_its_slot_back(make: Make) -> None:
    rig = make(Plan((CREATE,)), REST)
    rig.error = AWAY
    for _ in range(20):
        rig.plans = [Plan((CREATE,)), REST]
        await rig.run()
    assert rig.done == ["CreateRoom"] * 20


async def test_a_status_that_changes_all_the_time_is_written_now_and_then(make: Make) -> None:
    rig = make(REST)
    for number in range(100):
        rig.seconds = 5 + number / 10
        rig.phase = MatchPhase.ACTIVE if number % 2 else MatchPhase.RECONNECTING
        result = await rig.run()
        assert result.deadline is not None
        is_written = rig.match.status.phase is rig.phase
        assert is_written or result.deadline <= b.at(rig.seconds) + INTERVAL, "what is held back is written soon"
    assert BURST < len(rig.writes) <= BURST + 5, "a burst, then one in two seconds"


async def test_steps_that_undo_each_other_are_detected(make: Make) -> None:
    with pytest.raises(RuntimeError, match="still not at rest after 10 rounds"):
        await make(Plan((CLAIM,))).run()


async def test_the_status_of_a_frozen_object_says_only_that_it_is_paused(make: Make) -> None:
    rig = make(Plan(frozen=True, waits_for="the annotation"))
    rig.phase = MatchPhase.ACTIVE
    assert await rig.run() == Result()
    [written] = rig.writes
    assert written["reason"] == "Paused"
    assert [one["type"] for one in written["conditions"]] == ["Paused"]
    assert await rig.run() == Result()
    assert rig.writes == [written], "it is said once"


async def test_a_key_comes_back_if_something_could_not_be_read(make: Make) -> None:
    rig = make(Plan(waits_for="no answer", blocked_by=Backend.REDIS))
    result = await rig.run()
    assert isinstance(result.error, BackendUnavailable)
    assert result.error.sentence == "Redis: no answer"
    assert "lastError" in rig.writes[0]


async def test_an_error_of_a_read_is_the_one_that_the_client_raised(make: Make) -> None:
    rig = make(Plan(waits_for="Redis: no answer in time", blocked_by=Backend.REDIS))
    failure = BackendUnavailable(Backend.REDIS, "HGETALL", "no answer in time", code="timeout")
    rig.redis_breaker.failed(failure, Ticket.ORDINARY, sent_at=0.0, now=1.0)
    result = await rig.run()
    assert result.error is not None
    assert (result.error.code, result.error.operation) == ("timeout", "read")


async def test_a_status_that_cannot_be_written_is_the_error_of_the_reconcile(make: Make) -> None:
    rig = make(REST)
    rig.phase = MatchPhase.ACTIVE
    rig.write_error = Conflict(Backend.KUBERNETES, "patch", "moved on")
    assert await rig.run() == Result(b.at(26), cast("Any", rig.write_error))


@pytest.mark.parametrize("where", ["actions", "status"])
async def test_without_the_lease_nothing_is_written(make: Make, where: str) -> None:
    rig = make(Plan((CLAIM,)) if where == "actions" else REST)
    rig.phase = MatchPhase.ACTIVE
    rig.is_leader = False
    rig.error = LeadershipLost("another replica") if where == "actions" else None
    with pytest.raises(LeadershipLost):
        await rig.run()
    assert rig.writes == []


async def test_after_a_write_the_planner_says_at_once_what_follows_from_it(make: Make) -> None:
    rig = make(Plan(waits_for="LiveKit"), REST)
    rig.phase = MatchPhase.ACTIVE
    assert await rig.run() == Result(b.at(26))
    more = make(Plan(), Plan((CREATE,)))
    more.phase = MatchPhase.ACTIVE
    assert await more.run() == Result(b.at(5))
    assert more.done == [], "the actions are those of the next reconcile"


async def test_a_phase_that_will_soon_be_left_is_held_back_for_a_moment(make: Make) -> None:
    rig = make(REST, match=b.a_match())
    rig.phase = MatchPhase.CREATING
    due = b.at(5) + timedelta(milliseconds=200)
    assert await rig.run() == Result(due)
    rig.seconds += 0.1
    assert await rig.run() == Result(due)
    assert rig.writes == []
    rig.seconds += 0.1
    assert await rig.run() == Result(b.at(26))
    assert [patch["phase"] for patch in rig.writes] == ["Creating"]


@pytest.mark.parametrize("by_seconds", [-3600.0, 3600.0])
async def test_a_clock_that_is_set_holds_no_status_back_for_longer(make: Make, by_seconds: float) -> None:
    rig = make(Plan(waits_for="people"), match=b.a_match())
    rig.phase = MatchPhase.CREATING
    await rig.run()
    rig.set_clock(by_seconds)
    assert await rig.run() == Result(b.at(5 + by_seconds) + timedelta(milliseconds=200))
    rig.seconds += 0.2
    await rig.run()
    assert [patch["phase"] for patch in rig.writes] == ["Creating"]


@pytest.mark.parametrize("by_seconds", [-3600.0, 3600.0])
async def test_a_write_whose_answer_sets_the_clock_holds_no_later_status_back(make: Make, by_seconds: float) -> None:
    rig = make(Plan(waits_for="people"))
    rig.writing = lambda: rig.set_clock(by_seconds)
    rig.phase = MatchPhase.ACTIVE
    await rig.run()
    rig.writing = lambda: None
    for number in range(1, BURST + 1):
        rig.phase = (MatchPhase.ACTIVE, MatchPhase.RECONNECTING)[number % 2]
        result = await rig.run()
        if rig.match.status.phase is not rig.phase:
            assert result.deadline is not None
            rig.seconds += (result.deadline - b.at(rig.seconds)).total_seconds()
            await rig.run()
    assert rig.seconds - 5 - by_seconds <= INTERVAL.total_seconds()
    assert len(rig.writes) == BURST + 1


async def test_a_phase_that_stays_is_not_held_back(make: Make) -> None:
    rig = make(REST, match=b.a_match())
    rig.phase = MatchPhase.CREATING
    await rig.run()
    rig.phase = MatchPhase.CONNECTING
    assert await rig.run() == Result(b.at(26))
    assert [patch["phase"] for patch in rig.writes] == ["Connecting"]


async def test_an_error_is_shown_at_once_even_in_a_passing_phase(make: Make) -> None:
    rig = make(Plan((CLAIM,)), REST, match=b.a_match())
    rig.phase, rig.error = MatchPhase.CREATING, AWAY
    await rig.run()
    assert len(rig.writes) == 1


async def test_a_deleted_object_without_our_finalizer_gets_no_status(make: Make) -> None:
    rig = make(REST, match=b.connecting(deleted=True, finalizers=()))
    rig.phase = MatchPhase.ENDED
    await rig.run()
    assert rig.writes == []


async def test_a_deleted_object_with_our_finalizer_gets_its_status(make: Make) -> None:
    rig = make(REST, match=b.connecting(deleted=True))
    rig.phase = MatchPhase.ENDED
    await rig.run()
    assert len(rig.writes) == 1


async def test_only_actions_that_succeeded_are_announced(make: Make) -> None:
    rig = make(Plan((CREATE,)), REST, match=b.a_match())
    await rig.run()
    assert rig.acted == [(CREATE,)]
    rig.error, rig.plans = AWAY, [Plan((CREATE,)), REST]
    await rig.run()
    assert rig.acted[1:] == [()]


async def test_each_pause_of_a_deletion_is_told_once(make: Make) -> None:
    frozen = Plan(frozen=True, waits_for="the annotation")
    rig = make(match=b.connecting(deleted=True))
    for plan, told in ((frozen, 1), (frozen, 1), (REST, 1), (frozen, 2)):
        rig.plans = [plan]
        await rig.run()
        assert rig.told == ["the deletion waits"] * told


async def test_the_end_of_a_deleted_object_is_kept_before_it_is_released_and_told_when_it_is_gone(make: Make) -> None:
    rig = make(Plan((RELEASE,)), REST, match=b.active(deleted=True))
    rig.error = AWAY  # the answer is lost: the watch may say that the object is gone
    await rig.run()
    rig.reconciler.forget(rig.match)
    assert rig.told == [f"leaving: {b.MATCH_UID}, []", f"gone: {b.MATCH_UID}"]


def test_the_next_round_starts_from_the_observation_of_the_last() -> None:
    record = ROOMS.known(b.room_seen(record=b.a_record()), Learned())
    ledger = MATCHES.known(b.seen(3, ledger=b.ledger()), Learned(must_read=True))
    assert (record.record, record.ledger) == (b.a_record(), None)
    assert (ledger.ledger, ledger.record, ledger.must_read) == (Present(b.ledger(), b.at(3)), None, True)
    assert MATCHES.known(b.seen(ledger=b.unknown()), Learned()).ledger is None
    assert ROOMS.known(b.room_seen(record=b.unknown()), Learned()).record is None


async def test_forgetting_an_object_forgets_what_was_held_back(make: Make) -> None:
    rig = make(REST, match=b.a_match())
    rig.phase = MatchPhase.CREATING
    await rig.run()
    rig.reconciler.forget(rig.match)
    rig.seconds += 0.15
    assert await rig.run() == Result(b.at(5.15) + timedelta(milliseconds=200))


@pytest.mark.parametrize(
    ("case", "match", "seen", "phase", "expected"),
    [
        ("just seen", b.a_match(), b.seen(), "Pending", True),
        ("just claimed", b.a_match(), b.seen(ledger=b.ledger()), "Creating", True),
        ("came up at once", b.a_match(), b.all_made(), "Connecting", False),
        ("has been Pending", b.a_match(status={"phase": "Pending"}), b.seen(ledger=b.ledger()), "Creating", False),
        ("being deleted", b.active(deleted=True), b.both_in(), "Terminating", True),
        ("deleted and over", b.active(deleted=True), b.all_gone(), "Ended", False),
        ("ends for longer", b.active(deleted=True, status={"phase": "Terminating"}), b.both_in(), "Terminating", False),
    ],
)
def test_which_phases_are_passing(case: str, match: Match, seen: MatchSeen, phase: str, expected: bool) -> None:
    made = MatchCase(match, seen, b.at(5))
    assert match_status(made, None).phase == phase, case
    assert MATCHES.is_held_back(made) is expected, case


@pytest.mark.parametrize(
    ("case", "deleted", "sid", "expected"),
    [
        ("made again, while other rooms may still be missing", False, "RM_again", True),
        ("as it was", False, "RM_1", False),
        ("made again and being deleted by now", True, "RM_again", False),
    ],
)
def test_when_the_status_of_a_restored_room_is_held_back(case: str, deleted: bool, sid: str, expected: bool) -> None:
    room = b.an_active_room(deleted=deleted)
    made = RoomCase(room, b.room_seen(livekit_room=b.a_livekit_room(sid=sid)), b.at(5))
    assert (room_status(made, None).restores is not None) is (sid == "RM_again"), case
    assert ROOMS.is_held_back(made) is expected, case


# The contents of answers


def test_a_refusal_and_a_record_are_remembered_from_round_to_round() -> None:
    busy = Refusal(EndCode.USER_BUSY, "bob", "calls/other")
    known = Learned(refusal=busy, record=b.a_record()).after([Effect(), None], b.at(9))
    assert (known.refusal, known.record) == (busy, b.a_record())
    newer = known.after([Effect(record=b.a_record("terminated"))], b.at(9))
    assert newer.record == b.a_record("terminated")


READ = Learned(ledger=Present(b.ledger("Creating"), b.at(1)))


def change(phase: str) -> Effect:
    """Return the effect of a write that changes the phase of the ledger."""
    return Effect(ledger_change=lambda known: b.ledger(phase, queued=known.queued_at_ms))


@pytest.mark.parametrize(
    ("case", "before", "effects", "phase", "must_read"),
    [
        ("nothing was told", READ, [None], "Creating", False),
        ("another phase", READ, [change("Connecting")], "Connecting", False),
        ("one after another", READ, [change("Connecting"), change("Active")], "Active", False),
        ("the whole ledger", Learned(), [Effect(ledger=b.ledger("Creating"))], "Creating", False),
        ("a change of what is not known", Learned(), [change("Active")], None, True),
        ("something is open", READ, [change("Connecting"), READ_AGAIN], None, True),
    ],
)
def test_what_is_known_after_a_round(
    case: str, before: Learned, effects: list[Effect | None], phase: str | None, must_read: bool
) -> None:
    after = before.after(effects, b.at(9))
    assert (after.ledger and after.ledger.value.phase, after.must_read) == (phase, must_read), case


def test_a_ledger_that_we_changed_is_as_old_as_its_reading_and_a_new_one_is_new() -> None:
    changed, made = READ.after([change("Connecting")], b.at(9)), Learned().after([Effect(ledger=b.ledger())], b.at(9))
    assert changed.ledger is not None
    assert made.ledger is not None
    assert (changed.ledger.at, made.ledger.at) == (b.at(1), b.at(9))


async def test_a_field_that_the_api_server_drops_is_not_written_at_each_look(make: Make) -> None:
    """The installed CRD is older than the operator: else each reconcile of each Match would cost a request."""
    rig = make(REST)
    rig.phase = MatchPhase.ACTIVE
    rig.lost_fields.answered(names.MATCH, {"phase": "Active"}, {"status": {}})
    assert await rig.run() == Result(b.at(26))
    assert (rig.writes, rig.announced) == ([], [])
    rig.lost_fields.answered(names.MATCH, {"phase": "Active"}, {"status": {"phase": "Active"}})
    await rig.run()
    assert rig.writes == [{"phase": "Active", "quiet": True}]
