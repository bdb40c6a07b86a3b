"""What happens to participants: they do not come, use another device, vanish, are removed or blocked."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from controller.api.match import Match
from controller.api.names import room_name
from controller.clients.redis.gateway import Blocked
from sandbox.errors import JoinError
from tests import manifests
from tests.support.forgery import aborted, signature
from tests.support.gateways import send
from tests.support.kube import condition, is_true
from tests.support.metrics import read_metrics
from tests.support.rig import Rig
from tests.support.signaling import only_signaling
from tests.support.waiting import consistently, eventually

_CONNECT_SECONDS = 15
_PATIENT: dict[str, Any] = {
    "timeouts": {"leaveSeconds": 60, "reconnectSeconds": 60},
    "room": {"departureTimeoutSeconds": 65},
}


# Participants who do not come


Coming = Callable[[Rig, Match, str], AbstractAsyncContextManager[None]]


@contextlib.asynccontextmanager
async def _never(_rig: Rig, _match: Match, _who: str) -> AsyncIterator[None]:
    yield


@contextlib.asynccontextmanager
async def _fully(rig: Rig, match: Match, who: str) -> AsyncIterator[None]:
    await rig.people(who, (await rig.tokens(match))[who]["token"]).join()
    yield


@contextlib.asynccontextmanager
async def _without_media(rig: Rig, match: Match, who: str) -> AsyncIterator[None]:
    async with only_signaling(rig.where, (await rig.tokens(match))[who]["token"]):
        yield


@contextlib.asynccontextmanager
async def _in_vain(rig: Rig, match: Match, who: str) -> AsyncIterator[None]:
    """Send LiveKit's webhook about a client whose media did not come up within a minute."""
    room = (await rig.livekit_rooms())[await rig.livekit_name(match)]
    body = aborted(room, who)
    headers = {"Authorization": signature(rig.where, body), "Content-Type": "application/webhook+json"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(rig.where.webhook_url, data=body, headers=headers) as it,
    ):
        assert it.status == 200
    yield


@contextlib.asynccontextmanager
async def _too_early(rig: Rig, match: Match, who: str) -> AsyncIterator[None]:
    person = rig.people(who, (await rig.tokens(match))[who]["token"])
    await person.join()
    await person.leave()
    yield


@dataclass(frozen=True)
class NoShow:
    """How the two try to come, and where each goes: (state, place, detail)."""

    first: Coming
    second: Coming
    ends: tuple[tuple[str, str | None, str | None], tuple[str, str | None, str | None]]


_THERE = ("Waiting", "Now", None)
NO_SHOWS = {
    "neither": NoShow(_never, _never, (("Idle", None, "NeverSeen"), ("Idle", None, "NeverSeen"))),
    "one": NoShow(_fully, _never, (_THERE, ("Idle", None, "NeverSeen"))),
    "signals": NoShow(_fully, _without_media, (_THERE, ("Idle", None, "SignalOnly"))),
    "media": NoShow(_fully, _in_vain, (_THERE, ("Waiting", "Original", "MediaFailed"))),
    "early": NoShow(_too_early, _never, (("Idle", None, "CLIENT_INITIATED"), ("Idle", None, "NeverSeen"))),
}


