"""The index of Rooms by server: what is made, what is about to be made, and what is over."""

from __future__ import annotations

from typing import Any

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
