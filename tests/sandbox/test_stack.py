"""The stack as a library: retries, single programs, failures during the start, simulated people."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from livekit import api

from sandbox.errors import ClusterError, JoinError, ProgramError
from sandbox.people import Person
from sandbox.person import http_status, redact
from sandbox.ports import PortLocks
from sandbox.recipes import Ports
from sandbox.stack import Stack, StackOptions
from tests.sandbox.support import TINY_MANIFESTS, is_listening, leftovers

# One worker runs them all: they share a stack.
pytestmark = [pytest.mark.usefixtures("real_programs"), pytest.mark.xdist_group("sandbox-stack")]


@pytest.fixture
async def rooms(shared_stack: Stack) -> AsyncIterator[api.LiveKitAPI]:
    where = shared_stack.endpoints
    async with api.LiveKitAPI(where.livekit_http_url, where.livekit_api_key, where.livekit_api_secret) as client:
        yield client


def person(stack: Stack, identity: str, room: str) -> Person:
    where = stack.endpoints
    token = api.AccessToken(where.livekit_api_key, where.livekit_api_secret).with_identity(identity)
    grants = api.VideoGrants(room_join=True, room=room)
    return Person(where.livekit_url, token.with_grants(grants).to_jwt(), identity=identity)


async def test_a_taken_port_is_exchanged_and_a_failed_installation_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts: list[Ports] = []
    take = Ports.take.__func__  # type: ignore[attr-defined]  # of a class method
    with socket.socket() as occupied:
        occupied.bind(("127.0.0.1", 0))
        occupied.listen()

        def unlucky(kind: type[Ports], locks: PortLocks) -> Ports:
            ports: Ports = take(kind, locks)
            attempts.append(ports if attempts else replace(ports, redis=occupied.getsockname()[1]))
            return attempts[-1]

        monkeypatch.setattr(Ports, "take", classmethod(unlucky))
        (tmp_path / "bad.yaml").write_text(TINY_MANIFESTS.replace("kind: ServiceAccount", "kind: Account"))
        stack = Stack(StackOptions(tmp_path / "D", operator=False, manifests=(tmp_path,)))
        with pytest.raises(ClusterError, match="knows no kind Account in v1"):
            await stack.start()
    assert len(attempts) == 2
    assert not leftovers(tmp_path / "D")
    assert not is_listening(attempts[1].kubernetes)


async def test_an_operator_that_does_not_start_is_named_with_its_log(tmp_path: Path, shared_stack: Stack) -> None:
    options = StackOptions(
        tmp_path / "D",
        manifests=shared_stack.options.manifests,
        operator_settings={"ROOMKEEPER_LIVEKIT_URL": "nonsense"},
    )
    with pytest.raises(ProgramError, match="operator ended before it was ready") as failure:
        await Stack(options).start()
    assert failure.value.log_tail
    assert not leftovers(tmp_path / "D")


async def test_programs_are_killed_and_started_again(shared_stack: Stack) -> None:
    before = shared_stack.pid("livekit-server")
    await shared_stack.kill("livekit-server")
    assert not shared_stack.is_running("livekit-server")
    await shared_stack.start_program("livekit-server")
    assert shared_stack.pid("livekit-server") != before
    await shared_stack.restart("redis-server")
    assert shared_stack.is_running("redis-server")
    noted = shared_stack.directory.path / "pids" / "livekit-server"
    assert int(noted.read_text()) == shared_stack.pid("livekit-server")


async def test_people_meet_and_leave_in_each_way(shared_stack: Stack, rooms: api.LiveKitAPI) -> None:
    await rooms.room.create_room(api.CreateRoomRequest(name="meeting", max_participants=2))
    async with (
        person(shared_stack, "alice", "meeting") as alice,
        person(shared_stack, "bob", "meeting") as bob,
        person(shared_stack, "carol", "meeting") as carol,
    ):
        await asyncio.gather(alice.join(), bob.join())
        await asyncio.gather(*(one.wait_for("track_subscribed") for one in (alice, bob)))
        seen = await rooms.room.list_participants(api.ListParticipantsRequest(room="meeting"))
        assert {one.identity for one in seen.participants if one.state == 2} == {"alice", "bob"}
        with pytest.raises(JoinError) as refusal:
            await carol.join()
        assert refusal.value.status == 500

        await alice.leave()
        assert not alice.running
        await bob.wait_for("participant_disconnected", identity="alice", timeout=3)
        await rooms.room.delete_room(api.DeleteRoomRequest(room="meeting"))
        assert (await bob.wait_for("disconnected"))["reason"] == "ROOM_DELETED"


async def test_livekit_still_lists_a_person_whose_process_was_killed(
    shared_stack: Stack, rooms: api.LiveKitAPI
) -> None:
    await rooms.room.create_room(api.CreateRoomRequest(name="crash"))
    async with person(shared_stack, "dan", "crash") as dan:
        await dan.join()
        dan.freeze()
        dan.thaw()
        await dan.kill()
        assert dan.seen("ended") == {"event": "ended", "status": -signal.SIGKILL}
        still = await rooms.room.list_participants(api.ListParticipantsRequest(room="crash"))
        assert [one.identity for one in still.participants] == ["dan"]


async def test_a_refused_person_says_why_without_the_token(shared_stack: Stack) -> None:
    where = shared_stack.endpoints
    async with Person(where.livekit_url, "abcdefghijk.lmnopqrst.uvwxyz", identity="eve") as eve:
        with pytest.raises(JoinError) as refusal:
            await eve.join()
    assert refusal.value.status == 401
    assert "abcdefghijk" not in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("401 - invalid token: T.O.K, error", "401 - invalid token: [redacted], error"),
        ("ws://h/rtc?access_token=abc&auto=1", "ws://h/rtc?[redacted]&auto=1"),
        ("another one: eyJhbGciOi.eyJzdWIiOi.c2lnbmF0dXJl!", "another one: [redacted]!"),
    ],
)
def test_tokens_are_redacted(text: str, safe: str) -> None:
    assert redact(text, "T.O.K") == safe


def test_the_status_is_read_from_the_text() -> None:
    assert http_status("client error: 404 Not Found - requested room does not exist") == 404
    assert http_status("timeout") is None
