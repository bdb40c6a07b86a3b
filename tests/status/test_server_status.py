"""The status of a LiveKit server: words at once, numbers every half minute, and what people should know beside it."""

from __future__ import annotations

from typing import Any

import pytest

from controller.api.conditions import ConditionReason
from controller.api.livekitserver import LiveKitServer, LiveKitServerStatus
from controller.api.names import FINALIZER, PAUSED
from controller.facts.server import Health, ServerSeen, Trouble
from controller.plan import actions as a
from controller.plan.server import plan_server
from controller.rules.drain import drain_of
from controller.rules.server_case import ServerCase
from controller.status.paused import paused_server
from controller.status.server import server_status
from tests import values as b
from tests.status.looks import OUTAGE

UNREAD = "the Rooms of the namespace night could not be read yet"
FINE = Health(latency_ms=7, version="1.13.5")


def case(
    seconds: float = 0,
    *,
    status: LiveKitServerStatus | None = None,
    health: Health = FINE,
    trouble: Trouble | None = None,
    same_url: tuple[str, ...] = (),
    rooms: int = 3,
    name: str = "eu-1",
    held: bool = True,
    paused: bool = False,
    deleted: bool = False,
    unknown: str = "",
    asked: str = "http://eu-1:7880",
    **spec: Any,
) -> ServerCase:
    metadata = {
        "name": name,
        "namespace": "roomkeeper-system",
        "generation": 4,
        "finalizers": [FINALIZER] if held else [],
        "deletionTimestamp": b.at(0) if deleted else None,
        "annotations": {PAUSED: "true"} if paused else {},
    }
    server = LiveKitServer.model_validate(
        {
            "metadata": metadata,
            "spec": {"url": "http://eu-1:7880", **spec},
            "status": status or LiveKitServerStatus(),
        }
    )
    drain = drain_of(name, server.spec.drain)
    some = tuple(f"calls/rk-{n}" for n in range(min(rooms, 3))) if deleted else ()
    more: dict[str, Any] = {"drain": drain, "some_rooms": some, "unknown": unknown}
    more |= {"url": asked, "public_url": asked.replace("http", "ws")}
    seen = ServerSeen(trouble, health, rooms, 2 * rooms, same_url, **more)
    return ServerCase(server, seen, b.at(seconds))


def ready(found: LiveKitServerStatus) -> tuple[str, str, str]:
    (condition,) = (one for one in found.conditions if one.type == "Ready")
    return condition.status.value, condition.reason, condition.message


def test_a_server_that_answers_is_ready_with_its_numbers() -> None:
    status = server_status(case(), None)
    assert ready(status) == ("True", "Answers", "the server answers and accepts the API key")
    assert (status.latency_ms, status.rooms, status.participants, status.version) == (7, 3, 6, "1.13.5")
    assert (status.observed_generation, status.checked_at) == (4, b.at(0))


def test_numbers_are_written_every_half_minute_and_words_at_once() -> None:
    before = server_status(case(), None)
    assert server_status(case(29, status=before, rooms=9), None) == before
    assert server_status(case(30, status=before, rooms=9), None).rooms == 9
    away = Trouble(ConditionReason.UNREACHABLE, "no answer within 4 s")
    after = server_status(case(2, status=before, rooms=9, trouble=away), None)
    assert (ready(after), after.rooms) == (("False", "Unreachable", "no answer within 4 s"), 9)


def test_an_error_is_written_at_once_and_not_again_because_it_is_repeated() -> None:
    before = server_status(case(), None)
    after = server_status(case(2, status=before), OUTAGE)
    assert after.last_error == OUTAGE
    again = OUTAGE.model_copy(update={"at": b.at(3)})
    assert server_status(case(3, status=after), again) == after
    other = OUTAGE.model_copy(update={"message": "another sentence"})
    assert server_status(case(3, status=after), other).last_error == other


def test_a_number_that_is_known_for_the_first_time_is_written_at_once() -> None:
    before = server_status(case(health=Health()), None)
    assert (before.version, before.latency_ms) == (None, None)
    after = server_status(case(1, status=before), None)
    assert (after.version, after.latency_ms) == ("1.13.5", 7)