async def test_a_no_show_says_of_each_what_was_seen(rig: Rig) -> None:
    """A user who tried and got no media keeps their place."""

    async def plays(name: str, case: NoShow) -> None:
        first, second = f"{name}-1", f"{name}-2"
        await rig.enqueue(first, second)
        match = await rig.ready(first, second, name=name, timeouts={"connectSeconds": _CONNECT_SECONDS})
        async with case.first(rig, match, first), case.second(rig, match, second):
            over = await rig.kube.match_until(lambda found: is_true(found, "Finished"), name)
        end = over.status.end
        assert end is not None
        assert (over.status.phase, end.reason) == ("Ended", "NoShow")
        assert [(one.state, one.place, one.detail) for one in end.outcomes] == list(case.ends), name
        missing = [who for who, (_, place, _) in zip((first, second), case.ends, strict=True) if place != "Now"]
        assert end.message == f"{' and '.join(missing)} did not join within {_CONNECT_SECONDS} s"
        queue = await rig.queue()
        for who, (state, _, _) in zip((first, second), case.ends, strict=True):
            assert (await rig.user(who)).state == state.upper()
            assert (who in queue) == (state == "Waiting")

    before = await read_metrics(rig.where.metrics_url)
    await asyncio.gather(*(plays(name, case) for name, case in NO_SHOWS.items()))

    async def are_counted() -> None:
        after, joins = await read_metrics(rig.where.metrics_url), "roomkeeper_joins_total"
        for result, count in {"NeverSeen": 4, "SignalOnly": 1, "MediaFailed": 1, "Connected": 4}.items():
            about = {"server": "default", "result": result}
            # Other tests may play on this stack at the same time.
            assert after(joins, **about) - before(joins, **about) >= count, result
        aborted = "roomkeeper_connections_aborted_total"
        assert after(aborted, server="default") > before(aborted, server="default")

    await eventually(are_counted)


# Participants who come again


async def test_a_second_device_takes_over_and_the_call_goes_on(rig: Rig) -> None:
    match, (_, bob) = await rig.active()
    token = (await rig.tokens(match))["bob"]["token"]
    await rig.people("bob", token).join()
    assert (await bob.wait_for("disconnected"))["reason"] == "DUPLICATE_IDENTITY"

    def knows_the_new_one(found: Match) -> bool:
        return found.status.participants[1].participant_sid != match.status.participants[1].participant_sid

    await rig.kube.match_until(knows_the_new_one)
    # The new device may be listed for a moment before its media is up: an interruption, but no goodbye of bob's.
    await eventually(lambda: consistently(lambda: _is_up(rig), 3))
    after = await rig.kube.match()
    assert after.status.connected_at == match.status.connected_at
    assert "Left" not in [step.reason for step in after.status.history]
    assert after.status.end is None
    assert await rig.livekit_people(await rig.livekit_name(match)) == {"alice", "bob"}


async def test_a_user_who_drops_out_finds_younger_tokens(rig: Rig) -> None:
    """A page that was closed for long has lost its token, or the token has expired."""
    match, (_, bob) = await rig.active(**_PATIENT)
    # The operator makes new ones where they are older than a few seconds.
    await consistently(lambda: _is_up(rig), 5)
    old = await rig.tokens(match)
    await bob.leave()

    async def are_new() -> str:
        new = await rig.tokens(match)
        assert new["bob"]["expiresAt"] > old["bob"]["expiresAt"]
        return new["bob"]["token"]

    token = await eventually(are_new)
    await rig.people("bob", token).join()
    await rig.kube.match_until(lambda found: (found.status.phase, found.status.connected) == ("Active", "2/2"))


async def test_a_user_who_vanishes_is_waited_for(rig: Rig) -> None:
    """LiveKit takes 20 s to notice. If the user is back before that, nothing has happened; if after that, the call goes
    on. If the gateway suspects the loss at once, the window has been open since then."""
    spec = {"room": {"departureTimeoutSeconds": 45}, "timeouts": {"reconnectSeconds": 40}}

    async def back_at_once() -> None:
        match, (_, bob) = await rig.active("a1", "b1", name="at-once", **spec)
        token = (await rig.tokens(match))["b1"]["token"]
        await bob.kill()
        await rig.people("b1", token).join()
        # The new client may be listed for a moment before its media is up. The old one is missed after some 21 s.
        await eventually(lambda: consistently(lambda: _is_up(rig, "at-once"), 1))
        await consistently(lambda: _is_up(rig, "at-once"), 22)
        assert [step.phase for step in (await rig.kube.match("at-once")).status.history][-1] == "Active"

    async def back_in_time() -> None:
        match, (_, bob) = await rig.active("a2", "b2", name="in-time", **spec)
        await bob.kill()
        gone = await rig.kube.match_until(lambda found: found.status.phase == "Reconnecting", "in-time", 40)
        assert (gone.status.connected, gone.status.reason) == ("1/2", "ConnectionLost")
        assert "the match ends at" in condition(gone, "Connected").message
        token = (await rig.tokens(match))["b2"]["token"]
        await rig.people("b2", token).join()
        back = await rig.kube.match_until(lambda found: found.status.phase == "Active", "in-time")
        assert (back.status.connected, back.status.connected_at) == ("2/2", match.status.connected_at)

    async def suspected() -> None:
        short = {"room": {"departureTimeoutSeconds": 25}, "timeouts": {"reconnectSeconds": 20}}
        match, (_, bob) = await rig.active("a3", "b3", name="suspected", **short)
        await bob.kill()
        await send(rig, "suspect", "b3", match=match.metadata.uid)
        over = await rig.kube.match_until(lambda found: is_true(found, "Finished"), "suspected", 45)
        assert over.status.reason == "NetworkLost"
        noticed, ended = (
            next(step.time for step in over.status.history if step.phase == phase)
            for phase in ("Reconnecting", "Ended")
        )
        # At least the few seconds after the notice, and less than the whole window once more.
        assert 4 < (ended - noticed).total_seconds() < 20

    await asyncio.gather(back_at_once(), back_in_time(), suspected())


