"""The status of a LiveKit server: words at once, numbers every half minute, and what people should know beside it."""

from __future__ import annotations

from typing import Any

import pytest

from controller.api.conditions import ConditionReason
from controller.api.livekitserver import LiveKitServer, LiveKitServerStatus
from controller.facts.server import Health, ServerSeen, Trouble
from controller.plan.server import plan_server
from controller.rules.server_case import ServerCase
from controller.status.server import server_status
from tests import values as b

FINE = Health(latency_ms=7, version="1.13.5")


def case(
    seconds: float = 0,
    *,
    status: LiveKitServerStatus | None = None,
    health: Health = FINE,
    trouble: Trouble | None = None,
    same_url: tuple[str, ...] = (),
    rooms: int = 3,
    **spec: Any,
) -> ServerCase:
    server = LiveKitServer.model_validate(
        {
            "metadata": {"name": "eu-1", "namespace": "roomkeeper-system", "generation": 4},
            "spec": {"url": "http://eu-1:7880", **spec},
            "status": status or LiveKitServerStatus(),
        }
    )
    return ServerCase(server, ServerSeen(trouble, health, rooms, 2 * rooms, same_url), b.at(seconds))


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


def test_a_number_that_is_known_for_the_first_time_is_written_at_once() -> None:
    before = server_status(case(health=Health()), None)
    assert (before.version, before.latency_ms) == (None, None)
    after = server_status(case(1, status=before), None)
    assert (after.version, after.latency_ms) == ("1.13.5", 7)


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


def test_the_key_comes_back_for_the_numbers() -> None:
    assert plan_server(case(5)).deadline == b.at(35)
