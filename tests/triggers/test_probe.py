"""The prober: who is listed and does not answer is a ghost; what is not known changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from controller.errors import Backend, BackendUnavailable, NotFound, Overloaded
from controller.facts.livekit import LiveKitParticipant
from controller.facts.observation import Present
from controller.triggers.probe import Prober
from controller.views.livekit import LiveKitView
from tests import values as b
from tests.virtual_time import VirtualTime, run

_AWAY = BackendUnavailable(Backend.LIVEKIT, "UpdateParticipant", "no answer")
_NODE_SECONDS = 3.0


class LiveKit:
    """A server whose `dead` participants are on no node; `fails` is raised for every probe instead of an answer."""

    def __init__(self, time: VirtualTime, *rooms: str) -> None:
        self.people: dict[str, tuple[LiveKitParticipant, ...]] = {
            name: tuple(b.person(who, sid=f"PA_{name}_{who}") for who in b.PEOPLE) for name in rooms or ("x",)
        }
        self.dead: set[str] = set()
        self.fails: Exception | None = None
        self.has_nodes = True
        self.probed: list[tuple[str, str]] = []
        self.most_at_once = self._at_once = self.checks = 0
        self.view = LiveKitView()
        (server,) = b.servers(self.view, self)
        self.prober = Prober(server, time)
        self.time = time
        self.lists(*self.people)

    def lists(self, *rooms: str, counted: int = 2) -> None:
        """LiveKit lists the rooms and their people, and counts so many in each."""
        now = self.time.now()
        self.view.snapshot([b.a_livekit_room(name=name, people=counted, mark=b.a_mark()) for name in rooms], now)
        for name in rooms:
            self.view.saw_people(name, self.people[name], now)

    async def list_participants(self, name: str) -> tuple[LiveKitParticipant, ...]:
        """Return the participants of one room."""
        await asyncio.sleep(0.01)
        return self.people[name]

    async def probe(self, name: str, identity: str) -> str | None:
        """Answer at once for the living, and after some seconds for the dead."""
        self.probed.append((name, identity))
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            if self.fails is not None:
                raise self.fails
            sid = next((one.sid for one in self.people[name] if one.identity == identity), None)
            if sid is None:
                raise NotFound(Backend.LIVEKIT, "UpdateParticipant", "participant does not exist")
            await asyncio.sleep(_NODE_SECONDS if sid in self.dead else 0.01)
            return None if sid in self.dead else sid
        finally:
            self._at_once -= 1

    async def has_nodes_that_answer(self) -> bool:
        """Make a room to see whether a node answers."""
        self.checks += 1
        return self.has_nodes

    def kill(self, name: str, *identities: str) -> None:
        """The node of these people dies."""
        self.dead |= {f"PA_{name}_{who}" for who in identities}

    def living(self, name: str = "x") -> list[str]:
        """The identities that the view shows."""
        seen = self.view.people(name, self.time.now())
        assert isinstance(seen, Present)
        return [person.identity for person in seen.value]


def in_virtual_time(scenario: Callable[[LiveKit], Any], *rooms: str) -> None:
    """Run `scenario(livekit)`, and close the prober."""

    async def main(time: VirtualTime) -> None:
        livekit = LiveKit(time, *rooms)
        await scenario(livekit)
        await livekit.prober.close()

    run(main)


async def _rounds(livekit: LiveKit, seconds: float, every: float = 2.0) -> None:
    for _ in range(round(seconds / every)):
        livekit.prober.round(livekit.time.now())
        await asyncio.sleep(every)


def test_one_who_does_not_answer_twice_is_a_ghost_since_the_first_sign() -> None:
    async def scenario(livekit: LiveKit) -> None:
        await asyncio.sleep(60)
        livekit.kill("x", "bob")
        livekit.prober.suspect("x", b.at(50))
        await asyncio.sleep(5)
        assert livekit.living() == ["alice", "bob"], "one refusal is not enough"
        await asyncio.sleep(2)
        assert livekit.living() == ["alice"]
        (ghost,) = livekit.view.ghosts.of("x")
        assert (ghost.identity, ghost.sid, ghost.since) == ("bob", "PA_x_bob", b.at(50))
        assert livekit.checks == 0, "alice's node has answered"
        warnings = [entry for entry in livekit.time.logs if entry["log_level"] == "warning"]
        assert [(entry["room"], entry["identities"]) for entry in warnings] == [("x", ["bob"])]

    in_virtual_time(scenario)


def test_a_ghost_is_not_gone_before_the_last_sign_of_life_on_its_node() -> None:
    async def scenario(livekit: LiveKit) -> None:
        await asyncio.sleep(40)
        await livekit.prober._answers("x", livekit.people["x"][0])
        livekit.kill("x", *b.PEOPLE)
        livekit.prober.suspect("x", b.at(10))
        await asyncio.sleep(10)
        assert [ghost.since for ghost in livekit.view.ghosts.of("x")] == [b.at(40)] * 2

    in_virtual_time(scenario)


def test_if_no_node_answers_at_all_nothing_is_known() -> None:
    async def scenario(livekit: LiveKit) -> None:
        livekit.kill("x", *b.PEOPLE)
        livekit.has_nodes = False
        livekit.prober.suspect("x", b.at(0))
        await asyncio.sleep(8)
        assert (livekit.living(), livekit.checks) == (["alice", "bob"], 1)
        livekit.has_nodes = True
        await _rounds(livekit, 20)
        assert livekit.living() == []

    in_virtual_time(scenario)


@pytest.mark.parametrize("error", [_AWAY, BackendUnavailable(Backend.LIVEKIT, "x", "HTTP 503 (unavailable)")])
def test_who_could_not_be_probed_counts_as_listed_and_is_probed_again(error: Exception) -> None:
    async def scenario(livekit: LiveKit) -> None:
        livekit.kill("x", *b.PEOPLE)
        livekit.fails = error
        livekit.prober.suspect("x", b.at(0))
        await _rounds(livekit, 60)
        assert livekit.living() == ["alice", "bob"]
        assert len(livekit.probed) <= 15, "with longer and longer pauses"
        livekit.fails = None
        await _rounds(livekit, 70)
        assert livekit.living() == []

    in_virtual_time(scenario)


def test_one_who_came_back_on_another_node_meanwhile_is_there() -> None:
    async def scenario(livekit: LiveKit) -> None:
        livekit.kill("x", *b.PEOPLE)
        livekit.prober.suspect("x", b.at(0))
        await asyncio.sleep(5)
        livekit.people["x"] = (b.person("alice", sid="PA_new"), livekit.people["x"][1])
        await asyncio.sleep(5)
        assert livekit.living() == ["alice"]

    in_virtual_time(scenario)


def test_a_ghost_that_comes_back_is_there_at_once_and_one_whose_node_thaws_soon() -> None:
    async def scenario(livekit: LiveKit) -> None:
        livekit.kill("x", *b.PEOPLE)
        livekit.prober.suspect("x", b.at(0))
        await asyncio.sleep(10)
        assert livekit.living() == []
        livekit.people["x"] = (livekit.people["x"][0], b.person("bob", sid="PA_new"))
        livekit.view.saw_people("x", livekit.people["x"], livekit.time.now())
        assert livekit.living() == ["bob"]
        livekit.dead.clear()
        await _rounds(livekit, 70)
        assert livekit.living() == ["alice", "bob"]
        assert livekit.view.ghosts.rooms() == ()

    in_virtual_time(scenario)


def test_the_list_without_ghosts_is_as_old_as_their_latest_probe() -> None:
    """So a window ends only after a probe that was sent after its end."""

    async def scenario(livekit: LiveKit) -> None:
        livekit.kill("x", "bob")
        livekit.prober.suspect("x", b.at(0))
        await asyncio.sleep(60)
        livekit.lists("x")
        before = livekit.view.people("x", b.at(60))
        assert isinstance(before, Present)
        assert before.at < b.at(4)
        livekit.prober.verify("x")
        livekit.prober.verify("x")
        await asyncio.sleep(7)
        after = livekit.view.people("x", b.at(67))
        assert isinstance(after, Present)
        assert after.at >= b.at(60)
        assert len([one for one in livekit.probed if one == ("x", "bob")]) == 4, "one at a time"

    in_virtual_time(scenario)


def test_a_room_that_livekit_counts_fewer_people_in_for_long_is_probed() -> None:
    async def scenario(livekit: LiveKit) -> None:
        livekit.view.ghosts.saw_alive("x", livekit.people["x"][0], b.at(0))  # no sample is due
        livekit.kill("x", *b.PEOPLE)
        await asyncio.sleep(10)
        for _ in range(4):
            livekit.lists("x", counted=1)
            livekit.prober.round(livekit.time.now())
            assert not livekit.probed
            await asyncio.sleep(2)
        livekit.lists("x", counted=1)
        livekit.prober.round(livekit.time.now())
        await asyncio.sleep(8)
        assert [ghost.since for ghost in livekit.view.ghosts.of("x")] == [b.at(10)] * 2
        livekit.lists("x", counted=1)
        assert not livekit.view.is_miscounted("x")

    in_virtual_time(scenario)


def test_a_death_without_any_sign_is_found_by_samples_and_then_in_all_rooms() -> None:
    rooms = [f"room-{n}" for n in range(40)]

    async def scenario(livekit: LiveKit) -> None:
        await _rounds(livekit, 40)
        assert {name for name, _ in livekit.probed} == set(rooms), "each room has been sampled"
        assert len(livekit.probed) <= 60
        livekit.probed.clear()
        for name in rooms[:20]:
            livekit.kill(name, *b.PEOPLE)
        await _rounds(livekit, 60)
        assert [name for name in rooms if not livekit.living(name)] == rooms[:20]
        assert [name for name in rooms if len(livekit.living(name)) == 2] == rooms[20:]

    in_virtual_time(scenario, *rooms)


def test_a_room_whose_samples_say_nothing_keeps_no_other_one_from_its_turn() -> None:
    rooms = [f"room-{n}" for n in range(12)]

    async def scenario(livekit: LiveKit) -> None:
        for name in rooms[:4]:  # listed, and gone for whom asks: nothing is learned
            livekit.people[name] = ()
        await _rounds(livekit, 60)
        assert {name for name, _ in livekit.probed} == set(rooms)

    in_virtual_time(scenario, *rooms)


def test_a_server_with_too_many_requests_is_left_alone_for_a_minute() -> None:
    async def scenario(livekit: LiveKit) -> None:
        livekit.fails = Overloaded(Backend.LIVEKIT, "UpdateParticipant", "HTTP 429", code="429")
        livekit.prober.suspect("x", b.at(1))
        await asyncio.sleep(1)
        asked = len(livekit.probed)
        await _rounds(livekit, 50)
        assert len(livekit.probed) == asked
        await _rounds(livekit, 30)
        assert len(livekit.probed) > asked

    in_virtual_time(scenario)


def test_after_the_clock_was_set_back_nothing_that_a_node_said_before_counts() -> None:
    async def scenario(livekit: LiveKit) -> None:
        await _rounds(livekit, 40)
        real = livekit.time
        livekit.time = livekit.prober._clock = cast(
            "Any", SimpleNamespace(now=lambda: real.now() - timedelta(seconds=600))
        )
        livekit.view.restart(livekit.time.now())
        livekit.prober.clock_was_set()
        livekit.lists("x")
        livekit.has_nodes = False
        livekit.kill("x", *b.PEOPLE)
        livekit.prober.suspect("x", livekit.time.now())
        await _rounds(livekit, 30)
        assert livekit.living() == ["alice", "bob"], "no node has answered since"

    in_virtual_time(scenario)


def test_a_thousand_rooms_at_once_cost_a_bounded_number_of_requests_at_a_time() -> None:
    rooms = [f"room-{n}" for n in range(1000)]

    async def scenario(livekit: LiveKit) -> None:
        for name in rooms:
            livekit.kill(name, *b.PEOPLE)
        await asyncio.sleep(1)
        livekit.prober.suspect_all(b.at(1))
        await asyncio.sleep(600)
        assert livekit.most_at_once <= 32
        assert not any(livekit.living(name) for name in rooms)
        assert livekit.checks <= 100, "nobody answers, so the nodes are checked, but not for each room"

    in_virtual_time(scenario, *rooms)


def test_a_room_that_is_over_is_forgotten() -> None:
    async def scenario(livekit: LiveKit) -> None:
        livekit.kill("x", *b.PEOPLE)
        livekit.prober.suspect("x", b.at(0))
        await asyncio.sleep(10)
        livekit.view.forget("x")
        assert livekit.view.ghosts.of("x") == ()
        await _rounds(livekit, 4)
        assert not livekit.prober._rooms

    in_virtual_time(scenario)


def test_a_probe_that_is_under_way_ends_with_the_term() -> None:
    async def main(time: VirtualTime) -> None:
        livekit = LiveKit(time)
        livekit.kill("x", *b.PEOPLE)
        livekit.prober.suspect("x", b.at(0))
        await asyncio.sleep(1)
        await livekit.prober.close()
        assert not livekit.prober._tasks
        assert livekit.view.ghosts.of("x") == ()

    run(main)
