"""What an INFO says about a Redis, and the warnings that follow."""

from __future__ import annotations

import pytest

from controller.clients.redis.server_info import ServerInfo

FINE = {
    "redis_version": "7.4.1",
    "maxmemory": "0",
    "maxmemory_policy": "noeviction",
    "used_memory": "1000",
    "aof_enabled": "1",
}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, []),
        ({"redis_version": "6.2.0"}, []),
        ({"redis_version": "10.0.0"}, []),
        ({"redis_version": "6.0.16"}, ["Redis 6.0.16 is older than 6.2"]),
        ({"redis_version": "5.0"}, ["Redis 5.0 is older than 6.2"]),
        ({"redis_version": "7.2.4", "valkey_version": "9.1.2"}, []),
        ({"maxmemory_policy": "allkeys-lru"}, []),
        (
            {"maxmemory_policy": "allkeys-lru", "maxmemory": "9000", "maxmemory_human": "8.8K"},
            ["maxmemory-policy is allkeys-lru at 8.8K: users vanish when the memory is full; set it to noeviction"],
        ),
        ({"maxmemory": "1200"}, []),
        ({"maxmemory": "1100"}, ["91 % of maxmemory (1100) are used"]),
        ({"aof_enabled": "0"}, ["it keeps no append-only file"]),
        (
            {"redis_version": "6.0", "maxmemory": "1000", "maxmemory_policy": "volatile-ttl", "aof_enabled": "0"},
            ["is older", "volatile-ttl", "100 % of", "append-only"],
        ),
    ],
)
def test_each_concern_has_a_sentence(changes: dict[str, str], words: list[str]) -> None:
    found = list(ServerInfo({**FINE, **changes}).warnings())
    assert len(found) == len(words)
    for sentence, expected in zip(found, words, strict=True):
        assert expected in sentence


@pytest.mark.parametrize("fields", [{}, {"redis_version": "next", "maxmemory": "much", "used_memory": ""}])
def test_what_a_server_does_not_tell_is_no_concern(fields: dict[str, str]) -> None:
    info = ServerInfo(fields)
    assert not list(info.warnings())
    assert (info.is_too_old, info.evicts, info.is_nearly_full, info.has_append_only_file) == (False, False, False, None)


def test_the_program_is_named() -> None:
    assert ServerInfo(FINE).name == "Redis 7.4.1"
    assert ServerInfo({**FINE, "valkey_version": "9.1.2"}).name == "Valkey 9.1.2"
    assert ServerInfo({}).name == "Redis ?"
