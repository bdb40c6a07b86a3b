"""The tables of endings and phases are complete, and say nothing that contradicts itself."""

import pytest

from controller.api.endings import ENDINGS, EndReason, RequeuePolicy, Rollback, Subject
from controller.api.match import Requeue
from controller.api.phases import MATCH_PHASES, ROOM_PHASES, MatchPhase, RoomPhase


def test_every_reason_has_exactly_one_ending() -> None:
    assert list(ENDINGS) == list(EndReason)
    assert all(ending.reason is reason for reason, ending in ENDINGS.items())


def test_every_reason_can_be_overridden_in_the_spec() -> None:
    assert {ending.requeue_field for ending in ENDINGS.values()} == set(Requeue.model_fields)


@pytest.mark.parametrize("reason", EndReason)
def test_without_an_override_the_table_decides(reason: EndReason) -> None:
    assert Requeue().policy_for(reason) is ENDINGS[reason].requeue


@pytest.mark.parametrize("reason", EndReason)
def test_an_override_decides_for_its_own_reason_alone(reason: EndReason) -> None:
    default = ENDINGS[reason].requeue
    other = next(policy for policy in RequeuePolicy if policy is not default)
    requeue = Requeue.model_validate({ENDINGS[reason].requeue_field: other})
    assert requeue.policy_for(reason) is other
    assert all(requeue.policy_for(r) is ENDINGS[r].requeue for r in EndReason if r is not reason)


def test_requeue_defaults_are_those_of_the_design() -> None:
    assert {reason.value: ending.requeue.value for reason, ending in ENDINGS.items()} == {
        "Skipped": "All",
        "Ended": "Others",
        "Left": "Others",
        "Disconnected": "Others",
        "NoShow": "Present",
        "NetworkLost": "Others",
        "Abandoned": "Present",
        "MaxDuration": "None",
        "Deleted": "All",
        "RoomLost": "All",
        "Failed": "All",
        "Drained": "All",
    }


@pytest.mark.parametrize("reason", EndReason)
def test_an_ending_that_requeues_the_others_says_than_whom(reason: EndReason) -> None:
    ending = ENDINGS[reason]
    assert ending.requeue is not RequeuePolicy.OTHERS or ending.subject is not Subject.NONE


@pytest.mark.parametrize("reason", EndReason)
def test_sentences_name_whom_they_are_about(reason: EndReason) -> None:
    ending = ENDINGS[reason]
    sentence = ending.sentence(who="alice", seconds=15, detail="seen by webhook")
    assert sentence.endswith(": seen by webhook")
    assert "{" not in sentence
    assert ("alice" in sentence) == (ending.subject is not Subject.NONE)
    assert ending.notice.endswith(".")


def test_only_a_goodbye_can_still_turn_out_to_be_something_else() -> None:
    superseded = {reason: ending.superseded_by for reason, ending in ENDINGS.items() if ending.superseded_by}
    assert superseded == {EndReason.LEFT: {EndReason.SKIPPED, EndReason.ENDED}}


def test_what_is_undone() -> None:
    undone = {reason: ending.rollback for reason, ending in ENDINGS.items() if ending.rollback != Rollback.NEVER}
    assert undone == {EndReason.DELETED: Rollback.BEFORE_READY, EndReason.FAILED: Rollback.ALWAYS}


def test_every_phase_is_described_and_the_terminal_ones_are_known() -> None:
    assert list(MATCH_PHASES) == list(MatchPhase)
    assert list(ROOM_PHASES) == list(RoomPhase)
    assert {phase for phase, row in MATCH_PHASES.items() if row.terminal} == {
        MatchPhase.ENDED,
        MatchPhase.FAILED,
    }
    assert {phase for phase, row in ROOM_PHASES.items() if row.terminal} == {
        RoomPhase.TERMINATED,
        RoomPhase.FAILED,
    }


def test_every_phase_can_be_reached_from_pending() -> None:
    reached, new = set[MatchPhase](), {MatchPhase.PENDING}
    while new:
        reached |= new
        new = {way.to for phase in new for way in MATCH_PHASES[phase].exits} - reached
    assert reached == set(MatchPhase)
