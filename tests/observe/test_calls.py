"""The index of calls follows what the cache of Matches holds."""

from __future__ import annotations

from controller.observe.calls import CallIndex
from tests import builders as b

NS = b.NAMESPACE


def test_a_call_is_there_from_its_first_status_until_it_is_over() -> None:
    index = CallIndex()
    index.kept(b.a_match())  # no status yet: nobody is claimed
    assert index.of(NS) == ()
    index.kept(b.connecting())
    (call,) = index.of(NS)
    assert (call.name, call.identities, call.is_up) == (b.NAME, b.PEOPLE, True)
    assert index.has(NS, b.MATCH_UID)
    index.kept(b.active(status={"phase": "Ended"}))
    assert index.of(NS) == ()
    assert not index.has(NS, b.MATCH_UID)


def test_a_match_that_went_is_no_call() -> None:
    index = CallIndex()
    index.kept(b.active())
    index.gone(b.active())
    index.gone(b.active())
    assert index.of(NS) == ()


def test_who_is_inside_and_where_is_told() -> None:
    index = CallIndex()
    index.kept(b.active(status={"room": {"name": b.ROOM_NAME, "live_kit_name": b.LIVEKIT_NAME}}))
    (call,) = index.of(NS)
    assert (call.inside, call.livekit_name) == (b.PEOPLE, b.LIVEKIT_NAME)
    assert index.of("other") == ()


def test_a_call_that_ends_is_there_but_not_up() -> None:
    index = CallIndex()
    index.kept(b.active(status={"phase": "Terminating"}))
    assert [call.is_up for call in index.of(NS)] == [False]
