"""The servers behind a URL of Redis: one, the master that sentinels name, or the nodes of a cluster.

The URLs are those of the operator: `redis://`, `rediss://` and `unix://` as redis-py reads them, and

    redis+sentinel://[USER:PASSWORD@]HOST[:PORT],HOST[:PORT]/NAME[/DB]
    redis+cluster://[USER:PASSWORD@]HOST[:PORT],HOST[:PORT]

each also with `rediss+`. Their parameters are those of redis-py; `sentinel_username` and `sentinel_password` are for
the sentinels.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeAlias, cast
from urllib.parse import unquote, urlsplit

import redis
from redis.cluster import ClusterNode, RedisCluster
from redis.exceptions import RedisClusterException
from redis.sentinel import Sentinel

Client: TypeAlias = redis.Redis | RedisCluster

_TIMEOUT_SECONDS = 5.0
_TIMEOUTS = {"socket_timeout": _TIMEOUT_SECONDS, "socket_connect_timeout": _TIMEOUT_SECONDS}
_PORTS = {"sentinel": 26379, "cluster": 6379}
# What follows the scheme. Python's own parser refuses an IPv6 address that is not the first host.
_PARTS = re.compile(r"([^/?#]*)([^?#]*)(?:\?([^#]*))?(?:#(?s:.*))?")


# redis-py has no types for these.
_parse_url = cast("Callable[[str], dict[str, Any]]", redis.connection.parse_url)
_sentinel = cast("Callable[..., Any]", Sentinel)
_node = cast("Callable[..., ClusterNode]", ClusterNode)


def opener(url: str) -> Callable[[], Client]:
    """What connects to the servers of a URL. Raises ValueError for a URL that is wrong."""
    scheme, separator, kind = url.partition("://")[0].partition("+")
    if not separator:
        client = redis.Redis.from_url(url, decode_responses=True, **_TIMEOUTS)
        return lambda: client
    if scheme not in {"redis", "rediss"} or kind not in _PORTS:
        raise ValueError("expected redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://")
    parts = _PARTS.fullmatch(url.partition("://")[2])
    assert parts is not None, "every text has this form"
    authority, path, query = parts.groups(default="")
    userinfo, at, hosts = authority.rpartition("@")
    nodes = [_host_and_port(host, _PORTS[kind]) for host in hosts.split(",")]
    name, _, database = path.strip("/").partition("/")
    # What is left is a URL of one server, whose parameters redis-py can read.
    options = _parse_url(f"redis://{userinfo}{at}host/{database}?{query}")
    del options["host"]
    options |= {"decode_responses": True, **_TIMEOUTS, **({"ssl": True} if scheme == "rediss" else {})}
    if kind == "cluster":
        return lambda: _of_cluster(nodes, options)
    if not name:
        raise ValueError("name the master: redis+sentinel://HOST,HOST/NAME")
    return lambda: _of_sentinels(nodes, unquote(name), options)


def _of_sentinels(nodes: list[tuple[str, int]], name: str, options: dict[str, Any]) -> redis.Redis:
    """A client of the master. Each new connection asks the sentinels which server that is."""
    login = {key: options.get(f"sentinel_{key}") for key in ("username", "password")}
    tls = {key: value for key, value in options.items() if key.startswith("ssl")}
    data = {key: value for key, value in options.items() if not key.startswith("sentinel_")}
    sentinel = _sentinel(nodes, sentinel_kwargs={**login, **tls, **_TIMEOUTS}, **data)
    return cast("redis.Redis", sentinel.master_for(name))


def _of_cluster(nodes: list[tuple[str, int]], options: dict[str, Any]) -> RedisCluster:
    """A client that sends each command to the node that has its keys, and follows keys that move."""
    try:
        return RedisCluster(startup_nodes=[_node(*node) for node in nodes], **options)
    except RedisClusterException as error:  # it is no RedisError
        raise redis.ConnectionError(str(error)) from None


def _host_and_port(text: str, default: int) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    if not parts.hostname:
        raise ValueError("a host has no name: expected HOST[:PORT],HOST[:PORT]")
    return parts.hostname, parts.port or default
