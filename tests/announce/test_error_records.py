"""What a replica does with errors that Redis does not take: no pool waits for another one."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from prometheus_client import REGISTRY

from controller.announce.error_records import ErrorRecords
from controller.api.failure_codes import FailureCode
from controller.api.failures_table import FAILURES
from controller.clients.redis.client import Redis
from controller.clients.redis.error_store import ErrorBatch, ErrorStore
from controller.errors import Backend, BackendError, BackendRefused, BackendUnavailable, Forbidden
from controller.telemetry.pulse import LoopName

TIMEOUT = FAILURES[FailureCode.REDIS_TIMEOUT]


class Clock:
    """The time of this machine."""

    def now(self) -> datetime:
        return datetime.now(UTC)


def dropped() -> float:
    return REGISTRY.get_sample_value("roomkeeper_error_records_dropped_total") or 0.0


class Pools:
    """Redis with the pools that fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.failing: dict[str, type[BackendError]] = {}
        self.written: list[str] = []
        self.records = ErrorRecords(Redis.from_url("redis://127.0.0.1:1"), "test", Clock(), "replica-1")
        pools = self

        async def add(_: ErrorStore, batch: ErrorBatch, *, now_ms: int) -> None:
            for record in batch.records:
                if kind := pools.failing.get(record.namespace):
                    raise kind(Backend.REDIS, "errors", "no")
                pools.written.append(record.namespace)

        monkeypatch.setattr(ErrorStore, "add", add)

    def fail(self, *namespaces: str) -> None:
        for namespace in namespaces:
            self.records.failed(TIMEOUT, namespace=namespace, step="Claim", object_="match/a")


@pytest.mark.parametrize("kind", [BackendUnavailable, Forbidden])
async def test_a_pool_that_does_not_answer_holds_up_no_other(
    kind: type[BackendError], monkeypatch: pytest.MonkeyPatch
) -> None:
    pools = Pools(monkeypatch)
    pools.failing = dict.fromkeys(("a", "b", "c"), kind)
    for _ in range(3):
        pools.fail("a", "b", "c", "d")
        await pools.records.flush()
    assert pools.written == ["d", "d"]  # the first time, three pools before it have failed
    pools.failing.clear()
    await pools.records.flush()
    assert sorted(set(pools.written)) == ["a", "b", "c", "d"]
    assert pools.records.buffered == 0


async def test_a_batch_that_redis_refuses_is_dropped_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    pools = Pools(monkeypatch)
    pools.failing["a"] = BackendRefused
    before = dropped()
    pools.fail("a", "a", "b")
    await pools.records.flush()
    assert pools.written == ["b"]
    assert pools.records.buffered == 0
    assert dropped() == before + 2


def test_a_loop_that_asks_again_and_again_records_only_requests_that_were_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    records = Pools(monkeypatch).records
    error = BackendUnavailable(Backend.REDIS, "silent", "no answer in time", code="timeout")
    records.loop_failed(LoopName.HEARTBEATS, error.not_sent("silent"), {})
    assert records.buffered == 0
    records.loop_failed(LoopName.HEARTBEATS, error, {})
    assert records.buffered == 1
