"""The users of docs/reference/redis-rights.md: each can do its work, through functions too, and nothing else."""

from __future__ import annotations

import itertools
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from redis import exceptions

import contract
from controller.clients.redis import inspection
from controller.clients.redis.client import Redis
from controller.clients.redis.epochs import Epochs, EpochStore
from controller.clients.redis.gateway import Beat, Left, Queued, ReservedPair, Unserved
from controller.clients.redis.inbox import Inbox
from controller.clients.redis.keys import KEY_RULES, Access, KeyRule, Role
from controller.clients.redis.replies.match import ClaimOk
from controller.clients.redis.rights import rules, user_name
from controller.clients.redis.sweeps import Notes, SweepStore
from controller.errors import Forbidden
from controller.generate.script_headers import parse
from tests.redis.doors import FunctionsRedis
from tests.redis.servers import Server
from tests.redis.sweeping import Sweeping
from tests.redis.test_told import whole_life
from tests.redis.world import World

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "redis-rights.md").read_text(encoding="utf-8")


@dataclass
class Users:
    """One pool, and a client for each user of Redis, with the rights for this pool alone."""

    world: World
    clients: dict[Role, Redis]

    def as_role(self, role: Role) -> World:
        """The pool as this user sees it."""
        redis = self.clients[role]
        pool = replace(self.world.pool, redis=redis)
        return replace(self.world, redis=redis, pool=pool, gateway=replace(self.world.gateway, redis=redis))


@pytest.fixture
async def users(server: Server, world: World) -> AsyncIterator[Users]:
    administrator = FunctionsRedis.from_url(server.url)
    await administrator.load()
    await administrator.close()
    clients: dict[Role, Redis] = {}
    for role in Role:
        name = f"{user_name(role)}-{world.keys.namespace}"
        words = rules(role, world.keys.cluster_id, world.keys.namespace)
        await world.raw("ACL", "SETUSER", name, *words, ">secret")
        kind = FunctionsRedis if role in {Role.GATEWAY, Role.MATCHMAKER} else Redis
        clients[role] = kind.from_url(f"{server.url.replace('unix://', f'unix://{name}:secret@')}")
    yield Users(world, clients)
    for role, client in clients.items():
        await client.close()
        await world.raw("ACL", "DELUSER", f"{user_name(role)}-{world.keys.namespace}")


async def test_a_gateway_can_do_all_that_gateways_do(users: Users) -> None:
    gateway, world = users.as_role(Role.GATEWAY), users.world
    assert isinstance(await gateway.gateway.enqueue("alice", session="a"), Queued)
    assert isinstance(await gateway.gateway.enqueue("alice", session="b"), Queued)
    assert isinstance(await gateway.gateway.beat("alice", session="c", take=True), Beat)
    assert isinstance(await gateway.gateway.leave("alice"), Left)
    assert (await gateway.user("alice")).state == "IDLE"
    await gateway.raw("XADD", world.keys.signals(), "*", "type", "skip", "user", "alice")
    assert await gateway.raw("XRANGE", world.keys.notify("alice"), "-", "+")
    assert await gateway.gateway.tokens("m1", "alice") is None
    assert await gateway.raw("HGETALL", world.keys.served())
    await gateway.raw("SET", world.keys.pre_skip("alice"), "1", "EX", 10)
    await world.raw("DEL", world.keys.served())
    assert await gateway.gateway.enqueue("alice") == Unserved()


async def test_a_matchmaker_can_do_all_that_matchmakers_do(users: Users) -> None:
    matchmaker, world = users.as_role(Role.MATCHMAKER), users.world
    for who in ("alice", "bob"):
        await world.enqueue(who)
    assert len(await matchmaker.gateway.waiting()) == 2
    assert isinstance(await matchmaker.gateway.reserve("m", ("alice", "bob"), ttl_seconds=60), ReservedPair)
    assert await matchmaker.raw("ZRANGE", world.keys.reserved(), 0, -1)
    assert await matchmaker.raw("HMGET", world.keys.reservations(), "alice")
    await world.raw("ZADD", world.keys.reserved(), 1, "alice")
    assert await matchmaker.gateway.release_expired() == ("alice",)
    await matchmaker.raw("ZRANGEBYSCORE", world.keys.recent("alice"), 0, "+inf")
    await matchmaker.raw("EXISTS", world.keys.blocked("alice"))
    await matchmaker.raw("XREAD", "STREAMS", world.keys.events(), world.keys.disconnects(), "0", "0")
    await matchmaker.raw("TIME")


