"""The view of LiveKit's rooms: one snapshot per interval, and newer answers to our own requests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from controller.facts.livekit import LiveKitParticipant, LiveKitRoom
from controller.facts.observation import Absent, Present, Unknown
from controller.facts.silences import LONG_AGO, Silence
from controller.views.livekit import LiveKitView
from tests import values as b

ROOM = b.a_livekit_room(name="r")
ALICE = (b.person("alice"),)


class Rig:
    """A view, and the names that its followers received."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.view = LiveKitView()
        self.view.follow(changed=self.told.extend, found=self.told.extend, lost=self.told.extend)


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_before_the_first_snapshot_everything_is_unknown(rig: Rig) -> None:
    assert rig.view.room("r", b.at(1)) == Unknown(b.at(1), "LiveKit's rooms have not been listed yet")
    assert isinstance(rig.view.people("r", b.at(1)), Unknown)


def test_a_snapshot_says_who_is_there_and_who_is_not(rig: Rig) -> None:
    rig.view.snapshot([ROOM], b.at(5))
    assert rig.view.room("r", b.at(6)) == Present(ROOM, b.at(5))
    assert rig.view.room("other", b.at(6)) == Absent(b.at(5))
    assert (rig.view.names(), rig.told) == (["r"], ["r"])


def test_the_same_snapshot_again_is_newer_and_is_not_reported(rig: Rig) -> None:
    rig.view.snapshot([ROOM], b.at(5))
    rig.view.snapshot([ROOM], b.at(7))
    assert rig.view.room("r", b.at(8)) == Present(ROOM, b.at(7))
    assert rig.told == ["r"]


def test_a_room_that_is_no_longer_listed_is_absent_and_reported(rig: Rig) -> None:
    rig.view.snapshot([ROOM], b.at(5))
    rig.view.snapshot([], b.at(7))
    assert rig.view.room("r", b.at(8)) == Absent(b.at(7))
    assert not rig.view.is_gone("r"), "one read is not two"
    assert rig.told == ["r", "r"]


def test_our_own_answer_wins_over_a_snapshot_that_was_asked_for_before_it(rig: Rig) -> None:
    rig.view.saw_room(ROOM, b.at(5))
    rig.view.snapshot([], b.at(4.9))
    assert rig.view.room("r", b.at(6)) == Present(ROOM, b.at(5))
    older = b.a_livekit_room(name="r", sid="RM_0")
    rig.view.snapshot([older], b.at(4.95))
    assert rig.view.room("r", b.at(6)) == Present(ROOM, b.at(5))
    rig.view.snapshot([], b.at(5.1))
    assert isinstance(rig.view.room("r", b.at(6)), Absent)


def test_a_room_is_certainly_gone_when_two_reads_agree(rig: Rig) -> None:
    rig.view.saw_room(ROOM, b.at(1))
    rig.view.saw_people("r", ALICE, b.at(1))
    rig.view.saw_gone("r", b.at(5))
    assert rig.view.is_gone("r")
    assert rig.view.room("r", b.at(6)) == Absent(b.at(5))
    assert isinstance(rig.view.people("r", b.at(6)), Unknown)
    assert rig.told[-1] == "r"


def test_a_snapshot_from_before_the_deletion_does_not_revive_a_room(rig: Rig) -> None:
    rig.view.saw_gone("r", b.at(5))
    rig.view.snapshot([ROOM], b.at(4))
    assert (rig.view.is_gone("r"), rig.view.room("r", b.at(6))) == (True, Absent(b.at(5)))


def test_a_snapshot_from_after_the_deletion_revives_a_room(rig: Rig) -> None:
    rig.view.saw_gone("r", b.at(5))
    rig.view.snapshot([ROOM], b.at(6))
    assert (rig.view.is_gone("r"), rig.view.room("r", b.at(7))) == (False, Present(ROOM, b.at(6)))


def test_gone_stays_gone_over_snapshots_that_agree(rig: Rig) -> None:
    rig.view.saw_gone("r", b.at(5))
    rig.view.snapshot([], b.at(9))
    assert rig.view.is_gone("r")