async def test_a_suspicion_alone_ends_nothing(rig: Rig) -> None:
    match, _ = await rig.active(timeouts={"reconnectSeconds": 0})
    await send(rig, "suspect", "bob", match=match.metadata.uid)
    await consistently(lambda: _is_up(rig), 4)


# Participants who are alone


async def test_a_user_who_is_alone_for_too_long_is_released(rig: Rig) -> None:
    await rig.enqueue("alice", "bob")
    _, (alice, bob) = await rig.active(timeouts={**_PATIENT["timeouts"], "soloSeconds": 2}, room=_PATIENT["room"])
    await bob.leave()
    over = await rig.kube.match_until(lambda found: is_true(found, "Finished"))
    end = over.status.end
    assert end is not None
    assert (end.reason, end.message) == ("Abandoned", "bob was missing for 2 s in total")
    assert [(one.identity, one.state, one.place, one.detail) for one in end.outcomes] == [
        ("alice", "Waiting", "Now", None),
        ("bob", "Idle", None, "CLIENT_INITIATED"),
    ]
    assert (await alice.wait_for("disconnected"))["reason"] == "ROOM_DELETED"
    await rig.expect_states(alice="WAITING", bob="IDLE")


async def test_being_alone_is_summed_up(rig: Rig) -> None:
    """A partner who comes back only for a moment does not restart the time."""
    spec: dict[str, Any] = {"timeouts": {**_PATIENT["timeouts"], "soloSeconds": 10}, "room": _PATIENT["room"]}
    match, (_, bob) = await rig.active(**spec)
    token = (await rig.tokens(match))["bob"]["token"]
    await bob.leave()
    await rig.kube.match_until(lambda found: found.status.phase == "Reconnecting")
    await consistently(lambda: _is_alone(rig), 5)
    again = rig.people("bob", token)
    await again.join()
    await rig.kube.match_until(lambda found: found.status.phase == "Active")
    await again.leave()
    over = await rig.kube.match_until(lambda found: is_true(found, "Finished"), at_least_seconds=10)
    assert over.status.reason == "Abandoned"
    times = [(step.phase, step.time) for step in over.status.history]
    _, first, back, second, end = (at for phase, at in times if phase in {"Reconnecting", "Active", "Ended"})
    spans = ((back - first).total_seconds(), (end - second).total_seconds())
    # The second span is only the rest; both together are the whole time, except for rounding.
    assert spans[1] < 10
    assert 9 < sum(spans) < 20


# Participants who must not come back


