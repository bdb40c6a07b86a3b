"""The poller: one bulk read per round, and lists of participants only where something changed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, cast

import pytest

from controller.announce.error_records import ErrorRecords
from controller.clients.request import Requests
from controller.errors import Backend, BackendError, BackendUnavailable, Forbidden
from controller.facts.livekit import LiveKitRoom
from controller.facts.observation import Absent, Present, Unknown
from controller.loop.key import Key
from controller.loop.lanes import Lane
from controller.loop.wakes import WAKES, Wake
from controller.telemetry.pulse import LoopName
from controller.triggers.poll import Poller
from controller.triggers.router import Router
from controller.views.livekit import LiveKitView
from tests import values as b
from tests.support.pulses import a_pulse
from tests.virtual_time import VirtualTime, run

AWAY = BackendUnavailable(Backend.LIVEKIT, "ListRooms", "no answer")
WRONG_KEY = Forbidden(Backend.LIVEKIT, "ListRooms", "LiveKit refused our API key", code="401")


class Records:
    """The records of errors, as `announce.error_records` gets them."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, bool]] = []

    def loop_failed(self, loop: LoopName, error: BackendError, named: Mapping[str, str]) -> None:
        self.told.append((loop, named["server"], error.was_sent))


class LiveKit:
    """A server with rooms and participants; it counts the requests."""

    def __init__(self, time: VirtualTime) -> None:
        self.rooms: list[LiveKitRoom] = []
        self.people: dict[str, tuple[Any, ...]] = {}
        self.asked: list[str] = []
        self.is_down = False
        self.failure: BackendError = AWAY
        self.at_once = self.most_at_once = 0
        self.woken: list[str] = []
        self.lanes: list[Lane] = []
        self.view = LiveKitView()
        servers = b.servers(self.view, self)
        self.router = Router(b.CLUSTER, self._wake)
        (server,) = servers
        router = self.router
        self.view.follow(changed=router.rooms_changed, found=router.rooms_found, lost=router.rooms_lost)
        self.router.follow_rooms(server.name, gone=self.view.forget, doubted=self.view.doubt)
        self._requests = Requests(Backend.LIVEKIT, (ConnectionError,))
        self.breaker = self._requests.breaker
        self.records = Records()
        self.poller = Poller(server, self.router, time, b.CLUSTER, 2.0, cast("ErrorRecords", self.records))

    def _wake(self, key: Key, wake: Wake) -> None:
        self.woken.append(str(key.kind))
        self.lanes.append(WAKES[wake].lane)

    async def list_rooms(self) -> tuple[LiveKitRoom, ...]:
        """Return all rooms. The client asks for them while the breaker is open, too."""
        return await self._requests.send("ListRooms", self._listed, lambda _: self.failure, is_essential=True)

    async def _listed(self) -> tuple[LiveKitRoom, ...]:
        self.asked.append("rooms")
        if self.is_down:
            raise ConnectionRefusedError
        return tuple(self.rooms)

    async def probe(self, _name: str, identity: str) -> str:
        """Answer for a participant; the sid that `values.person` gives."""
        return b.person(identity).sid

    async def list_participants(self, name: str) -> tuple[Any, ...]:
        """Return the participants of one room."""
        self.asked.append(name)
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        await asyncio.sleep(0.01)
        self.at_once -= 1
        if self.is_down:
            raise AWAY
        return self.people.get(name, ())


def in_virtual_time(scenario: Any) -> None:
    """Run `scenario(livekit, time)`."""

    async def main(time: VirtualTime) -> None:
        await scenario(LiveKit(time), time)

    run(main)


def a_room(name: str, people: int = 0, **mark: str) -> LiveKitRoom:
    """Return a room with our mark."""
    return b.a_livekit_room(name=name, people=people, mark=b.a_mark(**mark))


def test_a_round_reads_all_rooms_at_once_and_people_only_where_there_are_some() -> None:
    async def scenario(livekit: LiveKit, _time: VirtualTime) -> None:
        await livekit.poller.poll()
        livekit.rooms = [a_room("empty"), a_room("busy", 1)]
        livekit.people["busy"] = (b.person("alice"),)
        await livekit.poller.poll()
        assert livekit.asked == ["rooms", "rooms", "busy"]
        await livekit.poller.poll()
        assert livekit.asked == ["rooms", "rooms", "busy", "rooms"]
        assert livekit.view.people("busy", b.at(1)) == Present((b.person("alice"),), b.at(0))

    in_virtual_time(scenario)


