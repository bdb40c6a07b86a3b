"""docs/reference/redis-rights.md: who may read and write each key, and the commands that give these rights in Redis."""

from __future__ import annotations

import textwrap
from typing import Final

from controller.clients.redis.keys import KEY_RULES, Access, KeyRule, Role
from controller.clients.redis.rights import ALL_NAMESPACES, Dialect, rules, user_name
from controller.generate.markdown import table

_OTHERS: Final = (Role.GATEWAY, Role.MATCHMAKER, Role.MODERATOR)
_WORDS: Final = {Access.NONE: "", Access.READ: "reads", Access.WRITE: "writes", Access.BOTH: "reads, writes"}
_WIDTH: Final = 110

_TEXT: Final = """\
# Rights in Redis

The operator, gateways and matchmakers share one Redis. Each should log in as a user of its own, with no more rights
than it needs: then neither a fault in a gateway nor a stolen password touches the ledgers of calls, or the operator's
fences. Roomkeeper's own tests log in with them.

## Who may touch which key

Only the operator may touch a key with an empty row, and such a key has the prefix
`rk-operator:{{<cluster id>:<namespace>}}:`. All others have the prefix `rk:{{<cluster id>:<namespace>}}:`, and the
operator may read and write them too.

{keys}

## The users

These are the commands for Redis 7 and later and for Valkey, and for the cluster id `default`. The operator serves all
namespaces; the others have one each, `calls`. Replace `PASSWORD`, the cluster id and the namespace. The name of a user
is yours to choose. In a file that the setting `aclfile` of Redis names, a line begins with `user` instead of
`ACL SETUSER`. Redis forgets at its next restart what is not in a file: save it with `ACL SAVE`, or with
`CONFIG REWRITE` if the users are in the configuration file, on every node
([keys.md](../keys.md#the-password-of-redis)).

A gateway and a matchmaker call the [functions](../redis.md#calling-functions). A right on a key holds outside the
functions too: a gateway can write the users of its own pool, and of no other.

{users}

Many clients send `CLIENT SETINFO` when they connect, and go on if Redis refuses it. Redis 7.2 and later, and Valkey,
take `+client|setinfo` as well, which keeps these refusals out of `ACL LOG`; Redis 7.0 would refuse the whole user.

The URL of the operator then is `redis://{operator}:PASSWORD@HOST:6379/0`. Older clients that set
[flags](../redis.md#flags-of-older-clients) are gateways.

## The users of Redis 6.2

Redis 6.2 has no functions and no right to read only. There, and wherever gateways and matchmakers send
[scripts](../redis.md#calling-scripts), the rules give each of them all rights on the keys that it needs:

{old}
"""


def rights_page(header: str) -> str:
    """The page."""
    keys = table(("key", "type", *(role.value for role in _OTHERS)), map(_row, KEY_RULES))
    users, old = ("\n\n".join(_user(role, dialect) for role in Role) for dialect in Dialect)
    return f"{header}\n\n{_TEXT.format(keys=keys, users=users, old=old, operator=user_name(Role.OPERATOR))}"


def _row(rule: KeyRule) -> tuple[str, ...]:
    return (f"`{rule.form}`", rule.type, *(_WORDS[rule.access(role)] for role in _OTHERS))


def _user(role: Role, dialect: Dialect) -> str:
    namespace = ALL_NAMESPACES if role is Role.OPERATOR else "calls"
    reset, switch, *rest = rules(role, "default", namespace, dialect)
    words = " ".join((reset, switch, ">PASSWORD", *rest))
    lines = textwrap.wrap(
        f"ACL SETUSER {user_name(role)} {words}", _WIDTH, break_long_words=False, break_on_hyphens=False
    )
    text = " \\\n    ".join(lines)
    return f"The {role}:\n\n```text\n{text}\n```"
