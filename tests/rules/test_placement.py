"""Which server a new room is placed on: what the spec asks for, what servers take, and who has fewer rooms."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from controller.api.fields import LabelSelector, Placement
from controller.facts.server import Candidate
from controller.rules.placement import choose, server_of
from tests import values as b

ANY = Placement()


def in_region(region: str, **also: Any) -> Placement:
    return Placement(server_selector=LabelSelector(match_labels={"region": region}), **also)


def servers(**changes: Any) -> list[Candidate]:
    """Two in Europe, one in America; `changes` are those of eu-1."""
    return [
        Candidate("eu-1", **{"labels": {"region": "eu"}, **changes}),
        Candidate("eu-2", {"region": "eu"}),
        Candidate("us-1", {"region": "us"}),
    ]


@pytest.mark.parametrize(
    ("wanted", "chosen"),
    [
        (Placement(server_name="us-1"), "us-1"),
        (in_region("us"), "us-1"),
        (in_region("eu", server_name="eu-2"), "eu-2"),
    ],
)
def test_a_room_is_placed_on_the_server_that_its_spec_asks_for(wanted: Placement, chosen: str) -> None:
    assert choose(wanted, servers(), "any seed").server == chosen


@pytest.mark.parametrize(
    "changes",
    [
        {"is_cordoned": True},
        {"is_draining": True},
        {"rooms": 5, "max_rooms": 5},
        {"rooms": 9, "max_rooms": 5},
        {"trouble": "no answer"},
    ],
)
def test_a_server_that_takes_no_new_rooms_gets_none(changes: dict[str, Any]) -> None:
    placed = {choose(in_region("eu"), servers(**changes), str(seed)).server for seed in range(50)}
    assert placed == {"eu-2"}


def test_the_sentence_names_what_each_server_lacks() -> None:
    found = [
        Candidate("a", is_cordoned=True, is_draining=True),
        Candidate("b", {"region": "eu"}, rooms=7, max_rooms=7),
        Candidate("c", {"region": "eu"}, trouble="no answer within 5 s"),
        Candidate("d", {"region": "eu"}, trouble="LiveKit refused our API key"),
    ]
    placed = choose(in_region("eu"), found, "seed")
    assert (placed.server, placed.why) == (
        "",
        "no LiveKit server can take the room: "
        "a does not have the label region=eu and is being drained and is cordoned; "
        "b is full (7 rooms, maxRooms is 7); c is not ready (no answer within 5 s); "
        "d is not ready (LiveKit refused our API key)",
    )


def test_a_server_name_that_is_not_known_is_said_with_those_that_are() -> None:
    placed = choose(Placement(server_name="eu-9"), servers(), "seed")
    assert placed.why == ("there is no LiveKit server eu-9, the serverName of the spec; known are eu-1, eu-2, us-1")
    assert choose(ANY, [], "seed").why == "no LiveKit server can take the room: there is none"


def test_many_servers_make_no_endless_sentence() -> None:
    placed = choose(ANY, [Candidate(f"s-{n:02}", is_cordoned=True) for n in range(30)], "seed")
    assert placed.why.endswith("s-07 is cordoned; and 22 more")


def test_the_only_server_that_fits_is_waited_for() -> None:
    assert choose(in_region("us"), [Candidate("us-1", {"region": "us"}, trouble="no answer")], "seed").server == "us-1"


def test_the_same_seed_gives_the_same_choice_in_any_order() -> None:
    for seed in map(str, range(20)):
        assert choose(ANY, servers(), seed) == choose(ANY, servers()[::-1], seed)


def test_rooms_spread_by_load() -> None:
    rooms: Counter[str] = Counter({"eu-1": 60})
    for seed in range(300):
        candidates = [Candidate(name, rooms=rooms[name]) for name in ("eu-1", "eu-2", "us-1")]
        rooms[choose(ANY, candidates, str(seed)).server] += 1
    assert max(rooms.values()) - min(rooms.values()) <= 10


def test_limits_count_as_shares_where_both_have_one() -> None:
    small, large = Candidate("small", rooms=5, max_rooms=10), Candidate("large", rooms=20, max_rooms=100)
    assert choose(ANY, [small, large], "seed").server == "large"
    unlimited = Candidate("large", rooms=20)
    assert choose(ANY, [small, unlimited], "seed").server == "small"


def test_rooms_that_are_placed_at_one_moment_spread_although_they_see_the_same_counts() -> None:
    placed = Counter(choose(ANY, servers(), f"ns/room-{n}").server for n in range(300))
    assert min(placed.values()) > 60


def test_the_annotation_of_a_room_counts_only_if_a_match_has_made_it() -> None:
    assert server_of(b.a_room()) == "default"
    standing = b.a_room(owned=False, placed=False)
    marked = standing.model_copy(
        update={"metadata": standing.metadata.model_copy(update={"annotations": {"roomkeeper.dev/server": "eu-1"}})}
    )
    assert server_of(marked) == ""
    assert server_of(b.a_room(status={"server": "eu-2"})) == "eu-2"