def test_a_room_that_was_created_again_is_not_gone(rig: Rig) -> None:
    rig.view.saw_gone("r", b.at(5))
    rig.view.saw_room(ROOM, b.at(6))
    assert (rig.view.is_gone("r"), rig.view.room("r", b.at(7))) == (False, Present(ROOM, b.at(6)))


def test_an_outage_makes_unseen_rooms_unknown_and_no_room_absent(rig: Rig) -> None:
    rig.view.snapshot([ROOM], b.at(5))
    rig.view.failed(b.at(7), "no answer")
    assert rig.view.failure == "no answer"
    assert rig.view.room("other", b.at(8)) == Unknown(b.at(7), "no answer")
    assert rig.view.room("r", b.at(8)) == Present(ROOM, b.at(5))
    rig.view.snapshot([], b.at(9))
    assert (rig.view.failure, rig.view.room("other", b.at(9))) == ("", Absent(b.at(9)))


def test_a_snapshot_drops_the_participants_of_rooms_that_are_gone(rig: Rig) -> None:
    rig.view.snapshot([ROOM], b.at(1))
    rig.view.saw_people("r", ALICE, b.at(2))
    rig.view.snapshot([], b.at(3))
    assert isinstance(rig.view.people("r", b.at(4)), Unknown)


def test_a_change_of_participants_is_reported(rig: Rig) -> None:
    rig.view.saw_people("r", ALICE, b.at(2))
    rig.view.saw_people("r", ALICE, b.at(3))
    assert (rig.view.people("r", b.at(4)), rig.told) == (Present(ALICE, b.at(3)), ["r"])
    rig.view.saw_people("r", (), b.at(4))
    assert rig.told == ["r", "r"]


def test_an_older_list_of_people_never_replaces_a_newer_one(rig: Rig) -> None:
    rig.view.saw_people("r", ALICE, b.at(5))
    rig.view.saw_people("r", (), b.at(4))
    assert rig.view.people("r", b.at(6)) == Present(ALICE, b.at(5))


def test_a_snapshot_of_the_very_moment_of_the_deletion_does_not_revive_a_room(rig: Rig) -> None:
    rig.view.saw_gone("r", b.at(5))
    rig.view.snapshot([ROOM], b.at(5))
    assert (rig.view.is_gone("r"), rig.view.room("r", b.at(6))) == (True, Absent(b.at(5)))


def test_an_outage_is_a_silence_from_the_last_answer_before_it_to_the_first_one_after_it(rig: Rig) -> None:
    for step in (5, 7, "away", 20, 22, 60, "away", "away", 100):
        if isinstance(step, str):
            rig.view.failed(b.at(19), "no answer")
        else:
            rig.view.snapshot([], b.at(step))
    expected = (Silence(LONG_AGO, b.at(5)), Silence(b.at(7), b.at(20)), Silence(b.at(60), b.at(100)))
    assert rig.view.silences.at(b.at(100)).known == expected, "long pauses between two polls are no silences"


def test_one_refused_request_is_no_silence(rig: Rig) -> None:
    rig.view.snapshot([], b.at(5))
    rig.view.failed(b.at(7), "HTTP 503")
    rig.view.snapshot([], b.at(9))
    assert rig.view.silences.at(b.at(9)).known == (Silence(LONG_AGO, b.at(5)),)


def test_a_new_leader_counts_the_time_since_the_last_answer_to_the_old_one_as_a_silence(rig: Rig) -> None:
    rig.view.succeed(b.at(-30))
    rig.view.snapshot([], b.at(5))
    assert rig.view.silences.at(b.at(5)).known == (Silence(b.at(-30), b.at(5)),)
    rig.view.succeed(b.at(7))
    rig.view.snapshot([], b.at(9))
    assert rig.view.silences.at(b.at(9)).known == (Silence(b.at(-30), b.at(5)),), "a quick restart is no silence"


def test_since_when_the_server_is_silent_is_its_last_answer(rig: Rig) -> None:
    assert rig.view.silent_since is None
    rig.view.failed(b.at(3), "no answer")
    assert rig.view.silent_since == b.at(3), "it has never answered"
    rig.view.snapshot([], b.at(5))
    assert rig.view.silent_since is None
    for second in (7, 9, 30):
        rig.view.failed(b.at(second), "no answer")
        assert rig.view.silent_since == b.at(5)


