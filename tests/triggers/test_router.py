"""The router: which keys a change wakes."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from controller.api import names
from controller.api.names import livekit_room_name
from controller.api.room import Room
from controller.loop.key import Key
from controller.loop.wakes import Wake
from controller.triggers.router import Router
from tests import values as b

MATCH, ROOM = Key(names.MATCH, b.NAMESPACE, b.NAME), Key(names.ROOM, b.NAMESPACE, b.ROOM_NAME)
LOBBY = Key(names.ROOM, b.NAMESPACE, "lobby")


class Rig:
    """A router, and the keys that it woke."""

    def __init__(self) -> None:
        self.woken: list[tuple[Key, Wake]] = []
        self.counted: list[str] = []
        self.router = Router(b.CLUSTER, lambda key, wake: self.woken.append((key, wake)))
        self.router.follow_rooms("default", gone=lambda _: None, doubted=self.counted.append)

    def woken_after(self, *calls: Any) -> list[Key]:
        """Return the keys that the last of these calls woke."""
        for call in calls:
            self.woken.clear()
            call()
        return [key for key, _ in self.woken]


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_a_match_concerns_itself(rig: Rig) -> None:
    assert rig.woken_after(lambda: rig.router.match_changed(b.a_match())) == [MATCH]


@pytest.mark.parametrize(
    ("case", "room", "woken"),
    [
        ("new", b.a_room(), [ROOM]),
        ("active", b.an_active_room(), [ROOM]),
        ("ending", b.an_active_room(deleted=True), [ROOM, MATCH]),
        ("over", b.an_active_room(status={"phase": "Terminated"}), [ROOM, MATCH]),
        ("failed", b.an_active_room(status={"phase": "Failed"}), [ROOM, MATCH]),
        ("standing and over", b.a_room(owned=False, deleted=True), [LOBBY]),
    ],
)
def test_a_room_concerns_its_match_when_it_ends(rig: Rig, case: str, room: Room, woken: list[Key]) -> None:
    assert rig.woken_after(lambda: rig.router.room_changed(room)) == woken, case


def test_rooms_that_livekit_lost_come_before_the_matches_of_all_of_them(rig: Rig) -> None:
    other = b.a_room(owned=False, uid="other")
    rig.router.room_changed(b.a_room())
    rig.router.room_changed(other)
    rig.woken.clear()
    rig.router.rooms_lost([b.LIVEKIT_NAME, "unowned", livekit_room_name(b.CLUSTER, b.NAMESPACE, "other")])
    assert rig.woken == [(ROOM, Wake.LOST), (LOBBY, Wake.LOST), (MATCH, Wake.LIVEKIT)]


def test_a_match_that_is_gone_concerns_the_room_that_it_left_behind(rig: Rig) -> None:
    gone = b.a_match()
    assert rig.woken_after(lambda: rig.router.match_gone(gone)) == [MATCH]
    rig.router.room_changed(b.a_room())
    assert rig.woken_after(lambda: rig.router.match_gone(gone)) == [MATCH, ROOM]


def test_a_match_that_is_paused_or_goes_on_concerns_its_room(rig: Rig) -> None:
    paused = partial(rig.router.match_changed, b.a_match(paused=True))
    resumed = partial(rig.router.match_changed, b.a_match())
    assert rig.woken_after(paused) == [MATCH, ROOM]
    assert rig.woken_after(paused) == [MATCH]
    assert rig.woken_after(resumed) == [MATCH, ROOM]
    assert rig.woken_after(resumed) == [MATCH]
    assert rig.woken_after(paused, lambda: rig.router.match_gone(b.a_match()), resumed) == [MATCH]


def test_a_match_over_the_limit_concerns_itself(rig: Rig) -> None:
    assert rig.woken_after(lambda: rig.router.match_over_limit(b.NAMESPACE, b.NAME)) == [MATCH]


def test_a_room_that_is_gone_concerns_the_match_that_waits_for_it(rig: Rig) -> None:
    room = b.a_room()
    assert rig.woken_after(lambda: rig.router.room_changed(room), lambda: rig.router.room_gone(room)) == [
        ROOM,
        MATCH,
    ]
    assert rig.woken_after(lambda: rig.router.room_gone(room)) == [ROOM]
    assert rig.woken_after(lambda: rig.router.livekit_changed(b.LIVEKIT_NAME, Wake.LIVEKIT)) == []


def test_livekit_concerns_the_room_and_its_match(rig: Rig) -> None:
    rig.router.room_changed(b.a_room())
    assert rig.woken_after(lambda: rig.router.livekit_changed(b.LIVEKIT_NAME, Wake.LIVEKIT)) == [ROOM, MATCH]
    assert rig.woken[0][1] is Wake.LIVEKIT
    assert rig.counted == []


@pytest.mark.parametrize("deleted", [False, True])
def test_a_start_leaves_out_no_key_that_is_not_woken_when_its_room_was_counted(rig: Rig, deleted: bool) -> None:
    rig.router.room_changed(b.an_active_room(deleted=deleted))
    left_out = list(rig.router.keys_of([b.LIVEKIT_NAME], Wake.LISTED))
    assert left_out == rig.woken_after(lambda: rig.router.rooms_found([b.LIVEKIT_NAME]))
    assert len(left_out) == (1 if deleted else 2)


def test_what_livekit_says_of_a_room_that_is_being_deleted_concerns_its_match_only_where_the_server_is_silent(
    rig: Rig,
) -> None:
    room = b.an_active_room(deleted=True)
    rig.router.room_changed(room)
    assert rig.woken_after(lambda: rig.router.rooms_changed([b.LIVEKIT_NAME])) == [ROOM]
    assert rig.woken_after(lambda: rig.router.webhook_came(b.LIVEKIT_NAME, "room_finished", Wake.WEBHOOK)) == [ROOM]
    assert rig.woken_after(lambda: rig.router.people_changed(b.LIVEKIT_NAME, Wake.STREAM)) == [ROOM]
    assert rig.woken_after(lambda: rig.router.livekit_changed(b.LIVEKIT_NAME, Wake.STALENESS)) == [ROOM, MATCH]
    assert rig.woken_after(lambda: rig.router.room_gone(room)) == [ROOM, MATCH]


def test_people_in_a_room_concern_the_same_and_are_counted_again(rig: Rig) -> None:
    rig.router.room_changed(b.a_room())
    assert rig.woken_after(lambda: rig.router.people_changed(b.LIVEKIT_NAME, Wake.WEBHOOK)) == [ROOM, MATCH]
    assert rig.counted == [b.LIVEKIT_NAME]


@pytest.mark.parametrize(
    ("event", "woken", "counted"),
    [
        ("participant_joined", 2, 1),
        ("participant_left", 2, 1),
        ("participant_connection_aborted", 2, 1),
        ("room_finished", 2, 0),
        ("room_started", 0, 0),
        ("track_published", 0, 0),
    ],
)
def test_a_webhook_wakes_only_the_keys_that_learn_something_new(rig: Rig, event: str, woken: int, counted: int) -> None:
    rig.router.room_changed(b.a_room())
    keys = rig.woken_after(lambda: rig.router.webhook_came(b.LIVEKIT_NAME, event, Wake.WEBHOOK))
    assert (len(keys), len(rig.counted)) == (woken, counted)


@pytest.mark.parametrize("changes", [{"controller": None}, {"kind": "Deployment"}])
def test_an_owner_that_is_no_controlling_match_wakes_no_key(rig: Rig, changes: dict[str, str | None]) -> None:
    room = b.a_room(deleted=True)
    owner = room.metadata.owner_references[0].model_copy(update=changes)
    room = room.model_copy(update={"metadata": room.metadata.model_copy(update={"owner_references": (owner,)})})
    assert rig.woken_after(lambda: rig.router.room_changed(room)) == [ROOM]


def test_rooms_that_are_not_ours_wake_no_key(rig: Rig) -> None:
    rig.router.room_changed(b.a_room())
    assert rig.woken_after(lambda: rig.router.livekit_changed("another-clients", Wake.LIVEKIT)) == []
    assert rig.woken_after(lambda: rig.router.people_changed("another-clients", Wake.WEBHOOK)) == []
    assert rig.counted == []


def test_people_are_counted_again_where_a_gateway_lost_a_user(rig: Rig) -> None:
    rig.router.room_changed(b.a_room())
    rig.router.room_changed(b.a_room(owned=False, uid="other"))
    rig.router.match_suspected(b.NAMESPACE, b.NAME)
    assert rig.counted == [b.LIVEKIT_NAME]
    rig.router.match_suspected(b.NAMESPACE, "another")
    assert rig.counted == [b.LIVEKIT_NAME]


def test_the_people_of_a_room_that_is_gone_are_not_counted_and_nothing_is_kept(rig: Rig) -> None:
    first, second = b.a_room(), b.a_room(uid="made-again")
    rig.router.room_changed(first)
    rig.router.room_changed(second)
    rig.router.room_gone(first)
    rig.router.match_suspected(b.NAMESPACE, b.NAME)
    assert rig.counted == [livekit_room_name(b.CLUSTER, b.NAMESPACE, "made-again")]
    rig.router.room_gone(second)
    rig.router.match_suspected(b.NAMESPACE, b.NAME)
    assert len(rig.counted) == 1
    assert rig.router._names == {}


def test_a_signal_wakes_its_match_without_a_search_through_all_rooms(rig: Rig) -> None:
    for number in range(3):
        rig.router.room_changed(b.a_room(uid=f"room-{number}"))

    class Unsearchable(dict[Any, Any]):
        def items(self) -> Any:
            raise AssertionError("the router searches all rooms")

    rig.router._rooms, rig.router._matches = Unsearchable(rig.router._rooms), Unsearchable(rig.router._matches)
    rig.router.match_suspected(b.NAMESPACE, b.NAME)
    assert rig.counted == sorted(livekit_room_name(b.CLUSTER, b.NAMESPACE, f"room-{n}") for n in range(3))


def test_a_standing_room_concerns_itself_alone(rig: Rig) -> None:
    rig.router.room_changed(b.a_room(owned=False))
    assert rig.woken_after(lambda: rig.router.livekit_changed(b.LIVEKIT_NAME, Wake.LIVEKIT)) == [LOBBY]


def test_a_mark_is_ours_by_its_cluster(rig: Rig) -> None:
    assert rig.router.knows(b.a_mark())
    assert not rig.router.knows(b.a_mark(cluster="another"))


def test_a_room_on_a_server_that_is_not_configured_is_counted_nowhere(rig: Rig) -> None:
    room = b.an_active_room(status={"server": "another"})
    assert rig.woken_after(lambda: rig.router.room_changed(room)) == [ROOM]
    assert rig.woken_after(lambda: rig.router.people_changed(b.LIVEKIT_NAME, Wake.WEBHOOK)) == [ROOM, MATCH]
    assert rig.counted == []
    assert rig.woken_after(lambda: rig.router.room_gone(room)) == [ROOM, MATCH]
