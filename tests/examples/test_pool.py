"""The example's view of a pool, on a real Valkey and with the published scripts."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import redis as redis_py

from examples.matchmaker.pairing import Pair, Waiting
from examples.matchmaker.pool import Pool, PoolError, Reservation
from sandbox.source import ROOT
from tests.examples.support import crowd, enqueue, meet, serve
from tests.support.waiting import eventually

MINUTE_MS = 60_000


def pair(*ids: str) -> Pair:
    return Pair(*(Waiting(user_id, 0) for user_id in ids))


def names(pool: Pool, wanted: int = 100, most_pages: int = 5) -> list[str]:
    return [person.id for person in pool.front(wanted, most_pages=most_pages).waiting]


def test_the_folder_and_the_contract_can_be_taken_elsewhere(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples" / "matchmaker", tmp_path / "ours")
    shutil.copytree(ROOT / "contract", tmp_path / "contract")
    foreign = "[name for name in sys.modules if name.split('.')[0] in ('controller', 'sandbox', 'examples')]"
    program = f"import sys, ours.matchmaker, ours.gateway, contract; print({foreign}, contract.__file__)"
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == (f"[] {tmp_path / 'contract' / '__init__.py'}\n", "")


def test_the_longest_waiting_come_first_with_those_whom_they_met(pool: Pool, raw: redis_py.Redis) -> None:
    crowd(raw, pool, ["zoe", "alice", "bob"])
    meet(raw, pool, "zoe", "bob")
    front = pool.front(100)
    assert front.waiting == (
        Waiting("zoe", 1000, frozenset({"bob"})),
        Waiting("alice", 1001),
        Waiting("bob", 1002, frozenset({"zoe"})),
    )
    assert front.is_whole_queue
    assert front.now_ms > 1_700_000_000_000


def test_users_who_met_long_ago_may_meet_again(pool: Pool, raw: redis_py.Redis) -> None:
    crowd(raw, pool, ["zoe", "alice", "bob"])
    meet(raw, pool, "zoe", "bob", seconds_ago=590)
    meet(raw, pool, "zoe", "alice", seconds_ago=610)
    assert [person.met for person in pool.front(100).waiting] == [{"bob"}, set(), {"zoe"}]


@pytest.mark.parametrize("off_seconds", [-900, 900])
def test_a_wrong_clock_of_the_matchmaker_makes_no_user_forget_whom_they_met(
    pool: Pool, raw: redis_py.Redis, monkeypatch: pytest.MonkeyPatch, off_seconds: int
) -> None:
    crowd(raw, pool, ["zoe", "alice", "bob"])
    meet(raw, pool, "zoe", "bob", seconds_ago=5)
    meet(raw, pool, "zoe", "alice", seconds_ago=610)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + off_seconds)
    assert [person.met for person in pool.front(100).waiting] == [{"bob"}, set(), {"zoe"}]


def test_no_more_users_are_read_than_are_wanted(pool: Pool, raw: redis_py.Redis) -> None:
    crowd(raw, pool, [f"{number:04}" for number in range(1000)])
    front = pool.front(20)
    assert [person.id for person in front.waiting] == [f"{number:04}" for number in range(20)]
    assert not front.is_whole_queue


@pytest.mark.parametrize(("count", "is_whole_queue"), [(0, True), (4, True), (5, False)])
def test_the_front_says_whether_more_users_wait(
    pool: Pool, raw: redis_py.Redis, count: int, is_whole_queue: bool
) -> None:
    if count:
        crowd(raw, pool, map(str, range(count)))
    assert pool.front(4).is_whole_queue == is_whole_queue


def test_banned_users_at_the_front_are_skipped(pool: Pool, raw: redis_py.Redis) -> None:
    ids = [f"{number:02}" for number in range(30)]
    crowd(raw, pool, ids)
    for user_id in ids[:25]:
        raw.set(f"{pool.prefix}blocked:{user_id}", "spam")
    assert names(pool, 4) == []
    assert names(pool, 4, most_pages=8) == ["25", "26", "27", "28"]
    assert names(pool, 10) == ["25", "26", "27", "28", "29"]
    assert pool.front(10).is_whole_queue
    assert not pool.front(10, most_pages=2).is_whole_queue


def test_a_user_who_comes_back_to_the_front_meanwhile_doubles_no_other(
    pool: Pool, raw: redis_py.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    crowd(raw, pool, ["alice", "bob", "carol", "dave", "erin"])
    raw.set(f"{pool.prefix}blocked:alice", "spam")
    read = pool._free

    def returning(rows: Sequence[tuple[str, float]], now_ms: int) -> Iterator[Waiting]:
        crowd(raw, pool, ["zoe"], since_ms=1)
        return read(rows, now_ms)

    monkeypatch.setattr(pool, "_free", returning)
    assert names(pool, 3) == ["bob", "carol", "dave"]


def test_an_id_that_no_match_can_carry_is_skipped(pool: Pool, raw: redis_py.Redis) -> None:
    crowd(raw, pool, ["x" * 257, "ä" * 129, "bell\x07", "alice@example.com", "ä" * 128])
    assert names(pool) == ["alice@example.com", "ä" * 128]


def test_a_pair_is_reserved_once_and_for_one_name(pools: Callable[[], Pool], raw: redis_py.Redis) -> None:
    one, other = pools(), pools()
    enqueue(one, "alice", "bob", "carol", "dave")
    raw.set(f"{one.prefix}blocked:dave", "spam")
    assert one.reserve([(pair("alice", "bob"), "first")], ttl_ms=MINUTE_MS) == ["new"]
    answers = other.reserve(
        [
            (pair("alice", "bob"), "first"),
            (pair("carol", "alice"), "second"),
            (pair("carol", "nobody"), "third"),
            (pair("carol", "dave"), "fourth"),
        ],
        ttl_ms=MINUTE_MS,
    )
    assert answers == ["replay", "RESERVED", "NOTQUEUED", "BLOCKED"]
    assert names(other) == ["carol"]


def test_reservations_are_found_by_age_with_the_places_that_people_had(pool: Pool, raw: redis_py.Redis) -> None:
    crowd(raw, pool, ["alice", "bob", "carol", "dave"])
    pool.reserve([(pair("alice", "bob"), "first"), (pair("carol", "dave"), "second")], ttl_ms=MINUTE_MS)

    def found(older_than_ms: int, at_most: int = 100) -> list[Reservation]:
        return pool.reservations(ttl_ms=MINUTE_MS, older_than_ms=older_than_ms, at_most=at_most)

    first = Reservation("first", (("alice", 1000), ("bob", 1001)))
    assert found(0) == [first, Reservation("second", (("carol", 1002), ("dave", 1003)))]
    assert found(0, at_most=2) == [first]
    assert found(MINUTE_MS // 2) == []


async def test_users_without_a_match_are_back_in_place_after_the_deadline(pool: Pool, raw: redis_py.Redis) -> None:
    crowd(raw, pool, ["alice", "bob", "carol"])
    pool.reserve([(pair("alice", "bob"), "first")], ttl_ms=1)

    async def is_released() -> None:
        assert pool.release(100) == ["alice", "bob"]

    await eventually(is_released)
    assert names(pool) == ["alice", "bob", "carol"]
    assert pool.reservations(ttl_ms=1, older_than_ms=0, at_most=100) == []


def test_scripts_are_loaded_again_when_redis_has_forgotten_them(pool: Pool, raw: redis_py.Redis) -> None:
    enqueue(pool, "alice", "bob")
    raw.script_flush()
    assert pool.reserve([(pair("alice", "bob"), "first")], ttl_ms=MINUTE_MS) == ["new"]
    raw.script_flush()
    assert pool.release(100) == []


def test_a_wrong_request_is_refused_with_what_would_be_right(pool: Pool) -> None:
    with pytest.raises(PoolError, match="release expected a limit of 1 or more"):
        pool.release(0)


def test_a_gateway_enters_beats_reads_the_token_and_leaves(pool: Pool, raw: redis_py.Redis) -> None:
    assert pool.beat("alice") == ["UNKNOWN"]
    assert pool.enqueue("alice", "tab-1") == ["UNSERVED"]
    serve(pool)
    assert pool.enqueue("alice", "tab-1")[:2] == ["OK", "new"]
    assert pool.beat("alice", "tab-2", take=True)[:2] == ["OK", "WAITING"]
    assert pool.beat("alice", "tab-1") == ["REPLACED"]
    assert pool.token("uid", "alice") is None
    raw.hset(f"{pool.prefix}tokens:uid", "alice", "{}")
    assert pool.token("uid", "alice") == "{}"
    assert pool.leave("alice", "tab-2") == ["OK", "new"]
    assert names(pool) == []