async def test_a_user_who_was_removed_does_not_get_in_again_with_the_old_token(rig: Rig) -> None:
    await rig.enqueue("alice", "bob")
    match, (alice, bob) = await rig.active()
    tokens = await rig.tokens(match)
    await rig.kube.patch("Match", "match", manifests.termination("Disconnect", "bob", "spam"))
    for person in (alice, bob):
        assert (await person.wait_for("disconnected"))["reason"] == "ROOM_DELETED"
    await rig.kube.match_until(lambda found: is_true(found, "Finished"))
    # Alice is in the next call already, and bob tries what he has.
    second = await rig.ready("alice", "carol", name="second")
    for who, entry in tokens.items():
        with pytest.raises(JoinError) as refusal:
            await rig.people(who, entry["token"]).join()
        assert refusal.value.status == 404
    assert list(await rig.livekit_rooms()) == [await rig.livekit_name(second)]
    assert await rig.livekit_people(await rig.livekit_name(second)) == set()
    await rig.expect_states(alice="CONNECTING", bob="IDLE")


async def test_a_user_who_is_banned_in_the_call_is_idle_afterwards_and_no_longer_admitted(rig: Rig) -> None:
    await rig.enqueue("alice", "bob")
    await rig.active(requeue={"onEnded": "All"})
    await rig.redis.set(rig.keys.blocked("bob"), "spam", ex=60)
    await consistently(lambda: _is_up(rig), 1)
    await rig.kube.patch("Match", "match", manifests.termination("End", "alice"))
    over = await rig.kube.match_until(lambda found: is_true(found, "Finished"))
    assert over.status.end is not None
    assert [(one.identity, one.state, one.detail) for one in over.status.end.outcomes] == [
        ("alice", "Waiting", None),
        ("bob", "Idle", "Blocked"),
    ]
    before = await rig.queue()
    assert list(before) == ["alice"]
    assert await rig.gateway.enqueue("bob") == Blocked("bob")
    await rig.kube.create(manifests.match(name="again"))
    refused = await rig.kube.match_until(lambda found: is_true(found, "Finished"), "again")
    assert (refused.status.phase, refused.status.reason) == ("Failed", "UserBlocked")
    assert await rig.queue() == before
    await rig.expect_states(alice="WAITING", bob="IDLE")


async def _is_up(rig: Rig, name: str = "match") -> None:
    match = await rig.kube.match(name)
    assert (match.status.phase, match.status.connected) == ("Active", "2/2")


async def _is_alone(rig: Rig) -> None:
    match = await rig.kube.match()
    assert (match.status.phase, match.status.connected) == ("Reconnecting", "1/2")


# A third person


@pytest.mark.parametrize("comes", [True, False], ids=["a call", "no one else comes"])
async def test_a_hidden_moderator_stays_if_the_room_has_a_place_more_and_goes_with_the_call(
    rig: Rig, comes: bool
) -> None:
    """The moderator is no participant of the Match: they keep no call alive, and their place is not that of a user."""
    await rig.enqueue("alice", "bob")
    connect_seconds = 60 if comes else _CONNECT_SECONDS
    match = await rig.ready(
        room={"maxParticipants": 3, "emptyTimeoutSeconds": connect_seconds + 5},
        timeouts={"leaveSeconds": 1, "connectSeconds": connect_seconds},
    )
    name = await rig.livekit_name(match)
    moderator = rig.people.uninvited("moderator", name, hidden=True)
    await moderator.join()
    room = await rig.kube.room_until(lambda found: found.status.num_participants == 1, room_name(match.metadata.uid))
    assert room.status.issues == ()
    if comes:
        _, bob = await rig.join(match)
        active = await rig.kube.match_until(lambda found: found.status.phase == "Active")
        assert active.status.connected == "2/2"
        room = await rig.kube.room_until(
            lambda found: found.status.num_participants == 3, room_name(match.metadata.uid)
        )
        assert (room.status.issues, await rig.livekit_people(name)) == ((), {"alice", "bob", "moderator"})
        await bob.leave()
    over = await rig.kube.match_until(lambda found: is_true(found, "Finished"), at_least_seconds=_CONNECT_SECONDS)
    assert over.status.reason == ("Left" if comes else "NoShow")
    assert (await moderator.wait_for("disconnected"))["reason"] == "ROOM_DELETED"
    await rig.expect_states(alice="WAITING" if comes else "IDLE", bob="IDLE")
    assert await rig.livekit_rooms() == {}
