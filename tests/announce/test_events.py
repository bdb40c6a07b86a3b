"""Kubernetes Events: posted beside the work, and deduplicated."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine
from typing import Any, cast

import pytest

from controller.announce.events import EventPoster, Subject, event_name
from controller.api.names import MATCH
from controller.clients.kubernetes import Body, KubernetesClient, Resource
from controller.errors import AlreadyExists, Backend, BackendUnavailable, NotFound
from tests import values as b
from tests.support.pulses import a_pulse
from tests.virtual_time import VirtualTime, run

SUBJECT = Subject.of(MATCH, b.a_match())
OTHER = Subject(MATCH, b.NAMESPACE, "other", "uid-2")


class MemoryEvents:
    """Events by name."""

    def __init__(self) -> None:
        self.events: dict[str, Body] = {}
        self.patches: list[list[Body]] = []
        self.is_down = False
        self.vanishes_when_met = False

    async def create(self, _resource: Resource, _namespace: str, body: Body) -> Body:
        """Raises AlreadyExists, or BackendUnavailable."""
        if self.is_down:
            raise BackendUnavailable(Backend.KUBERNETES, "create", "no answer")
        name = body["metadata"]["name"]
        if self.vanishes_when_met:
            self.vanishes_when_met = False
            raise AlreadyExists(Backend.KUBERNETES, "create", name)
        if name in self.events:
            raise AlreadyExists(Backend.KUBERNETES, "create", name)
        self.events[name] = body
        return body

    async def json_patch(self, _resource: Resource, _namespace: str, name: str, operations: list[Body]) -> Body:
        """Raises NotFound."""
        if name not in self.events:
            raise NotFound(Backend.KUBERNETES, "patch", name)
        self.patches.append(operations)
        for operation in operations:
            self.events[name][operation["path"].strip("/")] = operation["value"]
        return self.events[name]


def posting(scenario: Any) -> MemoryEvents:
    """Run `scenario(poster, time)` while a poster runs; what was posted."""

    async def main(time: VirtualTime) -> MemoryEvents:
        events = MemoryEvents()
        poster = EventPoster(cast("KubernetesClient", events), time, "replica-1")
        running = asyncio.create_task(poster.run(a_pulse()))
        steps: Coroutine[Any, Any, None] = scenario(poster, time, events)
        await steps
        await time.settle()
        running.cancel()
        return events

    return run(main)


def test_an_event_says_what_of_whom_and_why() -> None:
    async def scenario(poster: EventPoster, _time: VirtualTime, _events: MemoryEvents) -> None:
        poster.normal(SUBJECT, "Connected", "both participants are in the room")

    ((name, event),) = posting(scenario).events.items()
    assert name.startswith(f"{b.NAME}.")
    assert (event["type"], event["reason"], event["message"]) == (
        "Normal",
        "Connected",
        "both participants are in the room",
    )
    assert (event["count"], event["firstTimestamp"]) == (1, "2026-01-31T10:00:00Z")
    involved = event["involvedObject"]
    assert (involved["kind"], involved["name"], involved["uid"]) == ("Match", b.NAME, b.MATCH_UID)


def test_the_same_said_again_is_counted_and_not_added() -> None:
    async def scenario(poster: EventPoster, time: VirtualTime, _events: MemoryEvents) -> None:
        for _ in range(3):
            poster.warning(SUBJECT, "RedisError", "no answer")
            await asyncio.sleep(60)
            await time.settle()

    posted = posting(scenario)
    (event,) = posted.events.values()
    assert (event["count"], event["firstTimestamp"], event["lastTimestamp"]) == (
        3, "2026-01-31T10:00:00Z", "2026-01-31T10:02:00Z",
    )  # fmt: skip


def test_the_same_said_again_after_a_long_time_is_counted_as_well() -> None:
    async def scenario(poster: EventPoster, time: VirtualTime, _events: MemoryEvents) -> None:
        for _ in range(3):
            poster.warning(SUBJECT, "RedisError", "no answer")
            await time.settle()
            await asyncio.sleep(1800)

    (event,) = posting(scenario).events.values()
    assert (event["count"], event["firstTimestamp"], event["lastTimestamp"]) == (
        3, "2026-01-31T10:00:00Z", "2026-01-31T11:00:00Z",
    )  # fmt: skip


def test_another_reason_message_or_object_is_another_event() -> None:
    async def scenario(poster: EventPoster, _time: VirtualTime, _events: MemoryEvents) -> None:
        poster.warning(SUBJECT, "RedisError", "no answer")
        poster.warning(SUBJECT, "LiveKitError", "no answer")
        poster.warning(SUBJECT, "RedisError", "refused")
        poster.normal(SUBJECT, "RedisError", "no answer")
        poster.warning(OTHER, "RedisError", "no answer")

    assert len(posting(scenario).events) == 5


def test_an_event_that_has_run_out_is_posted_again() -> None:
    async def scenario(poster: EventPoster, time: VirtualTime, events: MemoryEvents) -> None:
        poster.warning(SUBJECT, "RedisError", "no answer")
        await time.settle()
        events.events.clear()
        poster.warning(SUBJECT, "RedisError", "no answer")
        await time.settle()

    (event,) = posting(scenario).events.values()
    assert event["count"] == 1


def test_what_an_earlier_process_said_is_counted_on() -> None:
    async def scenario(poster: EventPoster, time: VirtualTime, events: MemoryEvents) -> None:
        for _ in range(2):
            poster.warning(SUBJECT, "Restored", "made again")
            await time.settle()
        second = EventPoster(cast("KubernetesClient", events), time, "replica-2")
        running = asyncio.create_task(second.run(a_pulse()))
        await asyncio.sleep(60)
        for _ in range(2):
            second.warning(SUBJECT, "Restored", "made again")
            await time.settle()
        running.cancel()

    (event,) = posting(scenario).events.values()
    assert (event["count"], event["lastTimestamp"]) == (4, "2026-01-31T10:01:00Z")


def test_an_event_that_runs_out_while_it_is_counted_on_is_no_mishap() -> None:
    async def scenario(poster: EventPoster, time: VirtualTime, events: MemoryEvents) -> None:
        events.vanishes_when_met = True
        poster.normal(SUBJECT, "Ended", "over")
        poster.normal(SUBJECT, "Connected", "both")
        await time.settle()

    assert [event["reason"] for event in posting(scenario).events.values()] == ["Connected"]


def test_an_outage_loses_an_event_and_nothing_else() -> None:
    async def scenario(poster: EventPoster, time: VirtualTime, events: MemoryEvents) -> None:
        events.is_down = True
        poster.normal(SUBJECT, "Connected", "both")
        await time.settle()
        events.is_down = False
        poster.normal(SUBJECT, "Ended", "over")
        await time.settle()

    assert [event["reason"] for event in posting(scenario).events.values()] == ["Ended"]


def test_an_event_that_was_lost_in_an_outage_is_posted_when_it_is_said_again() -> None:
    async def scenario(poster: EventPoster, time: VirtualTime, events: MemoryEvents) -> None:
        for is_down in (True, False):
            events.is_down = is_down
            poster.warning(SUBJECT, "RedisError", "no answer")
            await time.settle()

    assert len(posting(scenario).events) == 1


def test_a_flood_is_bounded() -> None:
    async def scenario(poster: EventPoster, _time: VirtualTime, _events: MemoryEvents) -> None:
        for number in range(3000):
            poster.normal(SUBJECT, "Flood", str(number))

    assert len(posting(scenario).events) <= 1001


@pytest.mark.parametrize("last", ["-", ".", "-.-"])
def test_a_name_that_is_cut_ends_as_a_name_may(last: str) -> None:
    name = "n" * (200 - len(last)) + last + "n" * 10
    made = event_name(Subject(MATCH, "ns", name, "uid"), "Normal", "Ready", "it is ready")
    assert re.fullmatch(r"n+\.[0-9a-f]{16}", made)


def test_long_names_and_messages_fit() -> None:
    async def scenario(poster: EventPoster, _time: VirtualTime, _events: MemoryEvents) -> None:
        poster.normal(Subject(MATCH, "calls", "n" * 253, "u"), "Reason", "m" * 5000)

    ((name, event),) = posting(scenario).events.items()
    assert len(name) <= 253
    assert len(event["message"]) == 1024
