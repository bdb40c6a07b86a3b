"""The users of Redis with the fewest rights that the operator, a gateway, a matchmaker and a moderator can work with.

The rules follow from the table of keys (`keys.KEY_RULES`), from the commands that the scripts use, and from the few
that clients send themselves. `generate.rights_page` prints them for administrators, and the tests' stack logs in with
them. With Redis 7 or Valkey, gateways and matchmakers call the function library: Redis demands the right to write every
key that an EVAL or EVALSHA names, but looks at what a function does. Redis 6.2 has no functions and no rights to read
only, so its rules give more. A right on a key is a right outside the functions too: a gateway can spoil the users of
its own pool, but not the ledgers and fences of the operator.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Final

import contract
from controller.clients.redis import lua
from controller.clients.redis.keys import (
    KEY_RULES,
    Access,
    KeyRule,
    Role,
    epoch_key,
    error_keys_of_no_pool,
    sweep_lock_key,
    sweeps_key,
    unserved_channel,
)

ALL_NAMESPACES: Final = "*"


class Dialect(StrEnum):
    """How gateways and matchmakers call, and with it what the rules may say."""

    FUNCTIONS = "functions"
    """Redis 7 and later, and Valkey."""
    SCRIPTS = "scripts"
    """Redis 6.2; every later server understands these rules as well."""


# Redis lets every user send AUTH, HELLO, QUIT and RESET.
# Not CLIENT SETINFO: Redis knows it since 7.2 only, and refuses a user with a command that it does not know.
_CONNECTION: Final = ("ping", "select", "client|setname")
# In a Redis Cluster: which node has which slot, and a command to the node that a slot is moving to. Libraries ask for
# the keys of commands, too. Every server knows these commands, so the rules are the same for all.
_CLUSTER: Final = ("asking", "cluster|info", "cluster|slots")
_CLUSTER_LIBRARIES: Final = (*_CLUSTER, "cluster|shards", "command")
_FUNCTIONS: Final = ("fcall", "fcall_ro")
_SCRIPT_CALLS: Final = ("eval", "evalsha", "script|load")
_CALL: Final = re.compile(r"redis\.p?call\('([A-Z]+)'")

_PATTERNS: Final = {Access.READ: "%R~", Access.WRITE: "%W~", Access.BOTH: "~"}

_OWN_COMMANDS: Final = {
    Role.OPERATOR: (
        *("eval", "evalsha", "scan", "subscribe", "info"),
        *("hgetall", "hget", "zrangebyscore", "get", "mget", "exists", "set", "xadd", "xrevrange", "xread"),
    ),
    Role.GATEWAY: (
        *(*_FUNCTIONS, "publish"),
        *("hget", "hgetall", "xadd", "xread", "xrange", "xrevrange", "get", "set"),
    ),
    Role.MATCHMAKER: (
        *_FUNCTIONS,
        *("zrange", "zrangebyscore", "hget", "hmget", "hgetall", "exists", "time", "zscore", "hdel", "zrem"),
        *("xread", "xrange", "xrevrange"),
    ),
    Role.MODERATOR: ("get", "set", "del", "exists", "ttl"),
}
_SCRIPTS: Final = {
    Role.OPERATOR: tuple(script.text for script in lua.ALL if script not in lua.PUBLISHED),
    Role.GATEWAY: tuple(contract.script(name) for name in ("enqueue", "beat", "leave")),
    # Of common.lua these two use only what reads and cancels reservations.
    Role.MATCHMAKER: tuple(contract.read(f"{name}.lua") for name in ("reserve", "release")),
    Role.MODERATOR: (),
}


def user_name(role: Role) -> str:
    """The name of the user of Redis for this role."""
    return f"roomkeeper-{role}"


def rules(
    role: Role, cluster_id: str, namespace: str = ALL_NAMESPACES, dialect: Dialect = Dialect.FUNCTIONS
) -> tuple[str, ...]:
    """The rules of `ACL SETUSER` for a role, without the password: keys, channels, commands.

    A namespace is one pool; `ALL_NAMESPACES` stands for all pools of the operator `cluster_id`.
    """
    channels = [f"&{unserved_channel(_escaped(cluster_id))}"] if role in {Role.OPERATOR, Role.GATEWAY} else []
    granted = (f"+{command}" for command in commands(role, dialect))
    # In Redis 6.2 `reset` may leave all channels.
    return ("reset", "on", "resetchannels", *_keys(role, cluster_id, namespace, dialect), *channels, *granted)


def commands(role: Role, dialect: Dialect = Dialect.FUNCTIONS) -> tuple[str, ...]:
    """The commands that a role sends, or that a function or a script sends for it; in the alphabet's order."""
    cluster = _CLUSTER if role is Role.OPERATOR else _CLUSTER_LIBRARIES
    own = {*_CONNECTION, *cluster, *_OWN_COMMANDS[role], *_in_scripts(_SCRIPTS[role])}
    if dialect is Dialect.SCRIPTS and own.intersection(_FUNCTIONS):
        own = own.difference(_FUNCTIONS).union(_SCRIPT_CALLS)
    return tuple(sorted(own))


def _in_scripts(texts: Iterable[str]) -> Iterator[str]:
    return (name.lower() for text in texts for name in _CALL.findall(text))


def _keys(role: Role, cluster_id: str, namespace: str, dialect: Dialect) -> Iterator[str]:
    pool = f"{{{_escaped(cluster_id)}:{namespace if namespace == ALL_NAMESPACES else _escaped(namespace)}}}:"
    if role is Role.OPERATOR:
        errors = error_keys_of_no_pool(cluster_id)
        yield f"~{_escaped(epoch_key(cluster_id))}"
        yield from (f"~{_escaped(of_lease(cluster_id, ''))}*" for of_lease in (sweep_lock_key, sweeps_key))
        yield from (f"~{_escaped(key)}" for key in (errors.errors(), errors.errors_seen()))
        yield f"~{_escaped(errors.errors_hour(''))}*"
    if role in {Role.GATEWAY, Role.MATCHMAKER} and dialect is Dialect.FUNCTIONS:
        yield f"~rk:{pool}"  # the one key of a function
    for rule in KEY_RULES:
        if access := rule.access(role):
            prefix = "rk-operator" if rule.is_private else "rk"
            pattern = _PATTERNS[access if dialect is Dialect.FUNCTIONS else Access.BOTH]
            yield f"{pattern}{prefix}:{pool}{_stem(rule)}"


def _stem(rule: KeyRule) -> str:
    stem, _, name = rule.form.partition("<")
    return f"{stem}*" if name else stem


def _escaped(text: str) -> str:
    """The text as a pattern that only matches itself."""
    return re.sub(r"([*?\[\]\\])", r"\\\1", text)