def test_a_room_has_its_sid_since_it_was_first_seen_with_it(rig: Rig) -> None:
    assert rig.view.sid_since("r") is None
    rig.view.saw_room(ROOM, b.at(3.5))
    rig.view.snapshot([ROOM], b.at(5))
    assert rig.view.sid_since("r") == b.at(3.5)
    rig.view.snapshot([b.a_livekit_room(name="r", sid="RM_2")], b.at(7))
    assert rig.view.sid_since("r") == b.at(7)


def test_who_is_in_another_room_under_the_same_name_is_not_known_before_it_was_read(rig: Rig) -> None:
    rig.view.snapshot([b.a_livekit_room(name="r", people=1)], b.at(5))
    rig.view.saw_people("r", ALICE, b.at(5))
    for people in (0, 1):
        other = b.a_livekit_room(name="r", sid="RM_2", people=people)
        assert rig.view.snapshot([other], b.at(7 + people)) == ["r"]
        assert isinstance(rig.view.people("r", b.at(9)), Unknown)


def test_missing_rooms_are_reported_before_changed_ones(rig: Rig) -> None:
    other = b.a_livekit_room(name="other")
    rig.view.snapshot([other, ROOM], b.at(5))
    rig.told.clear()
    rig.view.snapshot([b.a_livekit_room(name="other", people=1)], b.at(7))
    assert rig.told == ["r", "other"]


def test_the_participants_of_a_room_created_after_the_request_of_the_list_are_kept(rig: Rig) -> None:
    rig.view.saw_room(ROOM, b.at(5.5))
    rig.view.saw_people("r", (), b.at(5.5))
    rig.view.snapshot([], b.at(5))
    assert rig.view.people("r", b.at(6)) == Present((), b.at(5.5))


# Each case: a name, what each round counts and lists (one round every 2 s), and whether the count is wrong in the end.
COUNTS: list[tuple[str, list[tuple[int, int]], bool]] = [
    ("agree", [(1, 1)] * 6, False),
    ("a lag that is over in time", [(0, 1), (0, 1), (0, 1), (1, 1)], False),
    ("the same difference for long", [(2, 1)] * 5, True),
    ("and for not so long", [(2, 1)] * 4, False),
    ("always another difference: a busy room", [(1, 3), (2, 5), (3, 2), (4, 1), (3, 6), (2, 4)], False),
    ("a difference that is over", [(2, 1)] * 6 + [(1, 1)], False),
    ("fewer than are listed", [(0, 1)] * 5, True),
    ("for long in all, but not at one go", [(2, 1)] * 2 + [(1, 1)] + [(2, 1)] * 3, False),
]


@pytest.mark.parametrize(("case", "rounds", "expected"), COUNTS, ids=[case[0] for case in COUNTS])
def test_a_count_is_wrong_when_it_disagrees_with_the_list_for_longer_than_it_lags(
    rig: Rig, case: str, rounds: list[tuple[int, int]], expected: bool
) -> None:
    for number, (count, listed) in enumerate(rounds):
        rig.view.snapshot([b.a_livekit_room(name="r", people=count)], b.at(2 * number))
        rig.told.clear()
        rig.view.saw_people("r", tuple(b.person(str(who)) for who in range(listed)), b.at(2 * number + 0.1))
    last = len(rounds)
    rig.view.snapshot([b.a_livekit_room(name="r", people=rounds[-1][0])], b.at(2 * last))
    assert rig.view.is_miscounted("r") is expected, case
    rig.view.forget("r")
    assert not rig.view.is_miscounted("r")


def test_a_wrong_count_is_reported_when_it_is_certain_and_when_it_is_over(rig: Rig) -> None:
    miscounted = b.a_livekit_room(name="r", people=2)
    told = []
    for number in range(9):
        rig.view.saw_people("r", ALICE, b.at(2 * number - 1))
        rig.told.clear()
        rig.view.snapshot([miscounted if number < 7 else b.a_livekit_room(name="r", people=1)], b.at(2 * number))
        told.append(bool(rig.told))
    assert told == [True, False, False, False, True, False, False, True, False]