async def test_a_moderator_can_block_a_user(users: Users) -> None:
    moderator = users.as_role(Role.MODERATOR)
    await moderator.raw("SET", moderator.keys.blocked("alice"), "abuse", "EX", 60)
    await moderator.raw("DEL", moderator.keys.blocked("alice"))


async def test_the_operator_can_sweep(users: Users, server: Server) -> None:
    operator, world = users.as_role(Role.OPERATOR), users.world
    await world.enqueue("alice")
    await world.raw("HSET", world.keys.user("alice"), "state", "IN_CALL", "match", "u-gone", "since", 1)
    await world.raw("HSET", world.keys.user("bob"), "state", "IDLE", "since", 1)
    await world.raw("ZADD", world.keys.live(), 1, "u-without-a-ledger")
    await world.raw("ZADD", world.keys.reserved(), 1, "carol")
    await world.raw("XADD", world.keys.notify("dan"), "1-0", "type", "ended")
    await world.raw("SET", world.keys.session("s"), "u-gone")
    sweeping = Sweeping(operator, server, max_age_seconds=0)
    assert len(await sweeping.sweep()) == 6
    assert await sweeping.find() == []
    store = SweepStore(operator.redis, operator.keys.cluster_id, f"{operator.keys.namespace}/lease")
    assert isinstance(await store.keep("another", ttl_seconds=1, force=True), Notes)
    assert await store.holder() == "another"
    assert isinstance(await store.give_back("another", {"cursor": 0}), Notes)
    assert (await store.read()).text("cursor") == "0"


async def test_the_operator_can_run_all_of_its_scripts(users: Users) -> None:
    operator, world = users.as_role(Role.OPERATOR), users.world
    mixed = replace(operator, gateway=world.gateway, redis=world.redis)
    await mixed.serve()
    await whole_life(mixed)
    assert isinstance(await operator.claim("m9", "zoe", "yves"), ClaimOk)
    assert await operator.ledger("m9")
    inbox = Inbox(operator.pool)
    await inbox.set_signals_done("1-0")
    assert await inbox.signals_done() == "1-0"
    assert await inbox.flags(("alice",)) == ()
    await inbox.silent(for_seconds=90, late_after_seconds=60)
    assert await operator.pool.live()
    assert await EpochStore(operator.redis, operator.keys.cluster_id, "ns/lease").note(1) == Epochs(1, 1)
    assert await operator.pool.holder("zoe") == "m9"
    assert not await operator.pool.is_tombstoned("rk-9")
    assert await inspection.holders(operator.redis, operator.keys, ("zoe", "nemo")) == {"zoe": "m9", "nemo": None}
    assert await inspection.tombstoned(operator.redis, operator.keys, ("rk-9",)) == frozenset()
    assert await inspection.with_losses(operator.redis, [operator.pool]) == ()
    assert await inspection.has_people(operator.redis, operator.keys)
    await operator.redis.delete(operator.keys.served())
    assert await operator.redis.last_id(operator.keys.webhooks(0)) == "0-0"


Words = dict[str, Callable[[str], tuple[str | int, ...]]]

WRITES: Words = {
    "string": lambda key: ("SET", key, "x"),
    "hash": lambda key: ("HSET", key, "a", "b"),
    "zset": lambda key: ("ZADD", key, 1, "a"),
    "stream": lambda key: ("XADD", key, "*", "a", "b"),
}
READS: Words = {
    "string": lambda key: ("GET", key),
    "hash": lambda key: ("HGETALL", key),
    "zset": lambda key: ("ZRANGEBYSCORE", key, 0, 1),
    "stream": lambda key: ("XRANGE", key, "-", "+"),
}
FORBIDDEN = [
    pytest.param(role, rule, words, id=f"{role}-{rule.form.partition('<')[0]}-{what}")
    for role, rule in itertools.product((Role.GATEWAY, Role.MATCHMAKER, Role.MODERATOR), KEY_RULES)
    for what, words, needed in (("read", READS, Access.READ), ("write", WRITES, Access.WRITE))
    if rule.access(role) not in {needed, Access.BOTH}
]


