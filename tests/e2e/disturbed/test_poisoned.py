"""Data that no code expected, written by other services: it costs one item, never a loop and never the process."""

from __future__ import annotations

from typing import Any, cast

import pytest

from tests.support.kube import is_true
from tests.support.rig import Rig
from tests.support.waiting import eventually


@pytest.mark.parametrize(
    ("command", "key"),
    [
        (("ZADD", "-inf", "x"), "heartbeats"),
        (("ZADD", "inf", "x"), "heartbeats"),
        (("SET", "a string"), "heartbeats"),
        (("SET", "a string"), "signals"),
        (("ZADD", "inf", "x"), "queue"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else value,
)
async def test_an_odd_value_in_redis_stops_nothing(rig: Rig, command: tuple[str, ...], key: str) -> None:
    """The operator serves the whole cluster, which has more pools than this one."""
    operator = await rig.operators.start(heartbeat_seconds="0.5", poll_seconds="0.3")
    await eventually(operator.leads)
    word, *rest = command
    await cast("Any", rig.redis).execute_command(word, f"{rig.keys.prefix}{key}", *rest)
    try:
        await rig.ready()
        before = await operator.metrics()

        async def all_come_round() -> None:
            ages = {
                sample.labels["loop"]: sample.value
                for sample in (await operator.metrics()).samples
                if sample.name == "roomkeeper_loop_age_seconds"
            }
            assert {"heartbeats", "audit", "streams", "poll", "flags", "lead", "watch"} <= ages.keys()

        await eventually(all_come_round)
        assert operator.running
        assert before("roomkeeper_leader") == 1
        match = await rig.kube.match()
        assert is_true(match, "Ready")
    finally:
        await rig.redis.delete(f"{rig.keys.prefix}{key}")
