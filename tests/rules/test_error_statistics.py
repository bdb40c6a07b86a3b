"""Statistics of errors: what is counted, what is chosen, and what another version wrote."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from controller.api.failure_codes import FailureCode
from controller.api.failures import ErrorType, Recovery, Severity
from controller.api.failures_table import FAILURES
from controller.facts.error_record import HOUR_MS, ErrorKey, ErrorRecord, HourCounts
from controller.rules.error_statistics import Wanted, statistics

NOW = 500_000 * HOUR_MS + 1_800_000
HOUR = NOW // HOUR_MS
DAY = Wanted(NOW - 24 * HOUR_MS)


def record(code: str, count: int, last_ms: int = NOW, name: str = "match/a") -> ErrorRecord:
    return ErrorRecord(ErrorKey(code, "Claim", name), "calls", count, last_ms - 5, last_ms)


def test_errors_are_counted_by_type_and_severity() -> None:
    hours = [HourCounts(HOUR, {"RedisTimeout": 3, "LiveKitTimeout": 2}), HourCounts(HOUR - 2, {"RedisFull": 1})]
    found = statistics((), hours, DAY, NOW)
    assert (found.total, found.by_type) == (6, {ErrorType.REDIS: 1, ErrorType.TIMEOUT: 5})
    assert found.by_severity == {Severity.CRITICAL: 1, Severity.HIGH: 5}


def test_the_trend_has_every_hour_and_begins_at_the_full_one() -> None:
    hours = [HourCounts(HOUR - 3, {"RedisFull": 7}), HourCounts(HOUR - 2, {"RedisFull": 1}), HourCounts(HOUR)]
    found = statistics((), hours, Wanted(NOW - 2 * HOUR_MS), NOW)
    assert found.trend == {HOUR - 2: 1, HOUR - 1: 0, HOUR: 0}


def test_a_recovery_has_the_part_of_its_steps_that_succeeded() -> None:
    counts = HourCounts(HOUR, {}, begun={"RedisTimeout": 3, "LiveKitTimeout": 1}, recovered={"RedisTimeout": 2})
    found = statistics((), [counts], DAY, NOW)
    assert {way: count.rate for way, count in found.recoveries.items()} == {Recovery.RETRY: 0.5}


def test_the_most_frequent_errors_come_first_and_older_ones_are_left_out() -> None:
    records = [record("RedisFull", 2), record("RedisTimeout", 9), record("RedisFull", 99, NOW - 2 * HOUR_MS)]
    found = statistics(records, (), Wanted(NOW - HOUR_MS), NOW)
    assert [one.key.code for one in found.top] == ["RedisTimeout", "RedisFull"]


def test_only_the_wanted_type_and_severity_are_counted() -> None:
    wanted = Wanted(DAY.since_ms, ErrorType.REDIS, Severity.CRITICAL)
    hours = [HourCounts(HOUR, {"RedisFull": 1, "RedisReadOnly": 1, "RedisUnreachable": 1})]
    found = statistics([record("RedisFull", 1), record("RedisReadOnly", 1)], hours, wanted, NOW)
    assert (found.total, [one.key.code for one in found.top]) == (1, ["RedisFull"])


def test_the_code_of_another_version_is_counted_as_unknown() -> None:
    found = statistics([record("NewError", 1)], [HourCounts(HOUR, {"NewError": 4})], DAY, NOW)
    assert found.by_type == {FAILURES[FailureCode.UNKNOWN].type: 4}
    assert found.top[0].key.code == "NewError"


@given(st.dictionaries(st.sampled_from(FailureCode), st.integers(0, 1000)), st.integers(0, 23))
def test_types_severities_and_the_trend_have_the_same_sum(counts: dict[FailureCode, int], ago: int) -> None:
    found = statistics((), [HourCounts(HOUR - ago, {str(code): n for code, n in counts.items()})], DAY, NOW)
    sums = {sum(found.by_type.values()), sum(found.by_severity.values()), sum(found.trend.values()), found.total}
    assert sums == {sum(counts.values())}
