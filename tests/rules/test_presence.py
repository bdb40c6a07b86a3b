"""One verdict per participant, whatever the order in which the witnesses report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from controller.api.match import ParticipantState
from controller.facts.ledger import LastEvent
from controller.facts.livekit import Ghost, LiveKitParticipant
from controller.facts.observation import Observation
from controller.rules.presence import NODE_GONE, Presence, presences
from tests import values as b

Witness = Mapping[str, Any]

CONNECTED = {
    "state": "Connected",
    "since": b.at(3),
    "connected_at": b.at(3),
    "participant_sid": "PA_1",
    "evidence": "webhook",
}
LEFT = {**CONNECTED, "state": "Left", "since": b.at(8), "detail": "CLIENT_INITIATED"}
RECONNECTING = {**LEFT, "state": "Reconnecting"}


def verdict(
    *,
    before: Mapping[str, Any] | None = None,
    event: LastEvent | None = None,
    listed: LiveKitParticipant | None = None,
    read: float | None = None,
) -> Presence:
    """Return the verdict on alice from the old status, the last webhook, and a list that was read at second `read`."""
    status = {"participants": [{"identity": "alice", **before}]} if before else {}
    people: Observation[tuple[LiveKitParticipant, ...]] | tuple[LiveKitParticipant, ...] = b.unknown()
    if read is not None:
        people = (listed,) if listed is not None else ()
    last = {"alice": event} if event is not None else {}
    seen = b.all_made(0 if read is None else read, people=people, ledger=b.ledger("Connecting", last=last))
    return presences(b.connecting(status=status), seen)[0]


JOIN, LEAVE = b.event("joined", 3, sid="PA_1"), b.event("left", 8, sid="PA_1", reason="CLIENT_INITIATED")
IN = b.person("alice", sid="PA_1")
SIGNALLING = b.person("alice", sid="PA_1", state="JOINED")

# Each case: a name, the evidence, the expected verdict.
VERDICTS: list[tuple[str, Witness, str, str | None, str | None, float | None]] = [
    ("nothing is known", {}, "Invited", None, None, None),
    ("not listed, never seen: still invited", {"read": 5}, "Invited", None, None, None),
    ("joined by webhook", {"event": JOIN}, "Connected", "webhook", None, 3),
    ("left by webhook", {"event": LEAVE}, "Left", "webhook", "CLIENT_INITIATED", 8),
    (
        "gave up while joining",
        {"event": b.event("connection_aborted", 4, reason="JOIN_FAILURE")},
        "Left",
        "webhook",
        "JOIN_FAILURE",
        4,
    ),
    ("left, LiveKit does not say why", {"event": b.event("left", 8)}, "Left", "webhook", None, 8),
    ("listed with media", {"listed": IN, "read": 5}, "Connected", "poll", None, 5),
    ("listed, no media yet", {"listed": SIGNALLING, "read": 5}, "Joining", "poll", None, 5),
    (
        "listed and the webhook agrees: the webhook's time",
        {"event": JOIN, "listed": IN, "read": 5},
        "Connected",
        "webhook",
        None,
        3,
    ),
    (
        "listed under a newer session than the one in the webhook",
        {"event": JOIN, "listed": b.person("alice", sid="PA_2"), "read": 9},
        "Connected",
        "poll",
        None,
        9,
    ),
    (
        "a list from before the leave does not contradict it",
        {"event": LEAVE, "listed": IN, "read": 7},
        "Left",
        "webhook",
        "CLIENT_INITIATED",
        8,
    ),
    (
        "a list of the same moment does not either",
        {"event": LEAVE, "listed": IN, "read": 8.2},
        "Left",
        "webhook",
        "CLIENT_INITIATED",
        8,
    ),
    (
        "a clearly later list outranks the leave",
        {"event": LEAVE, "listed": IN, "read": 8.3},
        "Connected",
        "poll",
        None,
        8.3,
    ),
    (
        "a list from before the join does not contradict it",
        {"event": JOIN, "read": 2.9, "before": None},
        "Connected",
        "webhook",
        None,
        3,
    ),
    (
        "the join is missed: the list tells",
        {"before": {"state": "Invited", "since": b.at(0)}, "listed": IN, "read": 5},
        "Connected",
        "poll",
        None,
        5,
    ),
    (
        "the leave is missed: the list tells",
        {"before": CONNECTED, "event": JOIN, "read": 9},
        "Left",
        "poll",
        "not listed any more",
        9,
    ),
    (
        "the leave came and the list agrees",
        {"before": CONNECTED, "event": LEAVE, "read": 9},
        "Left",
        "webhook",
        "CLIENT_INITIATED",
        8,
    ),
    ("gone before: the first verdict stays", {"before": LEFT, "read": 12}, "Left", "webhook", "CLIENT_INITIATED", 8),
    ("no witness was asked: as it was", {"before": CONNECTED}, "Connected", "webhook", None, 3),
    (
        "was reconnecting, no witness was asked: as it was",
        {"before": RECONNECTING},
        "Reconnecting",
        "webhook",
        "CLIENT_INITIATED",
        8,
    ),
    (
        "came back",
        {"before": RECONNECTING, "event": b.event("joined", 10, sid="PA_2")},
        "Connected",
        "webhook",
        None,
        10,
    ),
    (
        "came back, the list tells first",
        {"before": RECONNECTING, "event": LEAVE, "listed": b.person("alice", sid="PA_2"), "read": 11},
        "Connected",
        "poll",
        None,
        11,
    ),
    (
        "still there by the list: since the first time",
        {"before": {**CONNECTED, "evidence": "poll"}, "listed": IN, "read": 20},
        "Connected",
        "poll",
        None,
        3,
    ),
    (
        "first a list has the session, then the webhook: the webhook's time",
        {"before": {**CONNECTED, "since": b.at(5), "evidence": "poll"}, "event": JOIN},
        "Connected",
        "webhook",
        None,
        3,
    ),
    (
        "gone by a list that names no session, and then the webhook: the webhook's word",
        {
            "before": {"state": "Left", "since": b.at(9), "evidence": "poll", "detail": "not listed any more"},
            "event": LEAVE,
        },
        "Left",
        "webhook",
        "CLIENT_INITIATED",
        8,
    ),
    (
        "a duplicate identity is not a leave",
        {"before": CONNECTED, "event": b.event("left", 8, sid="PA_1", reason="DUPLICATE_IDENTITY")},
        "Connected",
        "webhook",
        None,
        3,
    ),
    (
        "the other session of a duplicate is listed",
        {
            "before": CONNECTED,
            "event": b.event("left", 8, sid="PA_1", reason="DUPLICATE_IDENTITY"),
            "listed": b.person("alice", sid="PA_2"),
            "read": 9,
        },
        "Connected",
        "poll",
        None,
        9,
    ),
    (
        "after a duplicate no session is listed: gone after all",
        {"before": CONNECTED, "event": b.event("left", 8, sid="PA_1", reason="DUPLICATE_IDENTITY"), "read": 9},
        "Left",
        "webhook",
        "DUPLICATE_IDENTITY",
        8,
    ),
    (
        "gave up while joining, and is not listed any more: the webhook says why",
        {
            "before": {"state": "Joining", "since": b.at(3), "participant_sid": "PA_1", "evidence": "poll"},
            "event": b.event("connection_aborted", 4, sid="PA_1", reason="JOIN_FAILURE"),
            "read": 9,
        },
        "Left",
        "webhook",
        "JOIN_FAILURE",
        4,
    ),
    (
        "joined again after the list was asked for",
        {"before": CONNECTED, "event": b.event("joined", 9, sid="PA_2"), "listed": IN, "read": 8},
        "Connected",
        "webhook",
        None,
        9,
    ),
    (
        "the webhook said joined, and the list has no media any more",
        {"event": JOIN, "listed": SIGNALLING, "read": 9},
        "Joining",
        "poll",
        None,
        9,
    ),
    (
        "was only signaling, and is not listed any more",
        {"before": {"state": "Joining", "since": b.at(3), "participant_sid": "PA_1", "evidence": "poll"}, "read": 9},
        "Left",
        "poll",
        "not listed any more",
        9,
    ),
    (
        "media is lost, signaling is back",
        {"before": CONNECTED, "listed": SIGNALLING, "read": 9},
        "Joining",
        "poll",
        None,
        9,
    ),
]


@pytest.mark.parametrize("case", VERDICTS, ids=[c[0] for c in VERDICTS])
def test_the_newer_evidence_wins(case: tuple[Any, ...]) -> None:
    _, known, state, evidence, detail, since = case
    result = verdict(**known)
    assert (result.state, result.evidence, result.detail) == (state, evidence, detail)
    assert result.since == (None if since is None else b.at(since))


@pytest.mark.parametrize("case", VERDICTS, ids=[c[0] for c in VERDICTS])
def test_the_same_evidence_again_changes_nothing(case: tuple[Any, ...]) -> None:
    _, known, *_ = case
    first = verdict(**known)
    if first.since is None:
        return
    came = {"connected_at": first.since} if first.is_in else {}
    before = {
        **(known.get("before") or {}),
        **came,
        "state": first.state,
        "since": first.since,
        "evidence": first.evidence,
        "detail": first.detail,
        "participant_sid": first.participant_sid,
    }
    assert verdict(**{**known, "before": before}) == first


def test_a_client_that_is_only_signaling_is_not_in() -> None:
    states = {state: Presence("alice", state, None, None, None, None).is_in for state in ParticipantState}
    assert [state for state, is_in in states.items() if is_in] == ["Connected"]


def test_livekit_knows_participants_by_their_aliases() -> None:
    people = [{"identity": "alice", "alias": "p-91"}, {"identity": "bob"}]
    seen = b.all_made(people=(b.person("p-91"), b.person("alice")))
    alice, bob = presences(b.connecting(participants=people), seen)
    assert (alice.identity, alice.is_in, alice.participant_sid) == ("alice", True, "PA_p-91")
    assert not bob.is_in


def test_verdicts_come_in_the_order_of_the_spec_and_are_independent() -> None:
    people = (b.person("stranger"), b.person("bob"))
    alice, bob = presences(b.connecting(), b.all_made(people=people))
    assert (alice.identity, alice.is_in, bob.identity, bob.is_in) == ("alice", False, "bob", True)


def test_without_a_ledger_the_list_alone_decides() -> None:
    assert [p.is_in for p in presences(b.connecting(), b.both_in(ledger=b.unknown()))] == [True, True]


def test_a_late_leave_of_an_older_session_does_not_end_the_newer_one() -> None:
    # The join of PA_2 was lost, a poll saw it, and then the leave of PA_1 arrives.
    before = {**CONNECTED, "participant_sid": "PA_2", "since": b.at(9), "evidence": "poll"}
    late = b.event("left", 9.5, sid="PA_1", reason="CONNECTION_TIMEOUT")
    result = verdict(before=before, event=late, listed=b.person("alice", sid="PA_2"), read=9)
    assert result.is_in


def test_a_goodbye_of_an_older_session_says_nothing_of_how_the_newer_one_went() -> None:
    # The join of PA_2 was lost, and a poll saw it; now it is gone, and no webhook has said why.
    before = {**CONNECTED, "participant_sid": "PA_2", "since": b.at(20), "evidence": "poll"}
    goodbye = b.event("left", 9, sid="PA_1", reason="CLIENT_INITIATED")
    result = verdict(before=before, event=goodbye, listed=None, read=100)
    assert (result.state, result.detail, result.since) == ("Left", "not listed any more", b.at(100))


@pytest.mark.parametrize("name", ["left", "joined"])
def test_news_of_an_older_session_do_not_count_while_no_list_was_read(name: str) -> None:
    before = {**CONNECTED, "participant_sid": "PA_2", "since": b.at(20), "evidence": "poll"}
    result = verdict(before=before, event=b.event(name, 9, sid="PA_1", reason="CLIENT_INITIATED"), read=None)
    assert (result.state, result.participant_sid, result.since) == ("Connected", "PA_2", b.at(20))


def test_a_session_that_came_and_went_unseen_counts_as_the_webhook_tells_it() -> None:
    before = {**CONNECTED, "participant_sid": "PA_1", "since": b.at(3)}
    result = verdict(
        before=before, event=b.event("left", 9, sid="PA_2", reason="CLIENT_INITIATED"), listed=None, read=9
    )
    assert (result.state, result.detail, result.since) == ("Left", "CLIENT_INITIATED", b.at(9))


def test_a_participant_who_joined_and_is_not_listed_later_is_not_in() -> None:
    result = verdict(event=b.event("joined", 3, sid="PA_1"), listed=None, read=60)
    assert (result.state, result.evidence) == ("Left", "poll")


def test_a_participant_who_is_no_longer_listed_is_known_by_the_last_session() -> None:
    assert verdict(before=CONNECTED, read=9).participant_sid == "PA_1"


def test_a_ghost_is_gone_since_the_first_sign_whatever_the_webhooks_said_before() -> None:
    ghost = Ghost("alice", "PA_1", since=b.at(12), probed_at=b.at(20))
    seen = b.all_made(20, people=(), ledger=b.ledger("Connecting", last={"alice": JOIN}))
    match = b.connecting(status={"participants": [{"identity": "alice", **CONNECTED}]})
    found = presences(match, replace(seen, ghosts=(ghost,)))[0]
    assert (found.state, found.evidence, found.detail, found.since) == ("Left", "poll", NODE_GONE, b.at(12))
    again = b.event("joined", 30, sid="PA_2")
    seen = b.all_made(20, people=(), ledger=b.ledger("Connecting", last={"alice": again}))
    assert presences(match, replace(seen, ghosts=(ghost,)))[0].state == "Connected", "they came back since the probe"