def test_the_first_round_also_reads_empty_rooms_for_users_who_left_during_a_restart() -> None:
    async def scenario(livekit: LiveKit, _time: VirtualTime) -> None:
        livekit.rooms = [a_room("empty")]
        await livekit.poller.poll()
        assert livekit.asked == ["rooms", "empty"]
        assert livekit.view.people("empty", b.at(1)) == Present((), b.at(0))

    in_virtual_time(scenario)


def test_rooms_of_others_are_ignored() -> None:
    async def scenario(livekit: LiveKit, _time: VirtualTime) -> None:
        livekit.rooms = [b.a_livekit_room(name="x", people=1, foreign=True), a_room("y", 1, cluster="another")]
        await livekit.poller.poll()
        assert (livekit.view.names(), livekit.asked) == ([], ["rooms"])

    in_virtual_time(scenario)


def test_a_room_with_the_name_of_one_of_ours_concerns_us_whatever_mark_it_carries() -> None:
    async def scenario(livekit: LiveKit, _time: VirtualTime) -> None:
        livekit.router.room_changed(b.a_room())
        livekit.rooms = [b.a_livekit_room(foreign=True)]
        await livekit.poller.poll()
        assert livekit.view.names() == [b.LIVEKIT_NAME]

    in_virtual_time(scenario)


def test_an_outage_makes_nothing_absent_and_passes() -> None:
    async def scenario(livekit: LiveKit, time: VirtualTime) -> None:
        livekit.is_down = True
        await livekit.poller.poll()
        await livekit.poller.poll()
        assert isinstance(livekit.view.room("x", b.at(1)), Unknown)
        assert len([entry for entry in time.logs if "cannot be listed" in entry["event"]]) == 1, "said once"
        livekit.is_down = False
        await livekit.poller.poll()
        assert livekit.view.room("x", b.at(1)) == Absent(b.at(0))

    in_virtual_time(scenario)


def test_a_server_that_has_just_fallen_silent_is_asked_again_and_again_and_then_ever_less_often() -> None:
    async def scenario(livekit: LiveKit, _time: VirtualTime) -> None:
        await livekit.poller.poll()
        livekit.is_down = True
        running = asyncio.create_task(livekit.poller.run(a_pulse()))
        await asyncio.sleep(3)
        assert 80 <= len(livekit.asked) <= 115, "its rooms may be gone when it is back, and have to be made again"
        livekit.asked.clear()
        await asyncio.sleep(7)
        assert 60 <= len(livekit.asked) <= 80, "its clients still come back by themselves"
        livekit.asked.clear()
        await asyncio.sleep(20)
        assert 180 <= len(livekit.asked) <= 210
        livekit.asked.clear()
        await asyncio.sleep(590)
        assert 570 <= len(livekit.asked) <= 610, "one in a second, however long it takes"
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    in_virtual_time(scenario)


def test_a_server_that_refuses_the_key_is_asked_about_once_in_a_second_and_then_every_interval() -> None:
    async def scenario(livekit: LiveKit, _time: VirtualTime) -> None:
        await livekit.poller.poll()
        livekit.is_down, livekit.failure = True, WRONG_KEY
        running = asyncio.create_task(livekit.poller.run(a_pulse()))
        await asyncio.sleep(30)
        assert 27 <= len(livekit.asked) <= 34
        livekit.asked.clear()
        await asyncio.sleep(60)
        assert 26 <= len(livekit.asked) <= 35
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    in_virtual_time(scenario)


@pytest.mark.parametrize(("outage_seconds", "noticed_seconds"), [(2, 0.11), (10, 0.11), (29, 0.11), (40, 1.1)])
def test_a_server_that_is_back_is_noticed_within_a_tenth_of_a_second_and_later_within_a_second(
    outage_seconds: float, noticed_seconds: float
) -> None:
    async def scenario(livekit: LiveKit, time: VirtualTime) -> None:
        await livekit.poller.poll()
        livekit.is_down = True
        running = asyncio.create_task(livekit.poller.run(a_pulse()))
        await asyncio.sleep(outage_seconds)
        livekit.is_down = False
        await asyncio.sleep(noticed_seconds)
        await time.settle()
        assert not livekit.view.failure
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    in_virtual_time(scenario)


def test_a_server_that_comes_back_without_its_rooms_is_noticed_at_once() -> None:
    async def scenario(livekit: LiveKit, time: VirtualTime) -> None:
        livekit.router.room_changed(b.a_room())
        livekit.rooms = [b.a_livekit_room()]
        await livekit.poller.poll()
        livekit.is_down = True
        running = asyncio.create_task(livekit.poller.run(a_pulse()))
        await asyncio.sleep(3)
        livekit.woken.clear()
        livekit.rooms, livekit.is_down = [], False
        await asyncio.sleep(0.05)
        assert livekit.woken == ["Room", "Match"]
        assert isinstance(livekit.view.room(b.LIVEKIT_NAME, time.now()), Absent)
        running.cancel()

    in_virtual_time(scenario)


