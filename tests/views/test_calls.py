"""The index of calls follows what the cache of Matches holds."""

from __future__ import annotations

import pytest

from controller.api.phases import MATCH_PHASES, MatchPhase
from controller.views.calls import CallIndex
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
