"""The users of Redis with the fewest rights: each right that is missing is named with its command, never silent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest
import redis.asyncio as redis_py
from structlog.testing import capture_logs

from controller.clients.redis import lua
from controller.clients.redis.client import Redis
from controller.clients.redis.epochs import EpochStore
from controller.clients.redis.gateway import Beat, Gateway, Left, Queued, ReservedPair
from controller.clients.redis.keys import Keys, Role, unserved_channel
from controller.clients.redis.pool import Pool
from controller.clients.redis.requests import Served
from controller.clients.redis.rights import Dialect, rules
from controller.clients.redis.sweeps import SweepStore
from controller.errors import Forbidden
from controller.settings.redis_address import fixed_address
from tests.redis.servers import Server, programs, running
from tests.support.real_programs import MARKER

pytestmark = getattr(pytest.mark, MARKER)

KEYS = Keys("default", "calls")


@pytest.fixture(scope="module", params=sorted(programs()))
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with running(request.param) as started:
        yield started


@pytest.fixture
async def administrator(server: Server) -> AsyncIterator[redis_py.Redis]:
    client = redis_py.Redis.from_url(server.url)
    yield client
    await client.acl_deluser("rk")
    await client.aclose()


@pytest.fixture
async def operator(server: Server) -> AsyncIterator[Redis]:
    """A client that logs in as the operator."""
    client = Redis(fixed_address(server.url.replace("unix://", "unix://rk:secret@")))
    yield client
    await client.close()


async def listen(redis: Redis) -> None:
    await redis.listen(unserved_channel("default"), lambda _: None, alive=lambda: None)


SENDS: dict[str, tuple[Callable[[Redis], Awaitable[object]], str]] = {
    "xread": (lambda redis: redis.read_streams({KEYS.signals(): "0"}, block_seconds=0.01), "run XREAD"),
    "subscribe": (listen, "run SUBSCRIBE"),
    "info": (lambda redis: redis.info(), "run INFO"),
    "hgetall": (lambda redis: redis.hash(KEYS.match("m")), "run HGETALL"),
    "evalsha": (lambda redis: EpochStore(redis, KEYS.cluster_id, "ns/lease").note(1), "run EVALSHA"),
    "scan": (lambda redis: redis.scan("*", "0", count=10), "run SCAN"),
}


@pytest.mark.parametrize("command", ["xread", "subscribe", "info", "hgetall", "evalsha", "scan"])
async def test_a_command_without_its_right_is_forbidden_named_and_warned_of_once(
    administrator: redis_py.Redis, operator: Redis, command: str
) -> None:
    words = [*rules(Role.OPERATOR, "default"), ">secret", f"-{command}"]
    await administrator.execute_command("ACL", "SETUSER", "rk", *words)  # type: ignore[no-untyped-call]
    send, what = SENDS[command]
    with capture_logs() as logs:
        for _ in range(3):
            with pytest.raises(Forbidden) as caught:
                await send(operator)
    assert caught.value.sentence.startswith(f"Redis: the user of Redis may not {what}")
    assert caught.value.sentence.endswith("give it the rights of docs/reference/redis-rights.md")
    assert [(line["event"], line["code"]) for line in logs if line["log_level"] == "warning"] == [
        ("a request failed", "NOPERM")
    ]


INSIDE: dict[str, tuple[Callable[[Redis], Awaitable[object]], str]] = {
    "get": (lambda redis: Pool(redis, KEYS, 0, 1).ensure_incarnation(), "run GET inside the script incarnation"),
    "hset": (lambda redis: EpochStore(redis, KEYS.cluster_id, "ns/lease").note(1), "run HSET inside the script epoch"),
    "time": (
        lambda redis: redis.run(lua.SILENT, [KEYS.heartbeats()], [1000, 1000, "", "", 10]),
        "run TIME inside the script silent",
    ),
}


@pytest.mark.parametrize("command", INSIDE)
async def test_a_command_without_its_right_is_named_inside_a_script(
    administrator: redis_py.Redis, operator: Redis, command: str
) -> None:
    await administrator.flushall()
    words = [*rules(Role.OPERATOR, "default"), ">secret", f"-{command}"]
    await administrator.execute_command("ACL", "SETUSER", "rk", *words)  # type: ignore[no-untyped-call]
    send, what = INSIDE[command]
    with pytest.raises(Forbidden) as caught:
        await send(operator)
    assert f"may not {what} (NOPERM)" in caught.value.sentence
    assert caught.value.code == "NOPERM"


async def test_a_key_without_its_right_is_forbidden_inside_and_outside_of_a_script(
    administrator: redis_py.Redis, operator: Redis
) -> None:
    words = [*rules(Role.OPERATOR, "another"), ">secret"]
    await administrator.execute_command("ACL", "SETUSER", "rk", *words)  # type: ignore[no-untyped-call]
    with pytest.raises(Forbidden, match="may not touch a key of HGETALL"):
        await operator.hash(KEYS.match("m"))
    with pytest.raises(Forbidden, match="may not touch a key of epoch"):
        await EpochStore(operator, KEYS.cluster_id, "ns/lease").note(1)


async def test_without_the_new_keys_of_the_sweeps_their_lock_alone_is_refused_and_named(
    administrator: redis_py.Redis, operator: Redis
) -> None:
    words = [word for word in (*rules(Role.OPERATOR, "default"), ">secret") if ":sweep" not in word]
    await administrator.execute_command("ACL", "SETUSER", "rk", *words)  # type: ignore[no-untyped-call]
    assert (await EpochStore(operator, KEYS.cluster_id, "ns/lease").note(1)).own == 1
    with pytest.raises(Forbidden, match=r"may not touch a key of sweeps .*docs/reference/redis-rights.md"):
        await SweepStore(operator, KEYS.cluster_id, "ns/lease").keep("operator/1/pod", ttl_seconds=1)


async def test_a_right_that_is_given_later_counts_at_once(administrator: redis_py.Redis, operator: Redis) -> None:
    words = [*rules(Role.OPERATOR, "default"), ">secret", "-time"]
    await administrator.execute_command("ACL", "SETUSER", "rk", *words)  # type: ignore[no-untyped-call]
    send, _ = SENDS["hgetall"]
    await administrator.execute_command("ACL", "SETUSER", "rk", "-hgetall")  # type: ignore[no-untyped-call]
    with pytest.raises(Forbidden):
        await send(operator)
    await administrator.execute_command("ACL", "SETUSER", "rk", "+hgetall")  # type: ignore[no-untyped-call]
    await send(operator)


@pytest.fixture
async def with_scripts(server: Server, administrator: redis_py.Redis) -> AsyncIterator[dict[Role, Gateway]]:
    """A gateway and a matchmaker that send scripts, with the rules that Redis 6.2 understands."""
    await administrator.flushall()
    made: dict[Role, Gateway] = {}
    for role in (Role.GATEWAY, Role.MATCHMAKER):
        words = [*rules(role, "default", "calls", Dialect.SCRIPTS), ">secret"]
        await administrator.execute_command("ACL", "SETUSER", role.value, *words)  # type: ignore[no-untyped-call]
        made[role] = Gateway(Redis.from_url(server.url.replace("unix://", f"unix://{role}:secret@")), KEYS)
    yield made
    for role, gateway in made.items():
        await gateway.redis.close()
        await administrator.acl_deluser(role.value)


async def test_gateways_and_matchmakers_can_send_scripts_with_the_rules_of_redis_6_2(
    administrator: redis_py.Redis, with_scripts: dict[Role, Gateway]
) -> None:
    gateway, matchmaker = with_scripts[Role.GATEWAY], with_scripts[Role.MATCHMAKER]
    await administrator.hset(KEYS.served(), "cluster", "default")
    for user in ("alice", "bob"):
        assert isinstance(await gateway.enqueue(user, session="tab"), Queued)
    assert isinstance(await gateway.beat("alice", session="tab"), Beat)
    assert isinstance(await matchmaker.reserve("match", ("alice", "bob"), ttl_seconds=0.001), ReservedPair)
    await asyncio.sleep(0.002)
    assert set(await matchmaker.release_expired()) == {"alice", "bob"}
    assert isinstance(await gateway.leave("alice", session="tab"), Left)
    await gateway.redis.append(KEYS.signals(), {"type": "skip", "user": "bob"}, max_entries=10)
    for client, key in ((gateway, KEYS.fence(0)), (matchmaker, KEYS.user("bob")), (gateway, KEYS.match("m"))):
        with pytest.raises(Forbidden):
            await client.redis.put(key, "x")


async def test_the_operator_works_with_the_rules_of_redis_6_2(administrator: redis_py.Redis, operator: Redis) -> None:
    words = [*rules(Role.OPERATOR, "default", dialect=Dialect.SCRIPTS), ">secret"]
    await administrator.execute_command("ACL", "SETUSER", "rk", *words)  # type: ignore[no-untyped-call]
    pool = Pool(operator, KEYS, 0, 1)
    await EpochStore(operator, KEYS.cluster_id, "ns/lease").note(1)
    pool = pool.at(await pool.ensure_incarnation())
    await pool.serve(Served("1", 30.0))
    assert await pool.live() == ()
    await operator.info()
