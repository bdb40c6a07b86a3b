"""The URLs of Redis that the example reads: what it takes from each, and what is wrong."""

from __future__ import annotations

from typing import Any

import pytest
import redis as redis_py

from examples.matchmaker import servers
from examples.matchmaker.servers import opener


def test_the_url_of_sentinels_names_the_master_its_database_and_two_logins() -> None:
    client: Any = opener(
        "rediss+sentinel://ann:p%40ss@s1,s2:26380/calls/3"
        "?sentinel_password=hunter2&ssl_ca_certs=/ca.crt&ssl_check_hostname=false"
    )()
    pool = client.connection_pool
    assert (pool.service_name, pool.connection_kwargs["db"]) == ("calls", 3)
    assert (pool.connection_kwargs["username"], pool.connection_kwargs["password"]) == ("ann", "p@ss")
    assert pool.connection_kwargs["ssl_ca_certs"] == "/ca.crt"
    asked = [one.connection_pool.connection_kwargs for one in pool.sentinel_manager.sentinels]
    assert [(one["host"], one["port"], one["password"]) for one in asked] == [
        ("s1", 26379, "hunter2"), ("s2", 26380, "hunter2"),
    ]  # fmt: skip
    assert all(one["ssl_ca_certs"] == "/ca.crt" for one in asked)


def test_the_url_of_a_cluster_names_nodes_and_a_login(monkeypatch: pytest.MonkeyPatch) -> None:
    made: dict[str, Any] = {}

    def cluster(**options: Any) -> None:
        made.update(options)

    monkeypatch.setattr(servers, "RedisCluster", cluster)
    opener("redis+cluster://:secret@c1,[::1]:7001")()
    assert [(node.host, node.port) for node in made["startup_nodes"]] == [("c1", 6379), ("::1", 7001)]
    assert (made["password"], made["decode_responses"], "ssl" in made) == ("secret", True, False)


def test_a_cluster_that_does_not_answer_is_an_error_of_redis() -> None:
    connect = opener("redis+cluster://127.0.0.1:1")
    with pytest.raises(redis_py.RedisError):
        connect()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("redis+sentinel://s1,s2", "name the master"),
        ("redis+cluster://c1,,c2", "a host has no name"),
        ("redis+other://c1", "expected redis://"),
        ("http://c1", "scheme"),
    ],
)
def test_a_url_that_is_wrong_is_refused_at_once(url: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        opener(url)
