"""The users of Redis with the fewest rights that the operator, a gateway, a matchmaker and a moderator can work with.

The rules follow from the table of keys (`keys.KEY_RULES`), from the commands that the scripts use, and from the few
that clients send themselves. `generate.rights_page` prints them for administrators, and the tests' stack logs in with
them. They need Redis 7 or Valkey. Gateways and matchmakers call the function library: Redis demands the right to write
every key that an EVAL or EVALSHA names, but looks at what a function does. A right on a key is a right outside the
functions too: a gateway can spoil the users of its own pool, but not the ledgers and fences of the operator.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

import contract
from controller.clients.redis import lua
from controller.clients.redis.keys import KEY_RULES, Access, KeyRule, Role, epoch_key, unserved_channel

ALL_NAMESPACES: Final = "*"

# Redis lets every user send AUTH, HELLO, QUIT and RESET.
# Not CLIENT SETINFO: Redis knows it since 7.2 only, and refuses a user with a command that it does not know.
_CONNECTION: Final = ("ping", "select", "client|setname")
_FUNCTIONS: Final = ("fcall", "fcall_ro")
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


def rules(role: Role, cluster_id: str, namespace: str = ALL_NAMESPACES) -> tuple[str, ...]:
    """The rules of `ACL SETUSER` for a role, without the password: keys, channels, commands.

    A namespace is one pool; `ALL_NAMESPACES` stands for all pools of the operator `cluster_id`.
    """
    channels = [f"&{unserved_channel(_escaped(cluster_id))}"] if role in {Role.OPERATOR, Role.GATEWAY} else []
    return ("reset", "on", *_keys(role, cluster_id, namespace), *channels, *_commands(role))


def commands(role: Role) -> tuple[str, ...]:
    """The commands that a role sends, or that a function sends for it; in the alphabet's order."""
    own = (*_CONNECTION, *_OWN_COMMANDS[role], *_in_scripts(_SCRIPTS[role]))
    return tuple(sorted(set(own)))


def _commands(role: Role) -> Iterator[str]:
    return (f"+{command}" for command in commands(role))


def _in_scripts(texts: Iterable[str]) -> Iterator[str]:
    return (name.lower() for text in texts for name in _CALL.findall(text))


def _keys(role: Role, cluster_id: str, namespace: str) -> Iterator[str]:
    pool = f"{{{_escaped(cluster_id)}:{namespace if namespace == ALL_NAMESPACES else _escaped(namespace)}}}:"
    if role is Role.OPERATOR:
        yield f"~{_escaped(epoch_key(cluster_id))}"
    if role in {Role.GATEWAY, Role.MATCHMAKER}:
        yield f"~rk:{pool}"  # the one key of a function
    for rule in KEY_RULES:
        if access := rule.access(role):
            prefix = "rk-operator" if rule.is_private else "rk"
            yield f"{_PATTERNS[access]}{prefix}:{pool}{_stem(rule)}"


def _stem(rule: KeyRule) -> str:
    stem, _, name = rule.form.partition("<")
    return f"{stem}*" if name else stem


def _escaped(text: str) -> str:
    """The text as a pattern that only matches itself."""
    return re.sub(r"([*?\[\]\\])", r"\\\1", text)
