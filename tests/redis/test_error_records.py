"""The records of errors on a real Redis: what is kept, that it stays bounded, and what `roomkeeper errors` shows."""

from __future__ import annotations

import gc
import json
import tracemalloc
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import yaml

from controller.announce.error_records import MOST_BUFFERED, ErrorRecords
from controller.api.failure_codes import Failure, FailureCode
from controller.api.failures_table import FAILURES
from controller.clients.redis.client import Redis
from controller.clients.redis.error_store import MOST_RECORDS, ErrorBatch, ErrorStore, read_errors
from controller.clients.redis.keys import error_keys_of_no_pool
from controller.errors import BackendUnavailable
from controller.facts.error_record import HOUR_MS, ErrorKey, ErrorRecord, HourCounts
from controller.facts.time import milliseconds
from controller.telemetry.pulse import LoopName
from tests.cli.support import Done, run
from tests.redis.servers import Server, running
from tests.redis.world import World

TIMEOUT, FULL = FAILURES[FailureCode.REDIS_TIMEOUT], FAILURES[FailureCode.REDIS_FULL]
STORM = 100_000


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.at = datetime.now(UTC)

    @property
    def ms(self) -> int:
        return milliseconds(self.at)

    def now(self) -> datetime:
        return self.at


class Rig:
    """A replica that records errors for the pool of `world`."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.clock = Clock()
        self.records = self.replica("replica-1")

    def replica(self, name: str) -> ErrorRecords:
        return ErrorRecords(self.world.redis, self.world.keys.cluster_id, self.clock, name)

    def fail(self, failure: Failure = TIMEOUT, name: str = "match/a", **context: str) -> None:
        self.records.failed(
            failure, namespace=self.world.keys.namespace, step="Claim", object_=name, context=context, begins=True
        )

    @property
    def store(self) -> ErrorStore:
        return ErrorStore(self.world.redis, self.world.keys.error_keys)

    async def found(self) -> list[ErrorRecord]:
        return sorted(await self.store.records(), key=lambda record: record.key.object)

    async def counted(self) -> dict[str, int]:
        """All errors of the last 24 hours by code."""
        total: dict[str, int] = {}
        for hour in await self.store.hours(self.clock.ms):
            for code, count in hour.errors.items():
                total[code] = total.get(code, 0) + count
        return total


@pytest.fixture
def own(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server that the test may stop."""
    with running(request.param) as server:
        yield server


@pytest.fixture
def rig(world: World) -> Rig:
    """A replica with an empty pool."""
    return Rig(world)


async def test_equal_errors_are_one_record_with_its_count_and_the_latest_context(rig: Rig) -> None:
    began = rig.clock.ms
    rig.fail(user="alice", attempt="1")
    await rig.records.flush()
    rig.clock.at += timedelta(seconds=30)
    rig.fail(user="alice", attempt="2")
    rig.fail(user="alice", attempt="3")
    rig.fail(name="match/b", user="bob")
    await rig.records.flush()
    first, second = await rig.found()
    assert (first.key, first.count) == (ErrorKey("RedisTimeout", "Claim", "match/a"), 3)
    assert (first.first_ms, first.last_ms) == (began, rig.clock.ms)
    assert first.context == {"user": "alice", "attempt": "3"}
    assert (second.count, second.namespace) == (1, rig.world.keys.namespace)
    assert await rig.counted() == {"RedisTimeout": 4}


async def test_two_replicas_add_to_the_same_record(rig: Rig) -> None:
    other = rig.replica("replica-2")
    rig.fail()
    other.failed(TIMEOUT, namespace=rig.world.keys.namespace, step="Claim", object_="match/a")
    await rig.records.flush()
    await other.flush()
    assert [record.count for record in await rig.found()] == [2]


async def test_a_batch_whose_answer_was_lost_counts_once(rig: Rig) -> None:
    hour = rig.clock.ms // HOUR_MS
    record = ErrorRecord(ErrorKey("RedisTimeout", "Claim", "match/a"), "", 2, rig.clock.ms, rig.clock.ms)
    batch = ErrorBatch("replica-1", 7, HourCounts(hour, {"RedisTimeout": 2}), (record,))
    for _ in range(3):
        await rig.store.add(batch, now_ms=rig.clock.ms)
    assert ([one.count for one in await rig.found()], await rig.counted()) == ([2], {"RedisTimeout": 2})
    await rig.store.add(replace(batch, number=8), now_ms=rig.clock.ms)
    assert await rig.counted() == {"RedisTimeout": 4}