def test_agents_and_recorders_are_listed_and_not_counted(rig: Rig) -> None:
    agent = b.person("scribe", kind="AGENT", takes_seat=False)
    for number in range(6):
        recount = rig.view.snapshot([b.a_livekit_room(name="r", people=1)], b.at(2 * number))
        assert recount == ([] if number else ["r"])
        rig.view.saw_people("r", (*ALICE, agent), b.at(2 * number + 0.1))
    assert not rig.view.is_miscounted("r")


@pytest.mark.parametrize(
    ("case", "count", "people", "asked"),
    [
        ("empty, never read", 0, None, False),
        ("a participant in it, never read", 1, None, True),
        ("as many as were read", 1, ALICE, False),
        ("more than were read", 2, ALICE, True),
        ("fewer than were read", 0, ALICE, True),
        ("a participant is still joining", 1, (b.person("alice", state="JOINED"),), True),
        ("empty, and read as empty", 0, (), False),
    ],
)
def test_participants_are_read_where_the_counts_differ(
    rig: Rig, case: str, count: int, people: tuple[LiveKitParticipant, ...] | None, asked: bool
) -> None:
    rig.view.snapshot([], b.at(0))
    rig.view.snapshot([ROOM], b.at(1))
    if people is not None:
        rig.view.saw_people("r", people, b.at(2))
    recount = rig.view.snapshot([b.a_livekit_room(name="r", people=count)], b.at(3))
    assert recount == (["r"] if asked else []), case


def test_forgetting_leaves_nothing(rig: Rig) -> None:
    rig.view.snapshot([], b.at(1))
    rig.view.saw_room(ROOM, b.at(2))
    rig.view.saw_people("r", ALICE, b.at(2))
    rig.view.forget("r")
    assert isinstance(rig.view.room("r", b.at(3)), Absent)
    assert isinstance(rig.view.people("r", b.at(3)), Unknown)
    assert rig.view.names() == []


@pytest.mark.parametrize("set_to", [-600, 600])
def test_after_the_clock_was_set_the_next_snapshot_counts_whatever_was_seen_before(rig: Rig, set_to: int) -> None:
    rig.view.snapshot([ROOM], b.at(5))
    rig.view.saw_people("r", ALICE, b.at(6))
    rig.view.restart(b.at(set_to))
    assert isinstance(rig.view.room("r", b.at(set_to)), Unknown)
    assert isinstance(rig.view.people("r", b.at(set_to)), Unknown)
    assert not rig.view.was_listed
    assert rig.view.snapshot([ROOM], b.at(set_to + 1)) == ["r"]
    assert rig.view.room("r", b.at(set_to + 2)) == Present(ROOM, b.at(set_to + 1))
    assert rig.view.was_listed


def test_a_server_that_is_silent_while_the_clock_is_set_is_silent_since_then(rig: Rig) -> None:
    rig.view.snapshot([ROOM], b.at(5))
    rig.view.failed(b.at(7), "no answer")
    rig.view.restart(b.at(-600))
    assert (rig.view.silent_since, rig.view.failure) == (b.at(-600), "no answer")
    assert rig.view.room("r", b.at(-599)) == Unknown(b.at(-600), "no answer")


def test_the_rooms_of_the_first_snapshot_are_read_until_one_read_succeeded(rig: Rig) -> None:
    assert rig.view.snapshot([ROOM, b.a_livekit_room(name="s")], b.at(5)) == ["r", "s"]
    rig.view.saw_people("s", (), b.at(5))
    assert rig.view.snapshot([ROOM, b.a_livekit_room(name="s")], b.at(7)) == ["r"]
    rig.view.saw_people("r", (), b.at(7))
    assert rig.view.snapshot([ROOM, b.a_livekit_room(name="s")], b.at(9)) == []
    assert rig.view.snapshot([ROOM, b.a_livekit_room(name="new")], b.at(11)) == []


