"""A participant drops out of a call: on purpose or not, back in time or not."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from livekit.protocol.models import DisconnectReason

from controller.api.endings import EndReason
from controller.api.match import HistoryEntry, Match, MatchStatus, ParticipantState
from controller.api.phases import MatchPhase
from controller.facts.ledger import AloneTime
from controller.facts.match import MatchSeen
from controller.facts.observation import Present
from controller.plan.actions import Advance
from controller.plan.match import plan_match
from controller.rules.deadlines import noticed_at, return_deadline, said_goodbye
from controller.rules.match_case import MatchCase
from controller.status.match import match_status
from tests import values as b

LEFT_AT = 10.0
TIMEOUTS = {"leaveSeconds": 3, "reconnectSeconds": 15}


def dropped(detail: str, **overrides: Any) -> Match:
    """Return a Match in which bob dropped out at second 10, noticed at once."""
    match = b.active(timeouts=TIMEOUTS, **overrides)
    status = match_status(MatchCase(match, gone(LEFT_AT + 0.5, detail), b.at(LEFT_AT + 0.5)), None)
    return match.model_copy(update={"status": MatchStatus.model_validate(status.manifest())})


def gone(seconds: float, detail: str, *, noticed: float = LEFT_AT + 0.5) -> MatchSeen:
    """Return the word of both witnesses at that second: bob has left, and the ledger says since when alice is alone."""
    last = {
        "alice": b.event("joined", 3, sid="PA_alice"),
        "bob": b.event("left", LEFT_AT, sid="PA_bob", reason=detail),
    }
    ledger = replace(b.ledger("Reconnecting", last=last), alone=AloneTime(0, b.ms(noticed)))
    return b.both_in(seconds, ledger=ledger, people=(b.person("alice"),), tokens=b.tokens(LEFT_AT + 900))


def cause(match: Match, seen: MatchSeen, now: datetime) -> tuple[EndReason, frozenset[str]] | None:
    found = MatchCase(match, seen, now).cause
    return None if found is None else (found.reason, found.subject)


@pytest.mark.parametrize(
    ("detail", "seconds", "reason"),
    [
        ("CLIENT_INITIATED", 12.9, None),
        ("CLIENT_INITIATED", 13.6, EndReason.LEFT),
        ("CLIENT_INITIATED", 13.5, EndReason.LEFT),
        ("CONNECTION_TIMEOUT", 24.9, None),
        ("CONNECTION_TIMEOUT", 25, EndReason.NETWORK_LOST),
        ("CONNECTION_TIMEOUT", 25.1, EndReason.NETWORK_LOST),
        ("SIGNAL_CLOSE", 25.1, EndReason.NETWORK_LOST),
        ("ROOM_DELETED", 24.9, None),
        ("ROOM_CLOSED", 24.9, None),
    ],
)
def test_a_participant_who_is_not_back_in_time_ends_the_match(
    detail: str, seconds: float, reason: EndReason | None
) -> None:
    expected = None if reason is None else (reason, frozenset({"bob"}))
    assert cause(dropped(detail), gone(seconds, detail), b.at(seconds)) == expected


def test_the_deadline_is_planned_for_and_not_slept_through() -> None:
    plan = plan_match(MatchCase(dropped("CLIENT_INITIATED"), gone(11, "CLIENT_INITIATED"), b.at(11)))
    assert (plan.actions, plan.deadline) == ((), b.at(13.5))


@pytest.mark.parametrize(("detail", "until"), [("CLIENT_INITIATED", 13.5), ("CONNECTION_TIMEOUT", 25)])
def test_both_are_told_who_is_missing_and_until_when_as_it_will_be(detail: str, until: float) -> None:
    match, seen = b.active(timeouts=TIMEOUTS), gone(LEFT_AT + 0.5, detail)
    assert isinstance(seen.ledger, Present)
    noticing = replace(seen, ledger=replace(seen.ledger, value=replace(seen.ledger.value, phase="Active")))
    (advance,) = plan_match(MatchCase(match, noticing, b.at(LEFT_AT + 0.5))).actions
    assert isinstance(advance, Advance)
    assert (advance.phase, advance.missing) == ("Reconnecting", (("bob", b.ms(until)),))
    deadline = plan_match(MatchCase(dropped(detail), seen, b.at(LEFT_AT + 1))).deadline
    assert deadline == b.at(until)


def test_no_participant_is_missing_once_both_are_back() -> None:
    seen = b.both_in(12, ledger=replace(b.ledger("Reconnecting"), alone=AloneTime(0, b.ms(LEFT_AT))))
    (advance,) = plan_match(MatchCase(b.active(timeouts=TIMEOUTS), seen, b.at(12))).actions
    assert isinstance(advance, Advance)
    assert (advance.phase, advance.missing) == ("Active", ())


def test_the_call_goes_on_with_a_participant_who_is_back_in_time() -> None:
    match = dropped("CONNECTION_TIMEOUT")
    assert cause(match, b.both_in(30), b.at(30)) is None


def test_a_deadline_counts_only_for_what_was_seen_after_it() -> None:
    match = dropped("CLIENT_INITIATED")
    assert cause(match, gone(13, "CLIENT_INITIATED"), b.at(20)) is None


def test_a_participant_whose_loss_was_noticed_late_still_gets_a_few_seconds() -> None:
    # The operator was away: bob was lost at second 10, and that was noticed at second 60.
    match = b.active(timeouts=TIMEOUTS)
    status = match_status(MatchCase(match, gone(60, "CONNECTION_TIMEOUT", noticed=60), b.at(60)), None)
    match = match.model_copy(update={"status": status})
    assert cause(match, gone(64.9, "CONNECTION_TIMEOUT", noticed=60), b.at(64.9)) is None
    assert cause(match, gone(65.1, "CONNECTION_TIMEOUT", noticed=60), b.at(65.1)) is not None


def test_the_one_who_stayed_is_queued_again_at_the_end_of_the_queue() -> None:
    match, seen = dropped("CLIENT_INITIATED"), gone(14, "CLIENT_INITIATED")
    found = MatchCase(match, seen, b.at(14)).cause
    assert found is not None
    assert [(o.id, o.to, o.place) for o in b.releases(match, seen, found)] == [
        ("alice", "WAITING", "Now"),
        ("bob", "IDLE", "Now"),
    ]


@pytest.mark.parametrize(("detail", "word"), [("CLIENT_INITIATED", "Left"), ("CONNECTION_TIMEOUT", "ConnectionLost")])
def test_the_condition_says_who_dropped_out_and_until_when_they_are_waited_for(detail: str, word: str) -> None:
    status = dropped(detail).status
    connected = next(condition for condition in status.conditions if condition.type == "Connected")
    until = "10:00:13" if word == "Left" else "10:00:25"
    assert (status.phase, status.reason, connected.reason) == (MatchPhase.RECONNECTING, word, word)
    assert f"bob dropped out (webhook: {detail}); the match ends at {until} UTC unless bob is back" in connected.message


def test_nothing_is_written_while_the_call_waits_for_a_participant() -> None:
    match = dropped("CONNECTION_TIMEOUT")
    later = match_status(MatchCase(match, gone(20, "CONNECTION_TIMEOUT"), b.at(20)), None)
    assert later.manifest() == match.status.manifest()


def test_windows_stand_still_in_an_outage() -> None:
    # LiveKit was away from second 12 to 60. No participant could come back then; 2 s of the window were over before.
    match = dropped("CONNECTION_TIMEOUT")
    back = replace(b.both_in().server, silences=b.silent((12, 60)))
    for seconds, over in ((61, False), (72.9, False), (73.1, True)):
        seen = replace(gone(seconds, "CONNECTION_TIMEOUT"), server=back)
        assert (cause(match, seen, b.at(seconds)) is not None) is over, seconds


def test_a_participant_who_could_not_join_in_an_outage_gets_the_time_again() -> None:
    back = replace(b.all_made().server, silences=b.silent((0, 60)))
    for seconds, over in ((61, False), (85.1, True)):
        seen = replace(b.all_made(seconds), server=back)
        assert (cause(b.connecting(), seen, b.at(seconds)) is not None) is over, seconds


@pytest.mark.parametrize("detail", ["ROOM_DELETED", "ROOM_CLOSED"])
def test_no_participant_is_to_blame_for_a_room_that_was_closed(detail: str) -> None:
    match, seen = both_dropped(detail, detail), both_gone(26, detail, detail)
    found = MatchCase(match, seen, b.at(26)).cause
    assert found is not None
    assert (found.reason, found.subject) == (EndReason.ROOM_LOST, frozenset())
    assert "closed on LiveKit, and alice and bob did not come back within 15 s" in found.message
    assert [one.to for one in b.releases(match, seen, found)] == ["WAITING", "WAITING"]


@pytest.mark.parametrize(
    ("alice", "bob", "seconds", "reason", "subject"),
    [
        # Bob has half a second left to come back, but he has said goodbye as well.
        ("CLIENT_INITIATED", "CLIENT_INITIATED", 13.2, EndReason.LEFT, {"alice", "bob"}),
        ("CLIENT_INITIATED", "CONNECTION_TIMEOUT", 13.2, EndReason.LEFT, {"alice"}),
        ("CLIENT_INITIATED", "ROOM_DELETED", 30, EndReason.LEFT, {"alice"}),
        ("CONNECTION_TIMEOUT", "CONNECTION_TIMEOUT", 25.3, EndReason.NETWORK_LOST, {"alice"}),
        ("CONNECTION_TIMEOUT", "CONNECTION_TIMEOUT", 25.9, EndReason.NETWORK_LOST, {"alice", "bob"}),
    ],
)
def test_only_the_participants_who_left_by_themselves_are_not_queued_again(
    alice: str, bob: str, seconds: float, reason: EndReason, subject: set[str]
) -> None:
    match, seen = both_dropped(alice, bob), both_gone(seconds, alice, bob)
    assert cause(match, seen, b.at(seconds)) == (reason, frozenset(subject))


def both_dropped(alice: str, bob: str) -> Match:
    """Alice dropped out at second 10, and bob 0.6 s later."""
    match = b.active(timeouts=TIMEOUTS)
    for seconds in (LEFT_AT + 0.1, LEFT_AT + 0.7):
        status = match_status(MatchCase(match, both_gone(seconds, alice, bob), b.at(seconds)), None)
        match = match.model_copy(update={"status": MatchStatus.model_validate(status.manifest())})
    return match


def both_gone(seconds: float, alice: str, bob: str) -> MatchSeen:
    """Return the word of both witnesses at that second."""
    last = {"alice": b.event("left", LEFT_AT, sid="PA_alice", reason=alice)}
    if seconds > LEFT_AT + 0.6:
        last["bob"] = b.event("left", LEFT_AT + 0.6, sid="PA_bob", reason=bob)
    people = () if "bob" in last else (b.person("bob"),)
    return b.both_in(seconds, ledger=b.ledger("Reconnecting", last=last), people=people)


@pytest.mark.parametrize(
    ("detail", "message"),
    [
        ("CLIENT_INITIATED", "bob left and did not come back within 3 s"),
        ("CONNECTION_TIMEOUT", "bob lost the connection and did not come back within 15 s"),
    ],
)
def test_the_end_says_who_is_missing_and_for_how_long_they_were_waited_for(detail: str, message: str) -> None:
    found = MatchCase(dropped(detail), gone(30, detail), b.at(30)).cause
    assert found is not None
    assert found.message == message


def test_the_reason_that_livekit_gives_tells_a_goodbye_from_a_loss() -> None:
    assert {reason for reason in map(str, DisconnectReason.keys()) if said_goodbye(reason)} == {
        "CLIENT_INITIATED",
        "PARTICIPANT_REMOVED",
        "USER_UNAVAILABLE",
        "USER_REJECTED",
        "SIP_TRUNK_FAILURE",
        "AGENT_ERROR",
    }
    assert not said_goodbye(None)


@pytest.mark.parametrize(("suspected", "until"), [(None, 55), (39.9, 54.9), (40, 55), (41, 55), (15, 30), (14.9, 55)])
def test_a_suspicion_opens_the_window_if_it_is_at_most_as_old_as_livekit_is_slow(
    suspected: float | None, until: float
) -> None:
    bob = (
        b.active()
        .status.participants[1]
        .model_copy(update={"state": ParticipantState.RECONNECTING, "since": b.at(40), "detail": "CONNECTION_TIMEOUT"})
    )
    since = None if suspected is None else b.at(suspected)
    assert return_deadline(b.active().spec.timeouts, bob, None, b.both_in().server, since) == b.at(until)


def test_a_second_drop_out_counts_from_its_own_notice() -> None:
    steps = [("Active", 3), ("Reconnecting", 10), ("Active", 12), ("Reconnecting", 40), ("Terminating", 60)]
    history = tuple(HistoryEntry(phase=MatchPhase(phase), time=b.at(seconds)) for phase, seconds in steps)
    assert noticed_at(history) == b.at(40)
    assert noticed_at(history[:1]) is None


def test_a_participant_who_is_on_the_way_back_has_no_deadline() -> None:
    people = (b.person("alice"), b.person("bob", state="JOINED"))
    (advance,) = plan_match(MatchCase(b.active(timeouts=TIMEOUTS), b.both_in(11, people=people), b.at(11))).actions
    assert isinstance(advance, Advance)
    assert (advance.phase, advance.missing) == ("Reconnecting", (("bob", None),))


def test_the_first_to_go_of_two_late_participants_decides_in_any_order_of_the_spec() -> None:
    match = b.active(timeouts=TIMEOUTS)
    people = tuple(
        person.model_copy(update={"state": ParticipantState.RECONNECTING, "since": b.at(since), "detail": detail})
        for person, since, detail in zip(
            match.status.participants, (12, 10), ("CONNECTION_TIMEOUT", "CLIENT_INITIATED"), strict=True
        )
    )
    match = match.model_copy(update={"status": match.status.model_copy(update={"participants": people})})
    found = MatchCase(match, both_gone(40, "CONNECTION_TIMEOUT", "CLIENT_INITIATED"), b.at(40)).cause
    assert found is not None
    assert found.message == "alice and bob left and did not come back within 3 s"


def test_the_end_says_that_the_room_was_lost_because_livekit_closed_it() -> None:
    found = MatchCase(
        both_dropped("ROOM_DELETED", "ROOM_DELETED"), both_gone(26, "ROOM_DELETED", "ROOM_DELETED"), b.at(26)
    ).cause
    assert found is not None
    assert found.message.startswith("the room was lost: it was closed on LiveKit, and alice and bob did not come back")