def test_another_address_is_written_at_once_and_before_numbers_are_due() -> None:
    before = server_status(case(url="http://eu-1:7880"), None)
    assert (before.url, before.public_url) == ("http://eu-1:7880", "ws://eu-1:7880")
    assert (after := server_status(case(1, status=before, asked="http://new:7880"), None)).url == "http://new:7880"
    assert server_status(case(2, status=after, asked=""), None).url == "http://new:7880", "it is not asked at all now"


def test_a_clock_that_was_set_back_keeps_no_number_for_long() -> None:
    before = server_status(case(3600), None)
    assert server_status(case(0, status=before, rooms=9), None).rooms == 9


def test_auto_create_is_ready_with_a_warning() -> None:
    status, reason, message = ready(server_status(case(health=Health(auto_create=True)), None))
    assert (status, reason, "set it to false" in message) == ("True", "AutoCreate", True)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"maxRooms": 2}, "more rooms are on it than maxRooms (2): they stay, and no new one is placed on it"),
        ({"same_url": ("default", "eu-2")}, "default and eu-2 has the same URL"),
        (
            {"trouble": Trouble(ConditionReason.CERTIFICATE, "its certificate is not trusted")},
            "its certificate is not trusted; its CAs belong into its Secret, under ca.crt",
        ),
    ],
)
def test_what_people_should_know_is_in_the_message(changes: dict[str, Any], told: str) -> None:
    assert told in ready(server_status(case(**changes), None))[2]


@pytest.mark.parametrize(
    ("changes", "step"),
    [
        ({"held": False}, a.AddFinalizer),
        ({"held": False, "name": "default"}, None),
        ({"held": True}, None),
        ({"held": False, "deleted": True, "rooms": 0}, None),
        ({"deleted": True, "rooms": 1}, None),
        ({"deleted": True, "rooms": 0}, a.ReleaseFinalizer),
        ({"deleted": True, "rooms": 0, "unknown": UNREAD}, None),
    ],
)
def test_our_finalizer_keeps_a_server_until_no_room_is_on_it(changes: dict[str, Any], step: type | None) -> None:
    assert [type(one) for one in plan_server(case(**changes)).actions] == ([step] if step is not None else [])


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"rooms": 1},
            "the deletion waits for 1 room on it (calls/rk-0); rooms go on until their participants end them, or "
            "spec.drain",
        ),
        (
            {"rooms": 7, "drain": {"type": "emergency"}},
            "no call is left, and rooms of calls are being made or closed; the deletion waits for 7 rooms on it "
            "(calls/rk-0, calls/rk-1, calls/rk-2, …)",
        ),
        ({"rooms": 0, "unknown": UNREAD}, f"it is not known which rooms the deletion waits for: {UNREAD}"),
        (
            {"rooms": 1, "unknown": UNREAD},
            f"the deletion waits for 1 room on it (calls/rk-0), and perhaps for others: {UNREAD}; rooms go on until "
            "their participants end them, or spec.drain",
        ),
    ],
)
def test_a_server_that_is_being_deleted_says_what_it_waits_for(changes: dict[str, Any], told: str) -> None:
    conditions = {one.type: one for one in server_status(case(deleted=True, **changes), None).conditions}
    drained, reason = conditions["Drained"], "NotKnown" if changes["rooms"] == 0 else "CallsLeft"
    assert (drained.status.value, drained.reason, drained.message) == ("False", reason, told)


def test_the_key_comes_back_for_the_numbers() -> None:
    assert plan_server(case(5)).deadline == b.at(35)


def test_a_paused_server_says_where_it_is_asked_and_nothing_else_new() -> None:
    """Its rooms go on, and new ones are placed on it: after a restart they are looked for at this address."""
    before = LiveKitServerStatus(rooms=1, checked_at=b.at(0))
    paused = case(90, paused=True, status=before)
    assert plan_server(paused).frozen
    told = {"url": "http://eu-1:7880", "public_url": "ws://eu-1:7880"}
    assert paused_server(paused) == before.model_copy(update=told)
    said = paused_server(paused)
    assert paused_server(case(120, paused=True, status=said)) == said


def test_a_paused_server_that_our_finalizer_does_not_hold_says_no_address() -> None:
    """It can be deleted at any time, with the rooms on it; without an address no room is placed there."""
    paused = case(paused=True, held=False)
    assert (plan_server(paused).actions, paused_server(paused)) == ((), LiveKitServerStatus())