@pytest.mark.parametrize("is_there", [True, False])
def test_unknown_rooms_are_woken_when_the_server_answers_again(is_there: bool) -> None:
    """For example at the start of the operator. Otherwise their keys come back only after a backoff of up to 15 s."""

    async def scenario(livekit: LiveKit, _time: VirtualTime) -> None:
        livekit.router.room_changed(b.a_room())
        livekit.is_down = True
        await livekit.poller.poll()
        livekit.woken.clear()
        livekit.is_down = False
        livekit.rooms = [b.a_livekit_room()] if is_there else []
        await livekit.poller.poll()
        assert {*livekit.woken} == {"Room", "Match"}
        livekit.woken.clear()
        await livekit.poller.poll()
        assert livekit.woken == []

    in_virtual_time(scenario)


def test_rooms_are_woken_when_the_server_has_been_silent_for_too_long_and_when_it_is_back() -> None:
    async def scenario(livekit: LiveKit, _time: VirtualTime) -> None:
        livekit.router.room_changed(b.a_room())
        livekit.rooms = [b.a_livekit_room()]
        await livekit.poller.poll()
        livekit.woken.clear()
        livekit.is_down = True
        running = asyncio.create_task(livekit.poller.run(a_pulse()))
        await asyncio.sleep(9.9)
        assert livekit.woken == []
        await asyncio.sleep(0.8)
        assert livekit.woken == ["Room", "Match"]
        await asyncio.sleep(60)
        assert livekit.woken == ["Room", "Match"], "told once"
        livekit.is_down = False
        await asyncio.sleep(3)
        assert livekit.woken == ["Room", "Match"] * 2
        running.cancel()

    in_virtual_time(scenario)


def test_a_stopped_poller_reads_nothing_more() -> None:
    async def scenario(livekit: LiveKit, _time: VirtualTime) -> None:
        running = asyncio.create_task(livekit.poller.run(a_pulse()))
        await asyncio.sleep(0.1)
        livekit.view.doubt("x")
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        livekit.view.doubt("y")
        await asyncio.sleep(1)
        assert livekit.asked == ["rooms"]

    in_virtual_time(scenario)


def test_people_who_cannot_be_listed_are_left_as_they_were() -> None:
    async def scenario(livekit: LiveKit, _time: VirtualTime) -> None:
        livekit.is_down = True
        await livekit.poller.count("x")
        assert isinstance(livekit.view.people("x", b.at(1)), Unknown)

    in_virtual_time(scenario)


def test_a_crowd_is_counted_a_few_at_a_time() -> None:
    async def scenario(livekit: LiveKit, _time: VirtualTime) -> None:
        await livekit.poller.poll()
        livekit.rooms = [a_room(f"r{number}", 1) for number in range(40)]
        await livekit.poller.poll()
        assert len(livekit.asked) == 42
        assert livekit.most_at_once == 8

    in_virtual_time(scenario)


def test_who_has_just_come_into_a_room_is_read_before_all_rooms_that_nobody_has_read_since_the_start() -> None:
    async def scenario(livekit: LiveKit, _time: VirtualTime) -> None:
        livekit.rooms = [a_room(f"r{number}") for number in range(10_000)]
        running = asyncio.create_task(livekit.poller.run(a_pulse()))
        await asyncio.sleep(0.1)
        assert livekit.most_at_once == 4
        livekit.view.doubt("r9999")
        await asyncio.sleep(0.3)
        assert "r9999" in livekit.asked
        assert len(livekit.asked) < 300
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    in_virtual_time(scenario)


def test_what_livekit_says_for_the_first_time_holds_up_no_user_and_what_it_says_later_is_for_users() -> None:
    """A start reads all rooms, and who is in them. As far as anyone knows nothing has changed."""

    async def scenario(livekit: LiveKit, _time: VirtualTime) -> None:
        livekit.router.room_changed(b.a_room())
        livekit.lanes.clear()
        livekit.rooms = [b.a_livekit_room(people=1)]
        livekit.people[b.LIVEKIT_NAME] = (b.person("alice"),)
        await livekit.poller.poll()
        assert len(livekit.lanes) >= 4, "the room, and who is in it, each for the Room and the Match"
        assert {*livekit.lanes} == {Lane.BULK}
        livekit.lanes.clear()
        livekit.rooms = [b.a_livekit_room(people=2)]
        livekit.people[b.LIVEKIT_NAME] = (b.person("alice"), b.person("bob"))
        await livekit.poller.poll()
        assert {*livekit.lanes} == {Lane.PEOPLE}

    in_virtual_time(scenario)