def test_a_room_of_the_first_snapshot_is_to_be_read_also_after_another_witness_doubts_it(rig: Rig) -> None:
    room = b.a_livekit_room(people=2)
    rig.view.snapshot([room], b.at(0))
    rig.view.doubt(room.name)
    assert rig.view.unread() == (room.name,)
    assert not rig.view.is_unread(room.name), "what is read next is news"


def test_a_room_whose_people_were_read_before_the_first_snapshot_is_not_read_again(rig: Rig) -> None:
    room = b.a_livekit_room(people=0)
    rig.view.saw_room(room, b.at(0))
    rig.view.saw_people(room.name, (), b.at(0))
    assert rig.view.snapshot([room], b.at(1)) == []
    assert rig.view.unread() == ()


def test_answers_to_our_own_requests_are_reported_when_they_say_something_new(rig: Rig) -> None:
    rig.view.saw_room(ROOM, b.at(5))
    rig.view.saw_room(ROOM, b.at(6))
    assert rig.told == ["r"]
    rig.view.saw_room(b.a_livekit_room(name="r", people=1), b.at(7))
    rig.view.saw_gone("r", b.at(8))
    assert rig.told == ["r", "r", "r"]


def test_a_room_that_was_created_again_is_empty_until_its_participants_are_listed(rig: Rig) -> None:
    rig.view.saw_room(ROOM, b.at(1))
    assert isinstance(rig.view.people("r", b.at(1)), Unknown), "the participants of the first room are not known yet"
    rig.view.saw_people("r", ALICE, b.at(2))
    rig.view.saw_room(ROOM, b.at(3))
    assert rig.view.people("r", b.at(3)) == Present(ALICE, b.at(2))
    rig.view.saw_room(b.a_livekit_room(name="r", sid="RM_2"), b.at(4))
    assert rig.view.people("r", b.at(4)) == Present((), b.at(4))


def test_our_own_answer_of_the_same_moment_wins_over_a_snapshot(rig: Rig) -> None:
    rig.view.saw_room(ROOM, b.at(5))
    rig.view.snapshot([], b.at(5))
    assert rig.view.room("r", b.at(6)) == Present(ROOM, b.at(5))
    rig.view.snapshot([b.a_livekit_room(name="r", people=1)], b.at(5))
    assert rig.view.room("r", b.at(6)) == Present(ROOM, b.at(5))


def test_a_server_that_never_answered_is_silent_since_the_first_attempt(rig: Rig) -> None:
    for second in (3, 5, 9):
        rig.view.failed(b.at(second), "no answer")
    assert rig.view.silent_since == b.at(3)


@pytest.mark.parametrize("how", ["forgotten", "restarted"])
def test_neither_sid_nor_end_nor_count_of_a_forgotten_room_remains(rig: Rig, how: str) -> None:
    def rounds(numbers: range) -> bool:
        for number in numbers:
            rig.view.snapshot([b.a_livekit_room(name="r", people=2)], b.at(2 * number))
            rig.view.saw_people("r", ALICE, b.at(2 * number + 0.1))
        return rig.view.is_miscounted("r")

    def forget() -> None:
        if how == "forgotten":
            rig.view.forget("r")
        else:
            rig.view.restart(b.at(0))

    assert rounds(range(6))
    forget()
    assert not rig.view.is_miscounted("r")
    assert rig.view.sid_since("r") is None
    assert not rounds(range(6, 8)), "the difference is counted from the beginning"
    rig.view.saw_gone("r", b.at(20))
    forget()
    assert not rig.view.is_gone("r")


def many(count: int) -> list[LiveKitRoom]:
    """So many rooms of a long list."""
    return [LiveKitRoom(f"room-{number}", f"RM_{number}", 0, None) for number in range(count)]


def test_a_long_list_is_stored_with_pauses_in_which_no_listed_room_is_absent() -> None:
    view, rooms = LiveKitView(), many(1200)
    pauses = 0
    for recount in view.in_slices(rooms, b.at(1)):
        if recount is None:
            pauses += 1
            assert isinstance(view.room("room-0", b.at(1)), Present)
            assert isinstance(view.room("room-1199", b.at(1)), Unknown)
    assert pauses == 2
    assert view.names() == [room.name for room in rooms]


