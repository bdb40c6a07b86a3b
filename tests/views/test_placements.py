"""The index of Rooms by server: what is made, what is about to be made, and what is over."""

from __future__ import annotations

from typing import Any

from controller.facts.unreadable import Unreadable
from controller.views.placements import RoomPlacements
from tests import values as b

ROOM = (b.NAMESPACE, b.ROOM_NAME)


def counts(index: RoomPlacements) -> tuple[int, int]:
    return index.count("default"), index.count("eu-1")


def on(server: str, **status: Any) -> Any:
    return b.an_active_room(status={"server": server, **status})


def test_a_room_counts_from_the_reservation_to_its_end_and_only_once() -> None:
    index = RoomPlacements()
    index.reserve(*ROOM, "default")
    assert counts(index) == (1, 0)
    index.kept(b.a_room())
    index.kept(b.an_active_room())
    assert counts(index) == (1, 0)
    index.kept(b.an_active_room(status={"phase": "Terminated"}))
    assert counts(index) == (0, 0)
    index.gone(b.an_active_room())
    assert counts(index) == (0, 0)


def test_a_room_that_moves_counts_where_it_is_now() -> None:
    index = RoomPlacements()
    index.kept(b.a_room())
    index.kept(on("eu-1"))
    assert (counts(index), list(index.on("eu-1")), list(index.on("default"))) == ((0, 1), [ROOM], [])


def test_a_place_that_is_not_needed_is_free_again() -> None:
    index = RoomPlacements()
    index.reserve(*ROOM, "eu-1")
    index.release(*ROOM)
    assert counts(index) == (0, 0)
    index.reserve(*ROOM, "eu-1")
    index.match_gone(b.a_match())
    assert counts(index) == (0, 0)


def test_a_room_that_is_there_is_not_released_with_its_match() -> None:
    index = RoomPlacements()
    index.reserve(*ROOM, "eu-1")
    index.kept(on("eu-1"))
    index.release(*ROOM)
    index.match_gone(b.a_match())
    assert counts(index) == (0, 1)


def test_a_room_that_is_not_placed_yet_keeps_its_reservation() -> None:
    index = RoomPlacements()
    index.reserve(*ROOM, "eu-1")
    index.kept(b.a_room(placed=False))
    assert counts(index) == (0, 1)


def unreadable(room: Any, **metadata: Any) -> Unreadable:
    return Unreadable(room.metadata.model_copy(update=metadata), "spec.users: must be a list")


def test_a_room_that_cannot_be_read_counts_where_it_was_or_where_its_annotation_says() -> None:
    index = RoomPlacements()
    index.kept(on("eu-1"))
    index.unreadable(unreadable(on("eu-1"), annotations={}))
    assert (counts(index), index.unknown()) == ((0, 1), [])
    fresh = RoomPlacements()
    fresh.unreadable(unreadable(b.a_room(), annotations={"roomkeeper.dev/server": "eu-1"}))
    assert (counts(fresh), fresh.unknown()) == ((0, 1), [])
    fresh.gone(b.a_room())
    assert counts(fresh) == (0, 0)


def test_a_room_that_cannot_be_read_and_was_never_read_may_be_anywhere_until_it_is_readable_or_gone() -> None:
    index = RoomPlacements()
    index.unreadable(unreadable(b.a_room(), annotations={}))
    assert (counts(index), index.unknown()) == ((0, 0), [ROOM])
    index.kept(on("eu-1", phase="Terminated"))
    assert index.unknown() == []
    index.unreadable(unreadable(b.a_room(), annotations={}))
    index.gone(b.a_room())
    assert index.unknown() == []


def test_rooms_that_another_installation_serves_are_not_doubted() -> None:
    index = RoomPlacements(lambda namespace: namespace != b.NAMESPACE)
    index.unreadable(unreadable(b.a_room(), annotations={}))
    assert index.unknown() == []