async def test_a_record_is_gone_a_day_after_its_last_error_and_all_keys_expire(rig: Rig) -> None:
    rig.fail()
    await rig.records.flush()
    rig.clock.at += timedelta(hours=24, minutes=1)
    rig.fail(name="match/b")
    await rig.records.flush()
    assert [record.key.object for record in await rig.found()] == ["match/b"]
    keys = rig.world.keys
    for key in (keys.errors(), keys.errors_seen(), keys.errors_hour(rig.clock.ms // HOUR_MS)):
        assert 0 < await rig.world.raw("PTTL", key) <= 25 * HOUR_MS


async def test_what_became_of_recoveries_is_counted(rig: Rig) -> None:
    rig.fail()
    rig.fail(FULL)
    rig.records.recovered(TIMEOUT, rig.world.keys.namespace)
    await rig.records.flush()
    hour = (await rig.store.hours(rig.clock.ms))[-1]
    assert (hour.begun, hour.recovered) == ({"RedisTimeout": 1, "RedisFull": 1}, {"RedisTimeout": 1})


async def test_a_storm_of_errors_stays_bounded_in_memory_and_in_redis(rig: Rig) -> None:
    for number in range(STORM):
        rig.fail(name=f"match/{number}", message=f"no answer for match {number}", user=f"user-{number}")
        assert rig.records.buffered <= MOST_BUFFERED
    await rig.records.flush()
    assert rig.records.buffered == 0
    found = await rig.found()
    assert len(found) == MOST_RECORDS
    assert await rig.counted() == {"RedisTimeout": STORM}
    # What is not in the buffer when the storm comes is still recorded after it.
    rig.clock.at += timedelta(seconds=1)
    rig.fail(FULL, name="match/after")
    await rig.records.flush()
    assert len(await rig.found()) == MOST_RECORDS
    assert "match/after" in {record.key.object for record in await rig.found()}


async def test_what_a_storm_holds_in_memory_is_bounded(rig: Rig) -> None:
    def storm(errors: int) -> None:
        for number in range(errors):
            rig.fail(name=f"match/{number}", message=f"no answer for match {number}", user=f"user-{number}")

    gc.collect()
    tracemalloc.start()
    try:
        storm(4 * MOST_BUFFERED)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < MOST_BUFFERED * 4096


async def test_a_storm_on_a_redis_that_is_full_of_records_keeps_the_latest(rig: Rig) -> None:
    for part in range(4):
        for number in range(MOST_BUFFERED):
            rig.fail(name=f"match/{part}-{number}")
        rig.clock.at += timedelta(seconds=1)
        await rig.records.flush()
    found = await rig.found()
    assert len(found) == MOST_RECORDS == await rig.world.raw("ZCARD", rig.world.keys.errors_seen())
    assert all(record.key.object.startswith("match/3-") for record in found)
    assert await rig.counted() == {"RedisTimeout": 4 * MOST_BUFFERED}


async def test_a_storm_while_redis_is_away_is_written_when_it_is_back(own: Server) -> None:
    redis = Redis.from_url(own.url)
    try:
        rig = Rig(await World.new(redis, "calls"))
        own.stop()
        for number in range(STORM):
            rig.fail(name=f"match/{number % 5}")
            if number % 20_000 == 0:
                await rig.records.flush()
        assert rig.records.buffered <= MOST_BUFFERED
        with pytest.raises(BackendUnavailable):
            await rig.store.records()
        own.start()
        await rig.records.flush()
        assert await rig.counted() == {"RedisTimeout": STORM}
        assert sum(record.count for record in await rig.found()) == STORM
    finally:
        await redis.close()


async def test_keys_that_another_client_damaged_begin_again(rig: Rig) -> None:
    keys = rig.world.keys
    for key in (keys.errors(), keys.errors_seen(), keys.errors_hour(rig.clock.ms // HOUR_MS)):
        await rig.world.raw("SET", key, "mine")
    rig.fail()
    await rig.records.flush()
    assert [record.count for record in await rig.found()] == [1]


async def test_a_record_that_cannot_be_read_costs_no_other(rig: Rig) -> None:
    rig.fail()
    await rig.records.flush()
    await rig.world.raw("HSET", rig.world.keys.errors(), "x", "nonsense", "y", "1 2 3 {}", "z", "1 2 inf []")
    assert [record.key.object for record in await rig.found()] == ["match/a"]


async def test_records_hold_no_secret_and_nothing_long(rig: Rig) -> None:
    rig.fail(message="redis://roomkeeper:hunter22@redis:6379 " + "x" * 5000)
    await rig.records.flush()
    (record,) = await rig.found()
    assert "hunter22" not in record.context["message"]
    assert len(record.context["message"]) <= 256


async def test_an_error_of_a_loop_that_concerns_no_pool_is_recorded_too(rig: Rig) -> None:
    error = BackendUnavailable("LiveKit", "ListRooms", "no answer", code="timeout")
    rig.records.loop_failed(LoopName.POLL, error, {"server": "default"})
    await rig.records.flush()
    found = await ErrorStore(rig.world.redis, error_keys_of_no_pool(rig.world.keys.cluster_id)).records()
    poll = [record for record in found if record.key.step == "loop poll"]
    assert [(record.key.code, record.key.object, record.namespace) for record in poll] == [
        ("LiveKitTimeout", "default", "")
    ]


async def test_all_pools_with_errors_are_found_without_a_scan(rig: Rig) -> None:
    rig.fail()
    await rig.records.flush()
    found = await read_errors(rig.world.redis, rig.world.keys.cluster_id, "", rig.clock.ms)
    assert {"", rig.world.keys.namespace} <= set(found.namespaces)
    assert rig.world.keys.namespace in {record.namespace for record in found.records}


class Commands:
    """Runs `roomkeeper errors` with the settings of an operator."""

    def __init__(self, server: Server, cluster_id: str) -> None:
        self._environment = {
            "ROOMKEEPER_REDIS_URL": server.url,
            "ROOMKEEPER_CLUSTER_ID": cluster_id,
            "ROOMKEEPER_LIVEKIT_URL": "ws://127.0.0.1:1",
            "ROOMKEEPER_LIVEKIT_API_KEY": "key",
            "ROOMKEEPER_LIVEKIT_API_SECRET": "a-secret-of-thirty-two-bytes-at-least",
        }

    def __call__(self, *arguments: str) -> Done:
        return run("errors", *arguments, environment=self._environment)


@pytest.fixture
async def commands(rig: Rig, server: Server) -> Commands:
    """The command, and a pool with three errors of two kinds."""
    rig.fail(message="Redis: no answer in time", user="alice, bob")
    rig.fail(message="Redis: no answer in time", user="alice, bob")
    rig.fail(FULL, message="Redis: the server says not now (OOM)")
    rig.records.recovered(TIMEOUT, rig.world.keys.namespace)
    await rig.records.flush()
    return Commands(server, rig.world.keys.cluster_id)


def lines(done: Done) -> Sequence[str]:
    assert done.status == 0, done.err
    return done.out.splitlines()


async def test_the_command_prints_the_statistics_of_a_namespace(rig: Rig, commands: Commands) -> None:
    shown = lines(commands("-n", rig.world.keys.namespace))
    assert shown[0].startswith("3 errors since ")
    words = [line.split() for line in shown]
    assert ["Timeout", "2"] in words
    assert ["Critical", "1"] in words
    assert ["Retry", "2", "1", "50%"] in words
    assert any(line[:1] == ["2"] and line[2:4] == ["RedisTimeout", "Claim"] for line in words)
    assert shown[-1] == "docs/errors.md says what each error means and what to do."


async def test_programs_get_the_same_as_json_and_as_yaml(rig: Rig, commands: Commands) -> None:
    as_json = json.loads(commands("-n", rig.world.keys.namespace, "-o", "json", "--since", "2h").out)
    as_yaml = yaml.safe_load(commands("-n", rig.world.keys.namespace, "-o", "yaml", "--since", "2h").out)
    assert (as_json["kind"], as_json["total"]) == ("ErrorReport", 3)
    assert as_json["errors"] == as_yaml["errors"]
    worst = as_json["errors"][0]
    assert (worst["code"], worst["count"], worst["context"]["user"]) == ("RedisTimeout", 2, "alice, bob")
    assert worst["whatToDo"] == TIMEOUT.operator
    assert sum(hour["errors"] for hour in as_json["trend"]) == 3


async def test_errors_can_be_chosen_by_type_and_severity(rig: Rig, commands: Commands) -> None:
    chosen = json.loads(commands("-n", rig.world.keys.namespace, "-o", "json", "--type", "redis").out)
    assert [one["code"] for one in chosen["errors"]] == ["RedisFull"]
    assert (chosen["total"], chosen["bySeverity"]) == (1, {"Critical": 1})
    none = commands("-n", rig.world.keys.namespace, "--severity", "Info")
    assert none.out.startswith("No errors since ")


async def test_a_namespace_without_errors_says_so(commands: Commands) -> None:
    assert commands("-n", "nothing-here").out.startswith("No errors since ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("-o", "xml"), "'xml' is none of table, json, yaml"),
        (("--since", "soon"), "'soon' is not a duration"),
        (("--since", "48h"), "'48h' is not between 1s and 24h"),
        (("--type", "Wrong"), "'Wrong' is none of Network, Validation"),
    ],
)
async def test_a_wrong_option_is_refused_with_what_would_be_right(
    commands: Commands, arguments: tuple[str, ...], words: str
) -> None:
    done = commands(*arguments)
    assert done.status == 2
    assert words in " ".join(done.err.replace("│", " ").split())


async def test_a_redis_that_does_not_answer_is_one_line_and_status_1() -> None:
    away = Commands.__new__(Commands)
    away._environment = {
        "ROOMKEEPER_REDIS_URL": "redis://127.0.0.1:1/0",
        "ROOMKEEPER_LIVEKIT_URL": "ws://127.0.0.1:1",
        "ROOMKEEPER_LIVEKIT_API_KEY": "key",
        "ROOMKEEPER_LIVEKIT_API_SECRET": "a-secret-of-thirty-two-bytes-at-least",
    }
    done = away()
    assert done.status == 1
    assert "Traceback" not in done.err
    assert done.err.startswith("roomkeeper: Redis")
    assert len(done.err.splitlines()) == 1
