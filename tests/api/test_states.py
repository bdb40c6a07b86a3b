"""The tables of phases and states are complete, and the operator goes by their arrows and no others."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from controller.api.machine import Machine, S
from controller.api.match import Match, ParticipantState
from controller.api.phases import MATCH_PHASES, ROOM_PHASES
from controller.api.states import HELD_STATES, PARTICIPANT_STATES, USER_STATES, UserState
from controller.clients.redis import lua
from controller.facts.ledger import LastEvent
from controller.facts.livekit import LiveKitParticipant
from controller.facts.match import MatchSeen
from controller.facts.observation import Observation
from controller.rules.match_case import MatchCase
from controller.status.match import match_status
from tests import values as b
from tests.redis.test_states import FREEING, UPWARD

MACHINES = (MATCH_PHASES, ROOM_PHASES, USER_STATES, PARTICIPANT_STATES)

SINCE, NOW = 5.0, 9.0
P = ParticipantState


def arrows(machine: Machine[S]) -> set[tuple[S, S]]:
    """Every pair of stages that some exit leads between."""
    return {(stage.name, way.to) for stage in machine.values() for way in stage.exits}


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: type(next(iter(machine))).__name__)
def test_every_stage_is_described_and_can_be_reached(machine: Machine[S]) -> None:
    first = next(iter(machine))
    assert list(machine) == list(type(first))
    assert all(stage.meaning and bool(stage.afterwards) == stage.terminal for stage in machine.values())
    assert {to for _, to in arrows(machine)} | {first} == set(machine)
    assert not any(start == to for start, to in arrows(machine))


def test_what_moves_a_user_is_a_script() -> None:
    names = {script.name for script in vars(lua).values() if isinstance(script, lua.Script)}
    assert {way.by for stage in USER_STATES.values() for way in stage.exits} <= names


def test_a_match_moves_those_whom_it_holds_and_no_others() -> None:
    by_a_match = {"claim", "advance", "settle"}
    for stage in USER_STATES.values():
        for way in stage.exits:
            holds = stage.name in HELD_STATES or way.to in HELD_STATES
            assert (way.by in by_a_match) == holds, f"{stage.name} → {way.to}"


def test_users_go_no_way_that_the_scripts_would_refuse() -> None:
    held = {(start.value, to.value) for start, to in arrows(USER_STATES) if start in HELD_STATES}
    assert held <= {(str(start), str(to)) for start, to in UPWARD | FREEING}
    assert {to for start, to in arrows(USER_STATES) if start not in HELD_STATES} == {
        UserState.WAITING,
        UserState.IDLE,
        UserState.CONNECTING,
    }


def test_participants_go_the_ways_of_the_table_and_no_others() -> None:
    seen = {
        (before, after)
        for before, met, match, facts in every_situation()
        if (after := state_of_alice(match, facts)) is not before
    }
    assert seen == arrows(PARTICIPANT_STATES)


def every_situation() -> Iterator[tuple[ParticipantState, bool, Match, MatchSeen]]:
    """Every state that alice can be in, before or after both have met, against all that witnesses can tell of her."""
    states = [(state, False) for state in (P.INVITED, P.JOINING, P.CONNECTED, P.LEFT)]
    states += [(state, True) for state in (P.JOINING, P.CONNECTED, P.RECONNECTING)]
    for (state, met), is_ending, people, event in itertools.product(states, (False, True), LISTS, EVENTS):
        ledger = b.ledger("Active" if met else "Connecting", last={"alice": event} if event else {})
        yield state, met, a_match_with(state, met, is_ending), b.all_made(NOW, ledger=ledger, people=people)


BOB = b.person("bob")
LISTS: tuple[Observation[tuple[LiveKitParticipant, ...]] | tuple[LiveKitParticipant, ...], ...] = (
    b.unknown(NOW),
    (BOB,),
    (b.person("alice", state="JOINED", sid="PA_new"), BOB),
    (b.person("alice", sid="PA_new"), BOB),
)
EVENTS: tuple[LastEvent | None, ...] = (
    None,
    b.event("joined", 8, sid="PA_new"),
    b.event("left", 8, sid="PA_alice", reason="CLIENT_INITIATED"),
    b.event("connection_aborted", 8, sid="PA_alice", reason="JOIN_FAILURE"),
)


def a_match_with(state: ParticipantState, met: bool, is_ending: bool) -> Match:
    """A Match whose status says that alice is in this state."""
    alice = {"identity": "alice", "state": state, "since": b.at(SINCE)}
    alice |= {"participant_sid": "PA_alice"} if state is not P.INVITED else {}
    bob = {"identity": "bob", "state": P.CONNECTED, "since": b.at(3), "participant_sid": "PA_bob"}
    wish = {"termination": {"action": "End", "initiator": "bob"}} if is_ending else {}
    make = b.active if met else b.connecting
    return make(status={"participants": [alice, bob]}, **wish)


def state_of_alice(match: Match, seen: MatchSeen) -> ParticipantState:
    """Where the status says that alice is now."""
    status = match_status(MatchCase(match, seen, b.at(NOW)), None)
    return next(person.state for person in status.participants if person.identity == "alice")