@pytest.mark.parametrize(("role", "rule", "words"), FORBIDDEN)
async def test_what_the_table_does_not_give_is_refused(users: Users, role: Role, rule: KeyRule, words: Words) -> None:
    world = users.as_role(role)
    prefix = world.keys.private if rule.is_private else world.keys.prefix
    await refused(world, *words[rule.type](prefix + rule.form.replace("<", "").replace(">", "")))


async def test_a_claim_that_may_take_no_user_out_of_the_queue_writes_nothing_however_often_it_is_sent(
    users: Users,
) -> None:
    """A ledger that is written by half would be the replay of a claim that never was."""
    operator, world = users.as_role(Role.OPERATOR), users.world
    name = f"{user_name(Role.OPERATOR)}-{world.keys.namespace}"
    places = {who: await world.enqueue(who) for who in ("alice", "bob")}
    await world.raw("ACL", "SETUSER", name, "-zrem")
    for _ in range(2):
        with pytest.raises(Forbidden, match="NOPERM"):
            await operator.claim("m1", "alice", "bob")
    assert await world.raw("EXISTS", world.keys.match("m1")) == 0
    assert await world.queue() == places
    await world.raw("ACL", "SETUSER", name, "+zrem")
    assert isinstance(await operator.claim("m1", "alice", "bob"), ClaimOk)


async def refused(world: World, *words: str | int) -> None:
    with pytest.raises(exceptions.ResponseError, match="NOPERM"):
        await world.raw(*words)


@pytest.mark.parametrize("role", [Role.GATEWAY, Role.MATCHMAKER, Role.MODERATOR])
async def test_no_other_user_reaches_another_pool_or_administers_the_server(users: Users, role: Role) -> None:
    world = users.as_role(role)
    for words in (
        ("GET", "rk:{test:another}:blocked:alice"),
        ("EVAL", "return 1", 0),
        ("FLUSHALL",),
        ("KEYS", "*"),
        ("SCAN", 0),
        ("CONFIG", "GET", "*"),
        ("ACL", "LIST"),
        ("FUNCTION", "LOAD", "REPLACE", contract.library()),
        ("DEL", world.keys.queue()),
        ("SUBSCRIBE", "rk:unserved:test"),
    ):
        await refused(world, *words)


@pytest.mark.parametrize("role", [Role.GATEWAY, Role.MATCHMAKER])
async def test_a_function_reaches_no_key_of_another_pool(users: Users, role: Role) -> None:
    world, other = users.as_role(role), "rk:{test:another}:"
    name, *arguments = ("enqueue", "alice", "") if role is Role.GATEWAY else ("release", "10")
    await refused(world, "FCALL", f"roomkeeper_{name}", 1, other, *arguments)


async def test_a_matchmaker_enqueues_no_user_and_a_gateway_may_not_reach_the_operators_keys_by_a_function(
    users: Users,
) -> None:
    matchmaker, gateway = users.as_role(Role.MATCHMAKER), users.as_role(Role.GATEWAY)
    before = await users.world.snapshot()
    with pytest.raises(exceptions.ResponseError, match=r"(?i)permission|can't access"):
        await matchmaker.raw("FCALL", "roomkeeper_enqueue", 1, matchmaker.keys.prefix, "alice", "")
    await refused(gateway, "SET", gateway.keys.fence(0), 3_000_000_000)
    assert await users.world.snapshot() == before


async def test_the_operator_has_no_rights_beyond_its_pools(users: Users) -> None:
    operator = users.as_role(Role.OPERATOR)
    for words in (("GET", "anything"), ("FLUSHALL",), ("CONFIG", "GET", "*"), ("KEYS", "*"), ("ACL", "LIST")):
        await refused(operator, *words)


def test_the_page_prints_the_rules_that_are_tested_here() -> None:
    for role in Role:
        printed = re.search(rf"ACL SETUSER {user_name(role)} ((?:.*\\\n)*.*)\n```", PAGE)
        assert printed
        words = printed[1].replace("\\\n", " ").split()
        words.remove(">PASSWORD")
        assert tuple(words) == rules(role, "default", "*" if role is Role.OPERATOR else "calls")


@pytest.mark.parametrize("name", contract.SCRIPTS)
def test_every_key_of_a_published_script_is_in_the_table(name: str) -> None:
    role = Role.MATCHMAKER if name in {"reserve", "release"} else Role.GATEWAY
    granted = {rule.form for rule in KEY_RULES if rule.access(role)}
    assert {key.form for key in parse(contract.read(f"{name}.lua")).keys} <= granted
