"""What time decides besides windows: silence, being alone, and the details of a no-show."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controller.api.endings import EndReason
from controller.api.match import Match, ParticipantState
from controller.facts.ledger import AloneTime, LastEvent
from controller.facts.livekit import LiveKitParticipant
from controller.facts.match import AuditFacts, HeartbeatFacts, MatchSeen
from controller.facts.observation import Present
from controller.plan import actions as a
from controller.plan.match import plan_match
from controller.rules.match_case import MatchCase
from tests import values as b
from tests.plan.world import only

ALICE = (b.person("alice"),)
# Long windows for coming back, so that being alone ends the call.
PATIENT = {"reconnectSeconds": 120, "soloSeconds": 20}


GONE = b.event("left", 3.5, sid="PA_bob", reason="CONNECTION_TIMEOUT")


def silent(*who: str, alone: bool = False) -> HeartbeatFacts:
    return HeartbeatFacts(frozenset(who), 90.0, decide_alone=alone)


BOB_IS_JOINED = (*ALICE, b.person("bob", state="JOINED"))


@pytest.mark.parametrize(
    ("case", "seen", "ends"),
    [
        ("LiveKit says that media is up", replace(b.both_in(), heartbeats=silent("bob")), False),
        ("LiveKit has lost him too", replace(b.both_in(people=ALICE), heartbeats=silent("bob")), True),
        ("only his socket is open", replace(b.both_in(people=BOB_IS_JOINED), heartbeats=silent("bob")), True),
        (
            "LiveKit has not been asked yet",
            replace(
                b.both_in(people=b.unknown(), ledger=b.ledger("Active", last={"bob": GONE})), heartbeats=silent("bob")
            ),
            False,
        ),
        (
            "LiveKit has not been asked yet, and heartbeats decide alone",
            replace(b.both_in(people=b.unknown()), heartbeats=silent("bob", alone=True)),
            True,
        ),
        ("heartbeats decide alone", replace(b.both_in(), heartbeats=silent("bob", alone=True)), True),
        (
            "LiveKit cannot be asked",
            replace(b.both_in(people=ALICE, trouble="no answer"), heartbeats=silent("bob")),
            False,
        ),
        (
            "LiveKit cannot be asked, and heartbeats decide alone",
            replace(b.both_in(trouble="no answer"), heartbeats=silent("bob", alone=True)),
            True,
        ),
        ("the other one is silent", replace(b.both_in(people=ALICE), heartbeats=silent("alice")), False),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_silence_ends_the_call_unless_livekit_contradicts(case: str, seen: MatchSeen, ends: bool) -> None:
    cause = MatchCase(b.active(timeouts=PATIENT), seen, b.at(9)).cause
    assert (cause is not None) == ends, case
    if cause is not None:
        assert (cause.reason, cause.code) == (EndReason.NETWORK_LOST, "HeartbeatsStopped")
        assert cause.subject == {"bob"}
        assert "heartbeats of the client stopped" in cause.message


def test_silence_before_the_call_is_up_ends_nothing() -> None:
    seen = replace(b.all_made(people=ALICE), heartbeats=silent("bob"))
    assert MatchCase(b.connecting(), seen, b.at(9)).cause is None


def alone(seconds: float, *, since: float, before: float = 0) -> tuple[Match, MatchSeen]:
    """Return a call in which alice has been alone since second `since`, and for `before` seconds earlier."""
    ledger = replace(b.ledger("Reconnecting"), alone=AloneTime(round(before * 1000), b.ms(since)))
    return b.active(timeouts=PATIENT), b.both_in(seconds, ledger=ledger, people=ALICE)


@pytest.mark.parametrize(
    ("since", "before", "seconds", "ends"),
    [(10, 0, 29.9, False), (10, 0, 30, True), (10, 0, 30.1, True), (10, 15, 15.1, True)],
)
def test_a_participant_who_is_alone_for_too_long_in_total_is_released(
    since: float, before: float, seconds: float, ends: bool
) -> None:
    match, seen = alone(seconds, since=since, before=before)
    cause = MatchCase(match, seen, b.at(seconds)).cause
    assert (cause is not None) == ends
    if cause is not None:
        assert cause.reason is EndReason.ABANDONED
        assert cause.message == "bob was missing for 20 s in total"
        assert cause.subject == {"bob"}
        assert [(o.to, o.place) for o in b.releases(match, seen, cause)] == [("WAITING", "Now"), ("IDLE", "Now")]


def test_being_alone_counts_only_for_what_was_seen_after_the_deadline() -> None:
    match, _ = alone(40, since=10)
    _, seen = alone(29, since=10)
    assert MatchCase(match, seen, b.at(40)).cause is None


def test_the_deadline_of_being_alone_is_planned_for() -> None:
    match, seen = alone(11, since=10, before=5)
    assert plan_match(MatchCase(match, seen, b.at(11))).deadline == b.at(25)


@pytest.mark.parametrize(
    ("phase", "solo", "people", "expected"),
    [
        ("Active", AloneTime(), ALICE, ("Reconnecting", True)),
        ("Active", AloneTime(), (), ("Reconnecting", False)),
        ("Reconnecting", AloneTime(0, b.ms(5)), (), ("Reconnecting", False)),
        ("Reconnecting", AloneTime(0, b.ms(5)), (*ALICE, b.person("bob")), ("Active", False)),
        ("Reconnecting", AloneTime(0, b.ms(5)), ALICE, None),
    ],
)
def test_the_ledger_follows_the_participants_in_the_room(
    phase: str, solo: AloneTime, people: tuple[LiveKitParticipant, ...], expected: tuple[str, bool] | None
) -> None:
    seen = b.both_in(ledger=replace(b.ledger(phase), alone=solo), people=people)
    plan = plan_match(MatchCase(b.active(timeouts=PATIENT), seen, b.at(9)))
    if expected is None:
        assert plan.actions == ()
    else:
        action = only(plan, a.Advance)
        assert (action.phase, action.alone, action.state) == (*expected, "IN_CALL")


@pytest.mark.parametrize(
    ("people", "last", "to", "detail"),
    [
        (ALICE, {}, "IDLE", "NeverSeen"),
        (BOB_IS_JOINED, {}, "IDLE", "SignalOnly"),
        (ALICE, {"bob": b.event("connection_aborted", 5, reason="JOIN_FAILURE")}, "WAITING", "MediaFailed"),
        (ALICE, {"bob": b.event("left", 5, reason="MEDIA_FAILURE")}, "WAITING", "MediaFailed"),
        (ALICE, {"bob": b.event("left", 5, reason="CLIENT_INITIATED")}, "IDLE", "CLIENT_INITIATED"),
    ],
)
def test_a_no_show_says_what_was_seen_and_does_not_punish_a_user_who_tried(
    people: tuple[LiveKitParticipant, ...], last: dict[str, LastEvent], to: str, detail: str
) -> None:
    seen = b.all_made(30, ledger=b.ledger("Connecting", last=last), people=people)
    match = b.connecting()
    cause = MatchCase(match, seen, b.at(30)).cause
    assert cause is not None
    assert cause.reason is EndReason.NO_SHOW
    outcome = {o.id: o for o in b.releases(match, seen, cause)}["bob"]
    assert (outcome.to, outcome.detail) == (to, detail)
    if detail == "MediaFailed":
        assert outcome.place == "Original"


def test_a_gateway_that_suspected_it_first_has_opened_the_window() -> None:
    status = b.active().status
    people = tuple(
        person.model_copy(
            update={"state": ParticipantState.RECONNECTING, "since": b.at(40), "detail": "CONNECTION_TIMEOUT"}
        )
        if person.identity == "bob"
        else person
        for person in status.participants
    )
    match = b.active().model_copy(update={"status": status.model_copy(update={"participants": people})})

    def deadline(suspected: float | None) -> object:
        ledger = b.ledger("Reconnecting", last={"bob": b.event("left", 40, reason="CONNECTION_TIMEOUT")})
        known = {} if suspected is None else {"bob": b.ms(suspected)}
        seen = b.both_in(
            41,
            ledger=replace(ledger, suspected_at_ms=known, alone=AloneTime(0, b.ms(40.5))),
            people=ALICE,
            tokens=b.tokens(960),
        )
        return plan_match(MatchCase(match, seen, b.at(41))).deadline

    assert deadline(None) == b.at(55)
    assert deadline(30) == b.at(45)
    assert deadline(10) == b.at(55)  # too long ago: that was something else


def test_a_user_who_is_taken_away_in_redis_ends_the_call() -> None:
    seen = replace(b.both_in(), audit=AuditFacts(taken_away=frozenset({"bob"})))
    cause = MatchCase(b.active(), seen, b.at(9)).cause
    assert cause is not None
    assert (cause.reason, cause.code) == (EndReason.DISCONNECTED, "UserTakenAway")
    assert "bob was disconnected: their record in Redis" in cause.message
    assert cause.subject == {"bob"}


def test_a_tombstone_for_the_room_ends_the_call() -> None:
    seen = replace(b.both_in(), audit=AuditFacts(room_has_tombstone=True))
    cause = MatchCase(b.active(), seen, b.at(9)).cause
    assert cause is not None
    assert cause.reason is EndReason.ROOM_LOST
    assert cause.message == "the room was lost: another service left a tombstone for it in Redis"


def test_two_who_are_taken_away_or_fall_silent_are_both_named() -> None:
    both = frozenset(b.PEOPLE)
    taken = MatchCase(b.active(), replace(b.both_in(), audit=AuditFacts(taken_away=both)), b.at(9)).cause
    lost = MatchCase(b.active(), replace(b.both_in(), heartbeats=silent(*both, alone=True)), b.at(9)).cause
    assert taken is not None
    assert taken.message == "alice and bob were disconnected: their record in Redis no longer names this match"
    assert lost is not None
    assert lost.message == (
        "alice and bob lost the connection and did not come back within 90 s: the heartbeats of the client stopped"
    )


@pytest.mark.parametrize("people", [(), (*ALICE, b.person("bob"))], ids=["empty", "both"])
def test_no_participant_is_alone_in_an_empty_room_or_with_both_in_it(people: tuple[LiveKitParticipant, ...]) -> None:
    # The ledger does not have it yet.
    match, seen = alone(40, since=10)
    assert isinstance(seen.people, Present)
    assert MatchCase(match, replace(seen, people=Present(people, b.at(40))), b.at(40)).cause is None


def test_the_time_alone_adds_up_and_an_unchanged_one_stays() -> None:
    solo = AloneTime().after(alone=True, now_ms=1000)
    assert solo == AloneTime(0, 1000)
    assert solo.after(alone=True, now_ms=5000) == solo
    again = solo.after(alone=False, now_ms=3000)
    assert again == AloneTime(2000)
    assert again.after(alone=False, now_ms=9000) == again
    assert again.after(alone=True, now_ms=10_000).after(alone=False, now_ms=10_500) == AloneTime(2500)
    assert AloneTime(7, 1000).after(alone=False, now_ms=900) == AloneTime(7), "the clock was set back meanwhile"
