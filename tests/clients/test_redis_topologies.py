"""Which server gets a command: sentinels that disagree, slots that move, servers that change their kind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, cast

import pytest
import structlog
from redis import exceptions
from redis.crc import key_slot

from controller.clients.redis.asking import ask_all
from controller.clients.redis.client import Redis
from controller.clients.redis.cluster import Cluster
from controller.clients.redis.errors import WrongServer, reply_error, translate
from controller.clients.redis.sentinel import Mastered, Sentinels
from controller.clients.redis.slots import Redirection, parse_info, parse_slots, redirection, slot_of
from controller.clients.redis.target import Check, Hello, Locate, Mode, parse_hello
from controller.clients.redis.topology import Connect, TopologyChanged, steady
from controller.errors import BackendRefused, BackendUnavailable
from controller.settings.redis_address import Node, RedisAddress, Topology, fixed_address
from tests.virtual_time import VirtualTime, run

A, B, C = Node("a", 1), Node("b", 2), Node("c", 3)


def away() -> exceptions.ConnectionError:
    return exceptions.ConnectionError("away")


# ---- what servers say


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("MOVED 3999 10.0.0.1:6381", Redirection(3999, Node("10.0.0.1", 6381), asks=False)),
        ("ASK 3999 10.0.0.1:6381", Redirection(3999, Node("10.0.0.1", 6381), asks=True)),
        ("MOVED 1 ::1:6381", Redirection(1, Node("::1", 6381), asks=False)),
        ("MOVED 1 redis-0.redis:6381", Redirection(1, Node("redis-0.redis", 6381), asks=False)),
        # A node that does not know its own address, or is not to tell it
        ("MOVED 1 :6381", Redirection(1, Node("a", 6381), asks=False)),
        ("MOVED 1 ?:6381", Redirection(1, Node("a", 6381), asks=False)),
        ("MOVED", None),
        ("MOVED 1", None),
        ("MOVED x 10.0.0.1:6381", None),
        ("MOVED 16384 10.0.0.1:6381", None),
        ("MOVED 1 10.0.0.1:port", None),
        ("TRYAGAIN Multiple keys request during rehashing of slot", None),
        ("ERR MOVED 1 10.0.0.1:6381", None),
    ],
)
def test_a_redirection_says_where_a_command_belongs(text: str, expected: Redirection | None) -> None:
    assert redirection(text, A) == expected


def test_the_slots_of_a_node_are_read_with_their_owners() -> None:
    rows = [
        [0, 5460, ["10.0.0.1", 7000, "id", ["hostname", "one"]], ["10.0.0.2", 7001, "id", []]],
        [5461, 5461, [None, 7002, "id"]],
        [5462, 10922, ["?", 7003, "id", []]],
    ]
    found = parse_slots(rows, A, epoch=7)
    assert found.owner(0) == found.owner(5460) == Node("10.0.0.1", 7000)
    assert found.owner(5461) == Node("a", 7002)
    assert found.owner(10922) == Node("a", 7003)
    assert found.owner(10923) is None
    assert found.primaries == (Node("10.0.0.1", 7000), Node("a", 7002), Node("a", 7003))
    assert found.epoch == 7


@pytest.mark.parametrize("rows", [[[0, 16384, ["a", 1]]], [[5, 4, ["a", 1]]], [[0, 1]], ["x"], [[0, 1, ["a"]]], 3])
def test_slots_that_make_no_sense_are_no_map(rows: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        parse_slots(rows, A, epoch=0)


def test_a_pool_lives_in_one_slot() -> None:
    names = ("rk:{default:calls}:queue", "rk-operator:{default:calls}:fence:0", "rk:{default:calls}:")
    assert len({slot_of(name) for name in names}) == 1
    assert slot_of("foo") == key_slot(b"foo") == 12182


def test_a_node_says_whether_the_cluster_works() -> None:
    assert parse_info("cluster_state:ok\r\ncluster_current_epoch:6\r\n") == (True, 6)
    assert parse_info("cluster_state:fail\r\ncluster_current_epoch:6\r\n") == (False, 6)


@pytest.mark.parametrize(
    ("reply", "hello"),
    [
        (["server", "redis", "mode", "cluster", "role", "master"], Hello(Mode.CLUSTER)),
        (["mode", "standalone", "role", "replica"], Hello(is_replica=True)),
        (["mode", "standalone", "role", "slave"], Hello(is_replica=True)),
        (["mode", "sentinel"], Hello(Mode.SENTINEL)),
        (["mode", "of the future"], Hello()),
        (["odd"], Hello()),
        ([["not"], "text"], Hello()),
        ("OK", Hello()),
    ],
)
def test_a_server_says_what_it_is(reply: Any, hello: Hello) -> None:
    assert parse_hello(reply) == hello


def test_a_wrong_server_is_refused_with_its_own_sentence() -> None:
    error = translate(WrongServer("this is a sentinel"), "PING")
    assert type(error) is BackendRefused
    assert error.message == "this is a sentinel"


# ---- servers in memory


class Servers:
    """Servers by node. Each answers a command with what its function returns; an error is raised."""

    def __init__(self) -> None:
        self.answers: dict[Node, Callable[[Sequence[str | int]], Any]] = {}
        self.hello: dict[Node, Hello] = {}
        self.got: list[tuple[Node, Sequence[str | int], bool]] = []
        self.dropped: list[Node | None] = []
        self.wires: list[_Wire] = []

    def connect(self, locate: Locate, *, heard: object = None, check: Check | None = None, left: object = None) -> Any:
        del heard, left
        self.wires.append(_Wire(self, locate, check))
        return self.wires[-1]

    @property
    def open(self) -> list[Node]:
        """Where a connection is open."""
        return [wire.node for wire in self.wires if wire.node is not None]

    @property
    def maker(self) -> Connect:
        return cast("Connect", self.connect)


class _Wire:
    """A connection to one of them."""

    is_idle = True

    def __init__(self, servers: Servers, locate: Locate, check: Check | None) -> None:
        self._servers, self._locate, self._check = servers, locate, check
        self.node: Node | None = None

    async def open(self) -> Hello:
        if self.node is None:
            node = (await self._locate()).node
            if node not in self._servers.answers:
                raise away()
            if self._check is not None:
                self._check(self._servers.hello.get(node, Hello()))
            self.node = node
        return self._servers.hello.get(self.node, Hello())

    async def execute(self, *words: str | int, block_seconds: float = 0.0, asking: bool = False) -> Any:
        del block_seconds
        await self.open()
        node = self.node
        assert node is not None
        if node not in self._servers.answers:
            self.node = None
            raise away()
        self._servers.got.append((node, words, asking))
        answer = self._servers.answers[node](words)
        if asyncio.isfuture(answer):
            answer = await answer
        if isinstance(answer, Exception):
            raise answer
        return answer

    def drop(self) -> None:
        self._servers.dropped.append(self.node)
        self.node = None

    async def close(self) -> None:
        await asyncio.sleep(0)
        self.drop()


# ---- sentinels


def naming(node: Node, epoch: int) -> Callable[[Sequence[str | int]], Any]:
    """A sentinel that names this master."""
    address, state = [node.host, str(node.port)], ["name", "calls", "config-epoch", str(epoch)]
    return lambda words: state if words[1] == "MASTER" else address


def three_sentinels() -> tuple[Servers, Sentinels]:
    """Sentinels s1, s2 and s3, which all name A."""
    servers = Servers()
    for n in (1, 2, 3):
        set_sentinel(servers, n, A, 1)
    return servers, Sentinels(servers.maker, fixed_address("redis+sentinel://s1,s2,s3/calls"))


def set_sentinel(servers: Servers, number: int, node: Node, epoch: int) -> None:
    sentinel = Node(f"s{number}", 26379)
    servers.answers[sentinel] = naming(node, epoch)
    servers.hello[sentinel] = Hello(Mode.SENTINEL)


def test_the_sentinel_that_heard_of_the_last_failover_is_believed() -> None:
    async def main(_: VirtualTime) -> None:
        servers, sentinels = three_sentinels()
        assert await sentinels.master() == A
        set_sentinel(servers, 2, B, 2)
        assert await sentinels.master() == B
        assert (await sentinels.locate()).node == B

    run(main)


def test_a_sentinel_that_was_cut_off_never_leads_back_to_the_master_of_before() -> None:
    async def main(_: VirtualTime) -> None:
        servers, sentinels = three_sentinels()
        for n in (1, 2):
            set_sentinel(servers, n, B, 2)
        assert await sentinels.master() == B
        for n in (1, 2):
            del servers.answers[Node(f"s{n}", 26379)]
        with pytest.raises(exceptions.ConnectionError, match="have not heard of the last failover"):
            await sentinels.master()
        set_sentinel(servers, 1, B, 2)
        assert await sentinels.master() == B

    run(main)


def test_sentinels_that_were_all_installed_again_are_believed_after_a_minute() -> None:
    async def main(_: VirtualTime) -> None:
        servers, sentinels = three_sentinels()
        for n in (1, 2, 3):
            set_sentinel(servers, n, B, 9)
        assert await sentinels.master() == B
        for n in (1, 2, 3):
            set_sentinel(servers, n, C, 0)
        with pytest.raises(exceptions.ConnectionError):
            await sentinels.master()
        await asyncio.sleep(61)
        assert await sentinels.master() == C

    run(main)


def test_a_sentinel_that_hangs_costs_a_moment() -> None:
    async def main(_: VirtualTime) -> None:
        servers, sentinels = three_sentinels()
        hanging = asyncio.get_running_loop().create_future()
        servers.answers[Node("s1", 26379)] = lambda _: hanging
        began = asyncio.get_running_loop().time()
        assert await sentinels.master() == A
        assert asyncio.get_running_loop().time() - began < 0.5

    run(main)


def test_no_sentinel_that_answers_is_an_error_of_the_connection() -> None:
    async def main(_: VirtualTime) -> None:
        servers, sentinels = three_sentinels()
        servers.answers.clear()
        with pytest.raises(exceptions.ConnectionError):
            await sentinels.master()

    run(main)


def test_the_master_that_the_sentinels_name_must_say_itself_that_it_is_one() -> None:
    async def main(_: VirtualTime) -> None:
        servers, _sentinels = three_sentinels()
        servers.answers[A] = lambda _: "OK"
        servers.hello[A] = Hello(is_replica=True)
        master = Mastered(servers.maker, fixed_address("redis+sentinel://s1,s2,s3/calls"))
        with pytest.raises(exceptions.ReadOnlyError):
            await master.look()
        servers.hello[A] = Hello()
        assert await master.look() is Mode.STANDALONE
        await master.close()

    run(main)


def test_a_master_that_still_answers_is_left_when_the_sentinels_name_another_one() -> None:
    async def main(_: VirtualTime) -> None:
        servers, _sentinels = three_sentinels()
        servers.answers[A] = servers.answers[B] = lambda _: "OK"
        master = Mastered(servers.maker, fixed_address("redis+sentinel://s1,s2,s3/calls"))
        await master.look()
        await asyncio.sleep(5)
        assert servers.dropped == []
        set_sentinel(servers, 1, B, 2)
        await asyncio.sleep(2)
        assert await master.line("any").execute("PING") == "OK"
        assert servers.got[-1][0] == B
        await master.close()

    run(main)


def test_an_error_that_no_code_expects_does_not_end_the_look_for_another_master() -> None:
    async def main(_: VirtualTime) -> None:
        servers, _sentinels = three_sentinels()
        servers.answers[A] = servers.answers[B] = lambda _: "OK"
        master = Mastered(servers.maker, fixed_address("redis+sentinel://s1,s2,s3/calls"))
        await master.look()
        await asyncio.sleep(2)

        def odd(_: Sequence[str | int]) -> Any:
            raise RuntimeError("odd")

        for n in (1, 2, 3):
            servers.answers[Node(f"s{n}", 26379)] = odd
        with structlog.testing.capture_logs() as lines:
            await asyncio.sleep(5)
        assert len([line for line in lines if line["log_level"] == "error"]) == 1
        for n in (1, 2, 3):
            set_sentinel(servers, n, B, 2)
        await asyncio.sleep(2)
        assert await master.line("any").execute("PING") == "OK"
        assert servers.got[-1][0] == B
        await master.close()

    run(main)


# ---- a cluster


def node_of(servers: Servers, node: Node, rows: list[Any], epoch: int = 1) -> dict[str, list[Any]]:
    """Make a node that sees the slots so. What it answers to other commands is taken from the lists returned."""
    scripted: dict[str, list[Any]] = {}

    def answer(words: Sequence[str | int]) -> Any:
        if words[:2] == ("CLUSTER", "INFO"):
            return f"cluster_state:ok\r\ncluster_current_epoch:{epoch}\r\n"
        if words[:2] == ("CLUSTER", "SLOTS"):
            return rows
        queue = scripted.get(str(words[0]), [])
        return queue.pop(0) if queue else f"{node}"

    servers.answers[node] = answer
    servers.hello[node] = Hello(Mode.CLUSTER)
    return scripted


def row(first: int, last: int, node: Node) -> list[Any]:
    return [first, last, [node.host, node.port, "id", []]]


def a_cluster(servers: Servers, told: Callable[[float], None] | None = None) -> Cluster:
    return Cluster(servers.maker, fixed_address("redis+cluster://a:1"), told)


ALL_A = [row(0, 16383, A)]
KEY = "rk:{default:calls}:queue"
SLOT = key_slot(KEY.encode())


def test_a_command_that_has_moved_is_sent_on_and_the_next_one_goes_there_at_once() -> None:
    async def main(_: VirtualTime) -> None:
        servers = Servers()
        rows = [row(0, 16383, A)]
        scripted = node_of(servers, A, rows)
        node_of(servers, B, rows)
        scripted["GET"] = [reply_error(f"MOVED {SLOT} b:2")]
        cluster = a_cluster(servers)
        assert await cluster.line(KEY).execute("GET", KEY) == "b:2"
        rows[:] = [row(0, 16383, B)]
        assert await cluster.line(KEY).execute("GET", KEY) == "b:2"
        assert [node for node, words, _ in servers.got if words[0] == "GET"] == [A, B, B]
        await cluster.close()

    run(main)


def test_a_key_that_is_on_its_way_is_asked_for_once_at_the_new_node() -> None:
    async def main(_: VirtualTime) -> None:
        servers = Servers()
        scripted = node_of(servers, A, ALL_A)
        node_of(servers, B, ALL_A)
        scripted["GET"] = [reply_error(f"ASK {SLOT} b:2")]
        cluster = a_cluster(servers)
        assert await cluster.line(KEY).execute("GET", KEY) == "b:2"
        assert await cluster.line(KEY).execute("GET", KEY) == "a:1"
        got = [(node, asking) for node, words, asking in servers.got if words[0] == "GET"]
        assert got == [(A, False), (B, True), (A, False)]
        await cluster.close()

    run(main)


@pytest.mark.parametrize("word", ["TRYAGAIN", "CLUSTERDOWN"])
def test_a_command_waits_for_a_slot_that_moves_and_for_an_election(word: str) -> None:
    async def main(_: VirtualTime) -> None:
        servers = Servers()
        scripted = node_of(servers, A, ALL_A)
        scripted["EVALSHA"] = [reply_error(f"{word} not now")] * 5
        cluster = a_cluster(servers)
        assert await cluster.line(KEY).execute("EVALSHA") == "a:1"
        scripted["EVALSHA"] = [reply_error(f"{word} not now")] * 1000
        began = asyncio.get_running_loop().time()
        with pytest.raises(exceptions.ResponseError, match=word):
            await cluster.line(KEY).execute("EVALSHA")
        assert asyncio.get_running_loop().time() - began < 1.5
        await cluster.close()

    run(main)


def test_nodes_that_send_a_command_to_each_other_without_end_are_given_up() -> None:
    async def main(_: VirtualTime) -> None:
        servers = Servers()
        node_of(servers, A, ALL_A)["GET"] = [reply_error(f"MOVED {SLOT} b:2")] * 100
        node_of(servers, B, ALL_A)["GET"] = [reply_error(f"MOVED {SLOT} a:1")] * 100
        cluster = a_cluster(servers)
        with pytest.raises(exceptions.ResponseError, match="MOVED"):
            await cluster.line(KEY).execute("GET", KEY)
        await cluster.close()

    run(main)


def test_after_a_lost_connection_the_node_with_the_highest_epoch_says_who_owns_the_slots() -> None:
    async def main(_: VirtualTime) -> None:
        servers = Servers()
        rows = [row(0, 8191, A), row(8192, 16383, B)]
        node_of(servers, A, rows)
        node_of(servers, B, rows)
        node_of(servers, C, rows)
        cluster = a_cluster(servers)
        first, second = next(k for k in map(str, range(99)) if slot_of(k) < 8192), KEY
        mine = first if slot_of(second) >= 8192 else second
        assert await cluster.line(mine).execute("GET", mine) == "a:1"
        await asyncio.sleep(1)
        del servers.answers[A]
        # B has heard of the election; an old node has not.
        node_of(servers, B, [row(0, 8191, C), row(8192, 16383, B)], epoch=2)
        with pytest.raises(exceptions.ConnectionError):
            await cluster.line(mine).execute("GET", mine)
        await asyncio.sleep(0.5)
        assert await cluster.line(mine).execute("GET", mine) == "c:3"
        await cluster.close()

    run(main)


def test_a_silence_of_one_node_counts_while_the_others_answer() -> None:
    async def main(_: VirtualTime) -> None:
        servers, told = Servers(), list[float]()
        rows = [row(0, 16383, A)]
        rows[:] = [row(0, SLOT, A), row(SLOT + 1, 16383, B)]
        node_of(servers, A, rows)
        node_of(servers, B, rows)
        other = next(k for k in map(str, range(999)) if slot_of(k) > SLOT)
        cluster = a_cluster(servers, told.append)
        await cluster.line(KEY).execute("GET", KEY)
        answer = servers.answers.pop(A)
        for _n in range(10):
            with pytest.raises(exceptions.ConnectionError):
                await cluster.line(KEY).execute("GET", KEY)
            await cluster.line(other).execute("GET", other)
            await asyncio.sleep(1)
        assert told == []
        servers.answers[A] = answer
        await cluster.line(KEY).execute("GET", KEY)
        assert told == [pytest.approx(10, abs=0.5)]
        await cluster.close()

    run(main)


# ---- the choice of the topology


SINGLE_A = RedisAddress(Topology.SINGLE, (A,))
CLUSTER_C = RedisAddress(Topology.CLUSTER, (C,))
SENTINEL_B = RedisAddress(Topology.SENTINEL, (B,), master_name="calls")


class Client:
    """A client of these servers, with an address that changes."""

    def __init__(self, servers: Servers, address: RedisAddress, monkeypatch: pytest.MonkeyPatch) -> None:
        self.address = address
        self.redis = Redis(lambda: self.address)
        monkeypatch.setattr(self.redis._choice, "_connect", servers.maker)


@pytest.mark.parametrize(
    ("before", "after", "led_to"),
    [
        (RedisAddress(Topology.SINGLE, (Node("gone", 1),)), CLUSTER_C, C),
        (RedisAddress(Topology.SENTINEL, (Node("gone", 1),), master_name="calls"), SINGLE_A, A),
        (RedisAddress(Topology.SENTINEL, (Node("gone", 1),), master_name="calls"), CLUSTER_C, C),
    ],
)
def test_a_scheme_that_changes_before_the_first_connection_is_followed(
    before: RedisAddress, after: RedisAddress, led_to: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main(_: VirtualTime) -> None:
        servers = Servers()
        servers.answers[A] = lambda _: "OK"
        node_of(servers, C, [row(0, 16383, C)])
        client = Client(servers, before, monkeypatch)
        with pytest.raises(BackendUnavailable):
            await client.redis.ping()
        client.address = after
        await client.redis.ping()
        assert servers.open == [led_to]
        await client.redis.close()
        assert servers.open == []

    run(main)


def test_callers_who_choose_at_once_leave_no_connection_open(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main(_: VirtualTime) -> None:
        servers = Servers()
        servers.answers[A] = lambda _: "OK"
        node_of(servers, C, [row(0, 16383, C)])
        client = Client(servers, SINGLE_A, monkeypatch)
        await client.redis.ping()
        del servers.answers[A]
        with pytest.raises(BackendUnavailable):
            await client.redis.ping()
        client.address = CLUSTER_C
        await asyncio.gather(*(client.redis.ping() for _ in range(5)))
        assert servers.open == [C]
        await client.redis.close()
        assert servers.open == []

    run(main)


def test_closing_ends_a_choice_that_waits_for_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main(_: VirtualTime) -> None:
        servers = Servers()
        client = Client(servers, SENTINEL_B, monkeypatch)
        servers.hello[B] = Hello(Mode.SENTINEL)
        servers.answers[B] = lambda _: asyncio.get_running_loop().create_future()
        waiting = asyncio.create_task(client.redis.ping())
        await asyncio.sleep(0.01)
        await client.redis.close()
        assert servers.open == []
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)

    run(main)


def test_a_cluster_that_became_a_single_server_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main(_: VirtualTime) -> None:
        servers = Servers()
        node_of(servers, A, ALL_A)
        client = Client(servers, SINGLE_A, monkeypatch)
        await client.redis.ping()
        answers = servers.answers.pop(A)
        with pytest.raises(BackendUnavailable):
            await client.redis.ping()
        servers.answers[A], servers.hello[A] = answers, Hello()
        await client.redis.ping()
        await client.redis.close()
        assert servers.open == []

    run(main)


def test_a_cluster_without_slots_is_not_there_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main(_: VirtualTime) -> None:
        servers = Servers()
        node_of(servers, C, [])
        redis = Client(servers, CLUSTER_C, monkeypatch).redis

        def ignore(*_: object) -> None:
            return None

        requests: tuple[Callable[[], Coroutine[Any, Any, object]], ...] = (
            redis.ping,
            redis.info,
            lambda: redis.scan("*", "0", count=10),
            lambda: redis.listen("channel", ignore, alive=ignore),
        )
        for request in requests:
            with pytest.raises(BackendUnavailable) as caught:
                await request()
            assert caught.value.code == "CLUSTERDOWN"
        await redis.close()

    run(main)


# ---- the rest


def test_the_answers_of_all_who_answer_count_and_the_last_error_if_none_does() -> None:
    async def main(_: VirtualTime) -> None:
        async def answer(value: int) -> int:
            return value

        async def fail() -> int:
            raise away()

        assert sorted(await ask_all([answer(1), fail(), answer(2)])) == [1, 2]
        with pytest.raises(exceptions.ConnectionError, match="away"):
            await ask_all([fail(), fail()])
        with pytest.raises(exceptions.ConnectionError, match="no server"):
            await ask_all(list[Any]())

    run(main)


def test_an_address_that_names_another_topology_is_noticed() -> None:
    addresses = [RedisAddress(Topology.SINGLE, (A,)), RedisAddress(Topology.SINGLE, (B,))]
    source = steady(lambda: addresses[0])
    assert source().nodes == (A,)
    addresses.pop(0)
    assert source().nodes == (B,)
    addresses[0] = RedisAddress(Topology.CLUSTER, (C,))
    with pytest.raises(TopologyChanged):
        source()