def test_our_own_answers_in_the_pauses_of_a_list_win_over_it() -> None:
    view, rooms = LiveKitView(), many(1200)
    slices = view.in_slices(rooms, b.at(1))
    assert next(slices) is None
    view.saw_gone("room-1000", b.at(2))
    view.saw_room(LiveKitRoom("room-new", "RM_new", 0, None), b.at(2))
    assert list(slices)[-1] is not None
    assert isinstance(view.room("room-1000", b.at(3)), Absent)
    assert isinstance(view.room("room-new", b.at(3)), Present)


def test_a_list_in_whose_pause_the_clock_was_set_is_given_up() -> None:
    view = LiveKitView()
    slices = view.in_slices(many(1200), b.at(1))
    assert next(slices) is None
    view.restart(b.at(-100))
    assert list(slices) == []
    assert isinstance(view.room("room-0", b.at(-99)), Unknown)


ROOMS = ("r0", "r1")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("list"), st.fixed_dictionaries({name: st.sampled_from([0, 0, 1, None]) for name in ROOMS})),
        st.tuples(st.just("people"), st.sampled_from(ROOMS), st.sampled_from([(), ("alice",)])),
        st.tuples(st.just("made"), st.sampled_from(ROOMS), st.sampled_from(["RM_1", "RM_2"])),
        st.tuples(st.sampled_from(["gone", "forgotten", "ghost", "alive"]), st.sampled_from(ROOMS)),
        st.just(("failed",)),
    ),
    min_size=10,
    max_size=25,
)


LIST = ("list", {"r0": 0, "r1": None})
AT_REST = [LIST, ("people", "r0", ()), LIST, LIST]


@example([*AT_REST, ("made", "r0", "RM_1"), LIST])
@example([*AT_REST, ("gone", "r0"), LIST, LIST])
@example([*AT_REST, ("people", "r0", ("alice",)), LIST, LIST])
@example([LIST, ("people", "r0", ("alice",)), ("ghost", "r0"), LIST, LIST, ("alive", "r0"), LIST])
@given(STEPS)
def test_a_room_that_is_as_it_was_in_the_latest_list_is_observed_as_any_other(steps: list[tuple[Any, ...]]) -> None:
    """The client hands the same object out again for a room that did not change, and the view skips it."""
    known: dict[tuple[str, int], LiveKitRoom] = {}

    def the_same(name: str, count: int) -> LiveKitRoom:
        return known.setdefault((name, count), LiveKitRoom(name, "RM_1", count, None))

    def another(name: str, count: int) -> LiveKitRoom:
        return LiveKitRoom(name, "RM_1", count, None)

    assert observations(steps, the_same) == observations(steps, another)


def observations(steps: list[tuple[Any, ...]], room: Callable[[str, int], LiveKitRoom]) -> list[Any]:
    """All that can be asked of a view after each step."""
    view = LiveKitView()
    said: list[Any] = []
    view.follow(
        changed=lambda names: said.append(("changed", sorted(names))),
        found=lambda names: said.append(("found", sorted(names))),
        lost=lambda names: said.append(("lost", *names)),
    )
    for second, (what, *rest) in enumerate(steps, 1):
        at = b.at(second)
        match what:
            case "list":
                said.append(view.snapshot([room(name, n) for name, n in rest[0].items() if n is not None], at))
            case "people":
                view.saw_people(rest[0], tuple(b.person(who) for who in rest[1]), at)
            case "made":
                view.saw_room(LiveKitRoom(rest[0], rest[1], 1, None), at)
            case "gone":
                view.saw_gone(rest[0], at)
            case "forgotten":
                view.forget(rest[0])
            case "ghost":
                view.saw_ghost(rest[0], b.person("alice"), at, at)
            case "alive":
                view.saw_alive(rest[0], b.person("alice"), at)
            case _:
                view.failed(at, "no answer")
        for name in ROOMS:
            said.append((view.room(name, at), view.people(name, at), view.sid_since(name), view.is_miscounted(name)))
        said.append((sorted(view.names()), view.silent_since, view.failure))
    return said
