"""The index of calls follows what the cache of Matches holds."""

from __future__ import annotations

import pytest

from controller.api.phases import MATCH_PHASES, MatchPhase
from controller.views.calls import CallIndex, CallTurns, by_namespace
from tests import values as b

NS = b.NAMESPACE


def test_a_call_is_there_from_its_first_status_until_it_is_over() -> None:
    index = CallIndex()
    index.kept(b.a_match())  # no status yet: the users are not claimed
    assert index.of(NS) == ()
    index.kept(b.connecting())
    (call,) = index.of(NS)
    assert (call.name, call.identities, call.is_up) == (b.NAME, b.PEOPLE, True)
    assert index.has(NS, b.MATCH_UID)
    index.kept(b.active(status=b.OVER))
    assert index.of(NS) == ()
    assert not index.has(NS, b.MATCH_UID)


def test_what_clients_asked_for_is_known_until_it_is_done() -> None:
    """A start begins with it: ten thousand calls that go on would take most of a minute."""
    index = CallIndex()
    index.kept(b.active())
    assert list(index.asked_for()) == []
    index.kept(b.a_match())
    assert list(index.asked_for()) == [(NS, b.NAME)], "users were matched"
    index.kept(b.a_match(phase=MatchPhase.CREATING))
    assert list(index.asked_for()) == [(NS, b.NAME)], "an operator had begun"
    index.kept(b.active(termination={"action": "Skip", "initiator": "alice"}))
    assert list(index.asked_for()) == [(NS, b.NAME)], "a user skipped"
    index.kept(b.active(status=b.OVER))
    assert list(index.asked_for()) == []
    index.kept(b.active(deleted=True))
    assert list(index.asked_for()) == [(NS, b.NAME)]
    index.gone(b.active())
    assert list(index.asked_for()) == []


def test_a_match_that_was_deleted_is_no_call() -> None:
    index = CallIndex()
    index.kept(b.active())
    index.gone(b.active())
    index.gone(b.active())
    assert index.of(NS) == ()


def test_a_call_names_its_room_and_the_participants_in_it() -> None:
    index = CallIndex()
    index.kept(b.active(status={"room": {"name": b.ROOM_NAME, "livekit_name": b.LIVEKIT_NAME}}))
    (call,) = index.of(NS)
    assert (call.inside, call.livekit_name) == (b.PEOPLE, b.LIVEKIT_NAME)
    assert index.of("other") == ()


def test_a_call_that_ends_is_there_but_not_up() -> None:
    index = CallIndex()
    index.kept(b.active(status={"phase": "Terminating"}))
    assert [call.is_up for call in index.of(NS)] == [False]


@pytest.mark.parametrize("phase", [phase for phase, stage in MATCH_PHASES.items() if not stage.terminal])
def test_a_call_is_up_from_the_moment_when_people_may_join_until_it_ends(phase: MatchPhase) -> None:
    index = CallIndex()
    index.kept(b.active(status={"phase": phase}))
    (call,) = index.of(NS)
    assert call.is_up is (phase in {MatchPhase.CONNECTING, MatchPhase.ACTIVE, MatchPhase.RECONNECTING})


def test_a_participant_without_media_is_not_inside_and_without_a_room_there_is_no_name() -> None:
    index = CallIndex()
    people = [{"identity": "alice", "state": "Connected"}, {"identity": "bob", "state": "Joining"}]
    index.kept(b.connecting(status={"participants": [{**person, "since": b.at(3)} for person in people]}))
    (call,) = index.of(NS)
    assert (call.inside, call.livekit_name) == (("alice",), "")


def test_namespaces_are_those_that_have_a_call() -> None:
    index = CallIndex()
    for uid in ("first", "second"):
        index.kept(b.active(uid=uid))
    index.kept(b.active(namespace="other"))
    index.gone(b.active(uid="first"))
    assert index.namespaces() == (NS, "other")
    index.gone(b.active(uid="second"))
    assert index.namespaces() == ("other",)


# Turns


def index_of(*uids: str, namespace: str = NS) -> CallIndex:
    index = CallIndex()
    for uid in uids:
        index.kept(b.active(uid=uid, name=uid, namespace=namespace))
    return index


def turns_of(index: CallIndex) -> CallTurns:
    return CallTurns(lambda: index.each(index.namespaces()))


def names(turns: CallTurns, most: int) -> list[str]:
    return [call.name for call in turns.next(most)]


def test_calls_take_turns_and_after_the_last_one_the_first_follows() -> None:
    turns = turns_of(index_of(*"abcde"))
    assert [names(turns, 2) for _ in range(4)] == [["a", "b"], ["c", "d"], ["e", "a"], ["b", "c"]]


def test_fewer_calls_than_are_asked_for_come_once_each_time() -> None:
    turns = turns_of(index_of(*"abc"))
    assert [names(turns, 5) for _ in range(3)] == [["a", "b", "c"]] * 3
    assert names(turns_of(CallIndex()), 5) == []


@pytest.mark.parametrize("most", [1, 2, 3, 4, 7])
def test_no_call_comes_twice_at_once_and_each_comes_as_often_as_another(most: int) -> None:
    turns, seen = turns_of(index_of(*"abcde")), []
    for _ in range(5 * 7):
        chosen = names(turns, most)
        assert len(set(chosen)) == len(chosen) == min(most, 5)
        seen += chosen
    assert {seen.count(name) for name in "abcde"} == {len(seen) // 5}


def test_a_call_that_goes_or_changes_before_its_turn_is_left_out_or_comes_as_it_is() -> None:
    index = index_of(*"abc")
    turns = turns_of(index)
    assert names(turns, 1) == ["a"]
    index.gone(b.active(uid="b", name="b"))
    index.kept(b.active(uid="c", name="c", status={"phase": "Terminating"}))
    (call,) = turns.next(1)
    assert (call.name, call.phase) == ("c", MatchPhase.TERMINATING)


def test_the_calls_of_all_namespaces_take_turns() -> None:
    index = index_of("a", "b")
    index.kept(b.active(uid="c", name="c", namespace="other"))
    grouped = by_namespace(turns_of(index).next(3))
    assert {namespace: [call.name for call in calls] for namespace, calls in grouped.items()} == {
        NS: ["a", "b"],
        "other": ["c"],
    }


def test_a_call_is_awaited_while_it_is_up_and_a_participant_is_missing() -> None:
    index = index_of("whole")
    index.kept(b.connecting(uid="one", name="one"))
    index.kept(b.connecting(uid="two", name="two"))
    assert [call.name for call in index.awaited()] == ["one", "two"]
    waiting = index.awaited()
    assert next(waiting).name == "one"
    index.kept(b.active(uid="two", name="two"))
    assert [call.name for call in waiting] == []
    index.gone(b.connecting(uid="one", name="one"))
    assert [call.name for call in index.awaited()] == []
