"""The status of a Match: moments, participants, room and tokens, and what is not written."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from controller.api.failures import ErrorType, LastError
from controller.api.match import Match, MatchStatus
from controller.api.names import token_secret_name
from controller.facts.match import MatchSeen
from controller.rules.match_case import MatchCase
from controller.status.match import match_status
from controller.status.patch import changes, merge_patch
from tests import values as b
from tests.status.looks import ALICE, BUSY, END, ENDED, ENDING, FAILED_BEFORE, OUTAGE, condition, status_of

AWAY = OUTAGE.model_copy(update={"type": ErrorType.NETWORK})

# Every state in which the operator only waits.
RESTING: list[tuple[str, Match, MatchSeen]] = [
    ("waiting for a holder", b.a_match(), b.seen(refusal=ENDING)),
    ("Redis away", b.a_match(), b.seen(ledger=b.unknown())),
    ("making the room", b.a_match(), b.all_made(livekit_room=None)),
    ("waiting for people", b.connecting(), b.all_made()),
    ("signaling", b.connecting(), b.all_made(people=(b.person("alice", state="JOINED"),))),
    ("up", b.active(), b.both_in()),
    ("one dropped", b.active(), b.both_in(people=ALICE)),
    ("LiveKit away", b.active(), b.both_in(livekit_room=b.unknown(), people=b.unknown(), trouble="no answer")),
    ("room lost", b.active(), b.both_in(livekit_room=None, people=())),
    ("ending", b.active(termination=END), b.both_in(ledger=b.ledger("Terminating"))),
    ("over", b.active(termination=END), b.all_gone()),
    ("refused", b.a_match(), b.seen(refusal=BUSY)),
]  # fmt: skip


def later(seen: MatchSeen, seconds: float) -> MatchSeen:
    """Return the same observation, made again at that second."""
    fields = ("ledger", "room", "livekit_room", "people", "tokens")
    return replace(seen, **{name: replace(getattr(seen, name), at=b.at(seconds)) for name in fields})


@pytest.mark.parametrize(("match", "seen"), [case[1:] for case in RESTING], ids=[case[0] for case in RESTING])
def test_nothing_is_written_because_time_passed(match: Match, seen: MatchSeen) -> None:
    for seconds in (5.1, 7.2, 18.9):
        status = status_of(match, later(seen, seconds), seconds)
        if seconds > 5.1:
            assert merge_patch(match.status.manifest(), status.manifest()) == {}
        match = match.model_copy(update={"status": status})


def test_the_patch_is_that_of_the_whole_statuses() -> None:
    statuses = [
        *(status_of(match, seen, 5.1) for _, match, seen in RESTING),
        *(match.status for _, match, _ in RESTING),
    ]
    for before, after in itertools.product(statuses, repeat=2):
        assert changes(before, after) == merge_patch(before.manifest(), after.manifest())


def test_moments_are_written_once_and_stay() -> None:
    up = status_of(b.a_match(), b.both_in(), 4)
    assert (up.started_at, up.ready_at, up.connected_at, up.ended_at) == (b.at(4), b.at(4), b.at(4), None)
    again = status_of(b.active(), b.both_in(), 9)
    assert (again.started_at, again.ready_at, again.connected_at) == (b.T0, b.at(1), b.at(3))
    over = status_of(b.active(termination=END), b.all_gone(), 60)
    assert over.ended_at == b.at(60)
    assert status_of(b.active(status=ENDED), b.all_gone(), 99).ended_at == b.at(60)


def test_nothing_began_before_the_users_were_claimed() -> None:
    status = status_of(b.a_match(), b.seen())
    assert (status.started_at, status.ready_at, status.connected_at) == (None, None, None)


def test_a_match_that_is_ending_does_not_become_ready_or_connected() -> None:
    status = status_of(b.a_match(termination=END), b.both_in())
    assert (status.ready_at, status.connected_at) == (None, None)
    assert status_of(b.connecting(termination=END), b.both_in()).connected_at is None


def test_the_two_have_not_met_in_a_room_that_is_not_ready() -> None:
    status = status_of(b.a_match(), b.both_in(tokens=None))
    assert (status.ready_at, status.connected_at) == (None, None)
    assert condition(status, "Connected")[:2] == ("False", "WaitingForPeople")


def test_moments_are_cut_to_milliseconds_so_that_they_read_back_the_same() -> None:
    status = match_status(MatchCase(b.a_match(), b.all_made(), b.at(4.1234567)), None)
    assert MatchStatus.model_validate(status.manifest()) == status
    assert status.ready_at == b.at(4.123)


@pytest.mark.parametrize(
    ("seen", "connected"),
    [(b.all_made(), "0/2"), (b.all_made(people=ALICE), "1/2"), (b.both_in(), "2/2")],
)
def test_how_many_are_in(seen: MatchSeen, connected: str) -> None:
    assert status_of(b.connecting(), seen).connected == connected


def test_no_participant_is_in_a_match_that_is_over() -> None:
    seen = b.all_gone(people=b.both_in().people)
    assert status_of(b.active(termination=END), seen).connected == "0/2"


def test_participants_say_since_when_and_by_whom() -> None:
    joined = b.all_made(
        people=ALICE, ledger=b.ledger("Connecting", last={"alice": b.event("joined", 3, sid="PA_alice")})
    )
    alice, bob = status_of(b.connecting(), joined).participants
    assert (alice.state, alice.since, alice.evidence, alice.connected_at) == ("Connected", b.at(3), "webhook", b.at(3))
    assert (alice.participant_sid, bob.state, bob.since, bob.connected_at) == ("PA_alice", "Invited", b.T0, None)


def test_since_moves_only_with_the_state() -> None:
    alice = status_of(b.active(), b.both_in(30), 30).participants[0]
    assert (alice.since, alice.connected_at) == (b.at(3), b.at(3))


def test_a_participant_who_drops_out_is_reconnecting_in_a_call_and_left_in_an_ended_one() -> None:
    dropped = b.both_in(9, people=ALICE)
    assert status_of(b.active(), dropped).participants[1].connected_at == b.at(3)
    assert status_of(b.active(), dropped).participants[1].state == "Reconnecting"
    assert status_of(b.active(termination=END), dropped).participants[1].state == "Left"


def test_a_participant_who_leaves_before_both_met_has_left() -> None:
    seen = b.all_made(ledger=b.ledger("Connecting", last={"alice": b.event("left", 3)}))
    assert status_of(b.connecting(), seen).participants[0].state == "Left"


def test_the_status_keeps_the_place_in_the_queue_so_that_a_lost_redis_can_be_rebuilt() -> None:
    claimed = b.all_made(ledger=b.ledger(queued={"alice": b.ms(-20), "bob": None}))
    status = status_of(b.a_match(), claimed)
    assert [p.queued_at for p in status.participants] == [b.at(-20), None]
    kept = status_of(b.a_match(status={"participants": status.manifest()["participants"]}), b.seen(ledger=b.unknown()))
    assert kept.participants[0].queued_at == b.at(-20)


def test_room_and_tokens_are_named() -> None:
    status = status_of(b.a_match(), b.all_made())
    assert status.room is not None
    assert (status.room.name, status.room.livekit_name) == (b.ROOM_NAME, b.LIVEKIT_NAME)
    assert (status.room.sid, status.room.server, status.room.url) == ("RM_1", "default", b.URL)
    assert status.tokens is not None
    assert (status.tokens.secret_name, status.tokens.expires_at) == (token_secret_name(b.MATCH_UID), b.at(900))


def test_tokens_in_redis_name_no_secret() -> None:
    tokens = status_of(b.a_match(tokens={"delivery": "Redis"}), b.all_made()).tokens
    assert tokens is not None
    assert tokens.secret_name is None


def test_the_status_keeps_what_it_knew_of_a_room_that_is_gone() -> None:
    status = status_of(b.a_match(), b.all_made())
    after = b.a_match(status={"room": status.manifest()["room"]})
    assert status_of(after, b.all_gone()).room == status.room
    assert status_of(after, b.all_made(livekit_room=None)).room == status.room


def test_tokens_are_not_shown_once_it_ends() -> None:
    assert status_of(b.active(termination=END), b.both_in()).tokens is None


def test_the_status_says_exactly_where_the_tokens_are() -> None:
    assert "Redis" not in condition(status_of(b.a_match(), b.all_made()), "TokensIssued")[2]
    assert (
        "secret" not in condition(status_of(b.a_match(tokens={"delivery": "Redis"}), b.all_made()), "TokensIssued")[2]
    )


@pytest.mark.parametrize(
    ("before", "error", "expected"),
    [
        (None, None, None),
        (None, OUTAGE, OUTAGE),
        (OUTAGE, None, OUTAGE),
        (OUTAGE, OUTAGE.model_copy(update={"at": b.at(9)}), OUTAGE),
        (OUTAGE, OUTAGE.model_copy(update={"message": "other"}), OUTAGE.model_copy(update={"message": "other"})),
        (AWAY, AWAY.model_copy(update={"message": "refused"}), AWAY),
        (
            OUTAGE,
            OUTAGE.model_copy(update={"type": ErrorType.REDIS}),
            OUTAGE.model_copy(update={"type": ErrorType.REDIS}),
        ),
    ],
)
def test_the_last_error_changes_with_what_failed_and_not_because_it_fails_again(
    before: LastError | None, error: LastError | None, expected: LastError | None
) -> None:
    match = b.active(status=FAILED_BEFORE | {"last_error": before})
    assert status_of(match, b.both_in(), error=error).last_error == expected


def test_an_error_that_was_solved_and_comes_again_is_the_last_one_with_its_own_time() -> None:
    match, again = b.active(status={"last_error": OUTAGE}), OUTAGE.model_copy(update={"at": b.at(9000)})
    assert status_of(match, b.both_in(), error=again).last_error == again


def test_the_status_shows_an_error_that_prevents_the_claim() -> None:
    status = status_of(b.a_match(), b.seen(), error=OUTAGE)
    assert condition(status, "Accepted") == ("False", "NotClaimed", "no answer")


@pytest.mark.parametrize(
    ("identities", "summary"),
    [
        (("alice", "bob"), "alice, bob"),
        (("a" * 29, "b" * 29), "a" * 29 + ", " + "b" * 29),
        (("a" * 30, "b" * 29), "a" * 30 + ", " + "b" * 27 + "…"),
        (("a" * 80, "bob"), "a" * 59 + "…"),
    ],
)
def test_the_summary_of_the_participants_fits_a_column(identities: tuple[str, str], summary: str) -> None:
    match = b.a_match(participants=[{"identity": identity} for identity in identities])
    found = status_of(match, b.seen()).participants_summary
    assert found == summary
    assert len(found) <= 60


def test_the_session_has_an_id_even_if_the_spec_names_none() -> None:
    assert status_of(b.a_match(), b.seen()).session_id == b.MATCH_UID
    assert status_of(b.a_match(session_id="s-9"), b.seen()).session_id == "s-9"


def test_a_late_notice_moves_the_stated_moment_once_and_for_all() -> None:
    # LiveKit's word was late: bob was lost at second 5, and that was noticed at second 60.
    ledger = b.ledger("Active", last={"bob": b.event("left", 5, sid="PA_bob", reason="SIGNAL_CLOSE")})
    match = b.active()
    for seconds in (60, 62):
        status = status_of(match, b.both_in(seconds, people=ALICE, ledger=ledger), seconds)
        assert "the match ends at 10:01:05 UTC" in condition(status, "Connected")[2]
        match = match.model_copy(update={"status": status})
