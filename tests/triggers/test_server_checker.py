"""What a server shows beside its rooms is checked at intervals, and when it begins or ceases to answer."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from controller.api.conditions import ConditionReason
from controller.api.names import LIVEKIT_SERVER
from controller.backends.servers import Server
from controller.clients.livekit_keys import ApiKey, ApiKeys
from controller.errors import Backend, BackendError, BackendUnavailable, Code, Forbidden, Untrusted
from controller.loop.key import Key
from controller.triggers.router import Router
from controller.triggers.server_checker import CHECK_SECONDS, ServerChecker
from controller.views.cache import ObjectCache
from controller.views.livekit import LiveKitView
from tests import values as b
from tests.backends.test_server_configs import server as an_object
from tests.support.pulses import a_pulse
from tests.virtual_time import VirtualTime, run

WRONG_KEY = Forbidden(Backend.LIVEKIT, "ListRooms", "LiveKit refused our API key", code="401")
AWAY = BackendUnavailable(Backend.LIVEKIT, "ListRooms", "no answer", code=Code.TIMEOUT)


class Rig:
    """A server that shows what it is told to, with what it was asked and how often its key was woken."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.woken: list[Key] = []
        self.began = 0
        self.ahead: float | None = None
        self.auto: bool | None = False
        self.runs = "1.13.5"
        router = Router(b.CLUSTER, lambda key, _wake: self.woken.append(key))
        cache = ObjectCache(type(an_object()))
        router.follow_cache(LIVEKIT_SERVER, cache)
        found = an_object().manifest()
        found["metadata"] |= {"uid": "u", "resourceVersion": "1"}
        cache.offer(found)
        self.woken.clear()
        self.server = Server("eu-1", b.URL, ApiKeys(ApiKey("key", "secret")), cast("Any", None), LiveKitView())
        self.checker = ServerChecker(self.server, cast("Any", self), router, self._begins)

    def _begins(self) -> None:
        self.began += 1

    async def clock_ahead_seconds(self) -> float | None:
        self.asked.append("clock")
        return self.ahead

    async def auto_create(self) -> bool | None:
        self.asked.append("auto_create")
        return self.auto

    async def version(self) -> str:
        self.asked.append("version")
        return self.runs

    def answers(self) -> None:
        self.server.error = None
        self.server.view.snapshot([], b.at(1))

    def fails(self, error: BackendError) -> None:
        self.server.error = error
        self.server.view.failed(b.at(2), error.sentence)

    @property
    def reason(self) -> ConditionReason | None:
        trouble = self.server.trouble
        return trouble.reason if trouble is not None else None


@pytest.fixture
def rig() -> Rig:
    return Rig()


async def test_a_server_that_answers_shows_its_version_and_whether_it_makes_rooms_by_itself(rig: Rig) -> None:
    rig.answers()
    await rig.checker.check(renew=True)
    assert (rig.server.health.version, rig.server.health.auto_create) == ("1.13.5", False)
    assert len(rig.woken) == 1
    rig.auto, rig.runs = True, "1.14.0"
    await rig.checker.check()
    assert (rig.server.health.version, rig.server.health.auto_create) == ("1.13.5", True)
    await rig.checker.check(renew=True)
    assert rig.server.health.version == "1.14.0"
    rig.woken.clear()
    rig.auto = None
    await rig.checker.check()
    assert (rig.server.health.auto_create, rig.woken) == (True, []), "what is not known changes nothing"


@pytest.mark.parametrize(
    ("error", "ahead", "reason", "asked"),
    [
        (WRONG_KEY, None, ConditionReason.WRONG_KEY, ["clock"]),
        (WRONG_KEY, 3.0, ConditionReason.WRONG_KEY, ["clock"]),
        (WRONG_KEY, 90.0, ConditionReason.CLOCK_SKEW, ["clock"]),
        (WRONG_KEY, -90.0, ConditionReason.CLOCK_SKEW, ["clock"]),
        (AWAY, 90.0, ConditionReason.UNREACHABLE, []),
        (Untrusted(Backend.LIVEKIT, "ListRooms", "not trusted"), None, ConditionReason.CERTIFICATE, []),
        (BackendError(Backend.LIVEKIT, "ListRooms", "HTTP 404", code="404"), None, ConditionReason.WRONG_URL, []),
        (BackendError(Backend.LIVEKIT, "ListRooms", "HTTP 500", code="500"), None, ConditionReason.FAILING, []),
    ],
)
async def test_why_a_server_cannot_be_used_is_told_apart(
    rig: Rig, error: BackendError, ahead: float | None, reason: ConditionReason, asked: list[str]
) -> None:
    rig.fails(error)
    rig.ahead = ahead
    await rig.checker.check()
    assert (rig.reason, rig.asked, rig.server.health.latency_ms) == (reason, asked, None)


def test_a_server_is_checked_at_intervals_and_at_once_when_it_begins_or_ceases_to_answer() -> None:
    async def main(time: VirtualTime) -> None:
        rig = Rig()
        task = asyncio.create_task(rig.checker.run(a_pulse()))
        await asyncio.sleep(10.5)
        assert (rig.asked, rig.began) == ([], 0), "it was never listed"
        rig.answers()
        await asyncio.sleep(2)
        assert (sorted(rig.asked), rig.began) == (["auto_create", "version"], 1)
        await asyncio.sleep(2 * CHECK_SECONDS)
        assert (rig.asked.count("auto_create"), rig.asked.count("version"), rig.began) == (3, 1, 1)
        rig.fails(WRONG_KEY)
        await asyncio.sleep(2)
        assert rig.asked[-1] == "clock"
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert time.seconds < 90

    run(main)