def test_a_change_is_for_users_although_nobody_has_read_the_room_since_the_start() -> None:
    async def scenario(livekit: LiveKit, _time: VirtualTime) -> None:
        livekit.router.room_changed(b.a_room())
        livekit.rooms = [b.a_livekit_room()]
        await livekit.poller.list_rooms()
        livekit.people[b.LIVEKIT_NAME] = (b.person("alice"),)
        livekit.lanes.clear()
        livekit.view.doubt(b.LIVEKIT_NAME)
        await asyncio.sleep(1)
        await livekit.poller.poll()
        assert {*livekit.lanes} == {Lane.PEOPLE}

    in_virtual_time(scenario)


def test_many_webhooks_of_one_room_make_one_count() -> None:
    async def scenario(livekit: LiveKit, _time: VirtualTime) -> None:
        await livekit.poller.poll()
        livekit.asked.clear()
        for name in ("x", "y", "x", "x"):
            livekit.view.doubt(name)
        await asyncio.sleep(1)
        assert sorted(livekit.asked) == ["x", "y"]
        livekit.view.doubt("x")
        await asyncio.sleep(1)
        assert sorted(livekit.asked) == ["x", "x", "y"]

    in_virtual_time(scenario)


def test_it_polls_for_as_long_as_it_runs_about_every_interval() -> None:
    async def scenario(livekit: LiveKit, _time: VirtualTime) -> None:
        running = asyncio.create_task(livekit.poller.run(a_pulse()))
        await asyncio.sleep(60)
        assert 26 <= livekit.asked.count("rooms") <= 35
        running.cancel()

    in_virtual_time(scenario)


@pytest.mark.parametrize(("rooms", "interval_seconds"), [(100, 2), (2500, 2), (5000, 4), (10_000, 8), (60_000, 8)])
def test_a_server_with_very_many_rooms_is_listed_less_often_but_often_enough(
    rooms: int, interval_seconds: float
) -> None:
    async def scenario(livekit: LiveKit, time: VirtualTime) -> None:
        livekit.rooms = [LiveKitRoom(f"of-others-{number}", "RM", 0, None) for number in range(rooms)]
        running = asyncio.create_task(livekit.poller.run(a_pulse()))
        await asyncio.sleep(10 * interval_seconds)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert 9 <= livekit.asked.count("rooms") <= 12
        assert time.seconds >= 10 * interval_seconds

    in_virtual_time(scenario)


def test_a_list_that_is_not_answered_is_recorded_as_an_error() -> None:
    async def scenario(livekit: LiveKit, _time: VirtualTime) -> None:
        livekit.is_down = True
        await livekit.poller.poll()
        assert livekit.records.told == [(LoopName.POLL, "default", True)]

    in_virtual_time(scenario)


def test_a_room_that_the_first_list_lacks_is_told_as_lost_once_keys_are_taken() -> None:
    """While no key was taken, nobody heard of it; at a start it would come after all calls that go on."""

    async def scenario(livekit: LiveKit, _time: VirtualTime) -> None:
        livekit.router.room_changed(b.an_active_room())
        await livekit.poller.list_rooms()
        livekit.lanes.clear()
        livekit.poller.tell_of_lost()
        assert livekit.lanes[0] is Lane.LOST

    in_virtual_time(scenario)


def test_a_room_that_a_list_has_not_been_asked_about_is_not_told_as_lost() -> None:
    async def scenario(livekit: LiveKit, _time: VirtualTime) -> None:
        livekit.is_down = True
        livekit.router.room_changed(b.an_active_room())
        await livekit.poller.list_rooms()
        livekit.lanes.clear()
        livekit.poller.tell_of_lost()
        assert livekit.lanes == []

    in_virtual_time(scenario)


def test_a_room_that_is_being_deleted_does_not_wait_at_a_start_until_somebody_has_looked_into_it() -> None:
    async def scenario(livekit: LiveKit, _time: VirtualTime) -> None:
        livekit.router.room_changed(b.an_active_room(deleted=True))
        livekit.rooms = [b.a_livekit_room(people=2)]
        await livekit.poller.list_rooms()
        assert list(livekit.router.keys_before_count(livekit.view.unread())) == []

    in_virtual_time(scenario)
