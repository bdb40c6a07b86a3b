"""The table of conditions against the code: it has every word of every status, and the code uses no other word."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import controller
from controller.api.conditions import (
    CONDITIONS,
    INTERRUPTIONS,
    NOT_ACCEPTED,
    ROOM_ENDINGS,
    ROOM_ISSUES,
    ConditionReason,
    ConditionType,
    Interruption,
)
from controller.api.endings import END_CODES, ENDINGS, RELEASE_DETAILS, EndCode, EndReason, ReleaseDetail
from controller.api.event_reasons import EVENT_REASONS, EventReason
from controller.api.match import Match, MatchStatus
from controller.api.meta import Condition
from controller.api.names import MATCH, ROOM, ResourceKind
from controller.api.phases import MATCH_PHASES, ROOM_PHASES, MatchPhase
from controller.api.room import Room, RoomEndReason, RoomIssue, RoomStatus
from controller.facts.match import AuditFacts, HeartbeatFacts, MatchSeen, Refusal
from controller.facts.room import RoomSeen
from controller.rules.match_case import MatchCase
from controller.rules.room_case import RoomCase
from controller.status.match import match_status
from controller.status.room import room_status
from tests import values as b

WORDS = [*EndReason, *EndCode, *Interruption, *MatchPhase]
DEGRADED = [one.reason for one in CONDITIONS[MATCH, ConditionType.DEGRADED].because if one.status == "True"]
END = {"action": "End", "initiator": "alice"}

matches = st.sampled_from(
    [
        b.a_match(),
        b.a_match(deleted=True),
        b.a_match(tokens={"delivery": "None"}),
        b.connecting(),
        b.active(),
        b.active(termination=END),
        b.active(status={"phase": "Reconnecting"}),
        b.active(status={"phase": "Ended", "reason": "HeartbeatsStopped", "end": {"reason": "NetworkLost"}}),
        b.a_match(status={"phase": "Failed", "reason": "a word of another version", "end": {"reason": "Failed"}}),
    ]
)
people = st.sampled_from([(), (b.person("alice"),), (b.person("alice", state="JOINED"), b.person("bob"))])
ledgers = st.one_of(
    st.sampled_from([None, b.unknown(), b.ledger("", claimed=False), b.ledger(), b.ledger("Active")]),
    st.builds(lambda reason: b.ledger("Terminating", recorded=reason), st.sampled_from([*EndReason, "Teleported"])),
    st.builds(lambda reason: b.ledger("Terminating", settled=reason), st.sampled_from([*EndReason, "Teleported"])),
    st.builds(
        lambda word: b.ledger("Terminating", recorded="Failed", evidence=f'{{"code": "{word}", "subject": []}}'),
        st.sampled_from([*EndCode, "Teleported"]),
    ),
)
refusals = st.sampled_from(
    [None, *(Refusal(code, "bob", "calls/other") for code in END_CODES if END_CODES[code].reason is EndReason.FAILED)]
).filter(lambda refusal: refusal is None or refusal.code in NOT_ACCEPTED)


@st.composite
def matches_seen(draw: st.DrawFn) -> MatchSeen:
    """Draw an observation of a Match; its parts may contradict each other."""
    seen = b.seen(
        draw(st.sampled_from([2, 40, 4000])),
        ledger=draw(ledgers),
        refusal=draw(refusals),
        room=draw(st.sampled_from([None, b.a_room(), b.unknown(), b.an_active_room(deleted=True)])),
        livekit_room=draw(st.sampled_from([None, b.a_livekit_room(), b.unknown()])),
        people=draw(st.one_of(people, st.just(b.unknown()))),
        tokens=draw(st.sampled_from([None, b.tokens(), b.unknown()])),
        trouble=draw(st.sampled_from(["", "no answer"])),
    )
    changes = {
        "audit": AuditFacts(
            draw(st.sampled_from([frozenset(), frozenset({"bob"})])),
            draw(st.sampled_from([frozenset(), frozenset({"alice"})])),
            draw(st.booleans()),
        ),
        "heartbeats": HeartbeatFacts(draw(st.sampled_from([frozenset(), frozenset({"bob"})])), 90.0),
    }
    return MatchSeen(**{name: getattr(seen, name) for name in MatchSeen.__slots__} | changes)


rooms = st.sampled_from(
    [
        b.a_room(),
        b.a_room(deleted=True),
        b.a_room(owned=False, max_age_seconds=3),
        b.a_room(termination_reason="works"),
        b.an_active_room(allowed_identities=["alice"]),
        b.an_active_room(status={"phase": "Creating"}),
        b.a_lost_room(-30, -9, -7, -3, 1),
        b.a_lost_room(lost_at=-30),
        *(b.an_active_room(status={"phase": "Terminated", "reason": reason}) for reason in RoomEndReason),
    ]
)
livekit_rooms = st.sampled_from(
    [
        None,
        b.unknown(),
        b.a_livekit_room(),
        b.a_livekit_room(foreign=True),
        b.a_livekit_room(foreign=True, sid="RM_2"),
        b.a_livekit_room(mark=b.a_mark(room_uid="another")),
    ]
)


@st.composite
def rooms_seen(draw: st.DrawFn) -> RoomSeen:
    """Draw an observation of a Room; its parts may contradict each other."""
    owned = draw(st.booleans())
    return b.room_seen(
        draw(st.sampled_from([2, 40])),
        livekit_room=draw(livekit_rooms),
        people=draw(people),
        owned=owned,
        ownerless=owned and draw(st.booleans()),
        gone=draw(st.booleans()),
        miscounted=draw(st.booleans()),
        ghosts=draw(st.sampled_from(((), ("alice",)))),
        trouble=draw(st.sampled_from(["", "no answer"])),
        silent_since=draw(st.sampled_from([None, -60])),
    )


def check_conditions(kind: ResourceKind, conditions: tuple[Condition, ...]) -> None:
    """Assert that there are all types of the kind, in the order of the table, with reasons of the table."""
    there = {one.type for one in conditions}
    rows = [row for row in CONDITIONS.values() if row.kind is kind and (not row.absent or row.type in there)]
    assert [one.type for one in conditions] == [row.type for row in rows]
    for one in conditions:
        row = CONDITIONS[kind, ConditionType(one.type)]
        assert row.allows(one.status, one.reason), f"{kind.kind} {one.type} {one.status} {one.reason}"


@settings(deadline=None)
@given(matches, matches_seen(), st.sampled_from([2, 40, 4000]))
def test_a_match_says_only_what_the_table_has(match: Match, seen: MatchSeen, seconds: int) -> None:
    status: MatchStatus = match_status(MatchCase(match, seen, b.at(seconds)), None)
    check_conditions(MATCH, status.conditions)
    assert status.reason is None or status.reason in [*WORDS, *DEGRADED]
    assert all(step.reason in WORDS for step in status.history)
    assert status.end is None or status.end.reason in ENDINGS


@settings(deadline=None)
@given(rooms, rooms_seen(), st.sampled_from([2, 40]))
def test_a_room_says_only_what_the_table_has(room: Room, seen: RoomSeen, seconds: int) -> None:
    status: RoomStatus = room_status(RoomCase(room, seen, b.at(seconds)), None)
    check_conditions(ROOM, status.conditions)


@pytest.mark.parametrize(
    ("words", "table"),
    [
        (EndCode, END_CODES),
        (ReleaseDetail, RELEASE_DETAILS),
        (RoomEndReason, ROOM_ENDINGS),
        (RoomIssue, ROOM_ISSUES),
        (Interruption, INTERRUPTIONS),
        (EventReason, EVENT_REASONS),
    ],
)
def test_every_word_has_a_row(words: type[StrEnum], table: dict[StrEnum, object]) -> None:
    assert list(table) == list(words)


def test_every_reason_and_every_type_is_used_by_a_row() -> None:
    rows = CONDITIONS.values()
    assert {because.reason for row in rows for because in row.because} >= set(ConditionReason)
    assert {row.type for row in rows} == set(ConditionType)
    assert {code for code in EndCode if code.startswith("User")} == NOT_ACCEPTED


@pytest.mark.parametrize("type_", [ConditionType.READY, ConditionType.DEGRADED, ConditionType.FINISHED])
def test_a_condition_of_two_kinds_has_the_same_reasons(type_: ConditionType) -> None:
    """A Room has no users and no tokens, and only a Room can find another one in its place."""
    of_match, of_room = ({one.reason for one in CONDITIONS[kind, type_].because} for kind in (MATCH, ROOM))
    of_users = {ConditionReason.NOT_CLAIMED, ConditionReason.NOT_PUBLISHED, ConditionReason.TOKENS_DUE}
    assert of_match - of_users == of_room - {RoomIssue.FOREIGN_MARK}


_ROOT = Path(controller.__file__).parent
_TABLES = {"api", "generate"}
# Words that also mean something else: LiveKit's, or of ordinary speech.
_WORDS: set[str] = {
    *ConditionType,
    *ConditionReason,
    *Interruption,
    *EndReason,
    *EndCode,
    *RoomEndReason,
    *RoomIssue,
    *EventReason,
    *ReleaseDetail,
    *MATCH_PHASES,
    *ROOM_PHASES,
}


def _literals(path: Path) -> Iterator[tuple[int, str]]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def test_no_reason_no_type_and_no_phase_is_a_literal_outside_its_table() -> None:
    found = [
        f"{path.relative_to(_ROOT)}:{line} {text!r}"
        for path in sorted(_ROOT.rglob("*.py"))
        if path.relative_to(_ROOT).parts[0] not in _TABLES
        for line, text in _literals(path)
        if text in _WORDS
    ]
    assert found == []
