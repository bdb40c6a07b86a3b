"""The users of Redis with the fewest rights: each right that is missing is named with its command, never silent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest
import redis.asyncio as redis_py
from structlog.testing import capture_logs

from controller.clients.redis import lua
from controller.clients.redis.client import Redis
from controller.clients.redis.keys import Keys, Role, unserved_channel
from controller.clients.redis.pool import Pool
from controller.clients.redis.rights import rules
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
    "evalsha": (lambda redis: Pool(redis, KEYS, 0, 1).highest_epoch(10), "run EVALSHA"),
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
    "set": (lambda redis: Pool(redis, KEYS, 0, 1).highest_epoch(10), "run SET inside the script epoch"),
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
        await Pool(operator, KEYS, 0, 1).highest_epoch(10)


async def test_a_right_that_is_given_later_counts_at_once(administrator: redis_py.Redis, operator: Redis) -> None:
    words = [*rules(Role.OPERATOR, "default"), ">secret", "-time"]
    await administrator.execute_command("ACL", "SETUSER", "rk", *words)  # type: ignore[no-untyped-call]
    send, _ = SENDS["hgetall"]
    await administrator.execute_command("ACL", "SETUSER", "rk", "-hgetall")  # type: ignore[no-untyped-call]
    with pytest.raises(Forbidden):
        await send(operator)
    await administrator.execute_command("ACL", "SETUSER", "rk", "+hgetall")  # type: ignore[no-untyped-call]
    await send(operator)
