"""The short form of `make soak`: after calls and outages the operator holds as little as before."""

from __future__ import annotations

from pathlib import Path

from benchmarks.soak.census import DIRECTORY, Census, census
from benchmarks.soak.verdict import growths
from benchmarks.soak.work import PROGRAMS, Work
from controller.clients.redis.client import Redis
from controller.clients.redis.gateway import Gateway
from tests.support.rig import Rig
from tests.support.waiting import eventually

_CYCLES = 30
_AT_ONCE = 8


async def test_the_operator_is_flat_over_calls_and_outages_of_every_backend(rig: Rig, tmp_path: Path) -> None:
    operator = rig.operators.make("benchmarks.soak.census")
    operator.environment[DIRECTORY] = str(tmp_path)
    await operator.start()
    await eventually(operator.leads)
    redis = Redis.from_url(rig.where.redis_url)
    work = Work(rig.where, rig.kube.namespace, rig.kube.admin, Gateway(redis, rig.keys), rig.redis)
    await work.cycles(_CYCLES, _AT_ONCE)
    first = await census(tmp_path)
    assert first.tasks > 0
    assert first.held, "nothing of the operator was found"
    await work.cycles(2 * _CYCLES, _AT_ONCE, outages=len(PROGRAMS))

    async def is_flat() -> Census:
        """Some of what it holds is let go at intervals."""
        last = await census(tmp_path)
        problems = list(growths(first, last))
        assert not problems, problems
        return last

    await eventually(is_flat)
    await redis.close()
