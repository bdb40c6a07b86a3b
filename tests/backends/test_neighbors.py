"""What an installation knows of the others: from which looks, and what it leaves to them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from controller.api.names import MATCH
from controller.backends.neighbors import NOTICED_SECONDS, Neighbors
from controller.clients.kubernetes import KubernetesClient
from controller.errors import Backend, BackendUnavailable, Forbidden, NotFound
from controller.loop.key import Key
from controller.loop.wakes import Wake
from controller.loop.work_queue import WorkQueue
from controller.rules.installations import LABEL, SERVES
from tests import values as b
from tests.virtual_time import VirtualTime, run

HANGS = BackendUnavailable(Backend.KUBERNETES, "list", "no answer")


class Leases:
    """The Leases of a cluster, as a client that may list those of `sees`: all, its own namespace, or none."""

    def __init__(self, sees: str = "all") -> None:
        self.sees = sees
        self.failure: Exception | None = None
        self.bodies: list[dict[str, Any]] = []

    def client(self) -> KubernetesClient:
        """Return this object as a client with the one method that is used."""
        return self  # type: ignore[return-value]

    async def add(
        self, neighbors: Neighbors, namespace: str, name: str, created: int = 0, age_seconds: float = 0
    ) -> None:
        """Write the Lease of an installation, which finds out first what it may read."""
        while not neighbors.mark():
            await learned(neighbors)
        metadata = {
            "namespace": namespace,
            "name": name,
            "uid": f"uid-{name}",
            "creationTimestamp": (b.T0 + timedelta(seconds=created)).isoformat(),
            **neighbors.mark(),
        }
        renewed = (b.at(0) - timedelta(seconds=age_seconds)).isoformat()
        self.bodies.append({"metadata": metadata, "spec": {"holderIdentity": "p", "renewTime": renewed}})

    async def pages(self, _resource: Any, namespace: str, *, labels: str) -> Any:
        """What the client's method of this name does."""
        if self.failure is not None:
            raise self.failure
        if self.sees == "none" or (self.sees == "home" and not namespace):
            raise Forbidden(Backend.KUBERNETES, "list", "no", retryable=True, code="403")
        assert labels == f"{LABEL}=operator"
        yield {"items": [body for body in self.bodies if namespace in {"", body["metadata"]["namespace"]}]}


class _Clock:
    def now(self) -> Any:
        return b.at(0)


def neighbors(leases: Leases, namespace: str, name: str, *watched: str) -> Neighbors:
    """What the installation with this Lease knows."""
    return Neighbors(
        leases.client(), _Clock(), namespace=namespace, name=name, namespaces=watched, cluster_id=f"id-{name}"
    )


async def learned(one: Neighbors) -> None:
    """It finds out what it may read; the first of two refusals is no answer."""
    try:
        await one.learn()
    except Forbidden:
        await one.learn()


async def two() -> tuple[Leases, Neighbors, Neighbors]:
    """Two installations for the namespace calls, of which the second one was installed later and gives way."""
    leases = Leases()
    first, second = neighbors(leases, "a", "first"), neighbors(leases, "b", "second", "calls")
    await leases.add(first, "a", "first", created=0)
    await leases.add(second, "b", "second", created=5)
    await second.look()
    return leases, first, second


async def test_each_look_says_what_is_new_once_and_the_end_of_it() -> None:
    leases = Leases()
    first, second = neighbors(leases, "a", "first"), neighbors(leases, "b", "second", "calls")
    await leases.add(first, "a", "first")
    await first.look()
    await leases.add(second, "b", "second", created=5)
    with capture_logs() as logs:
        for one in (first, second, first, second):
            await one.look()
    assert [line["log_level"] for line in logs] == ["warning"] * 2
    assert first.serves("calls")
    assert not second.serves("calls")
    assert second.serves("games")
    leases.bodies.pop(0)
    with capture_logs() as logs:
        await second.look()
        assert not second.serves("calls"), "one look alone does not take a namespace over"
        await second.look()
    assert [line["event"] for line in logs] == ["no other operator is set up for our namespaces any longer"]
    assert second.serves("calls")


async def test_a_namespace_is_taken_over_after_two_looks_that_agree_and_given_up_at_once() -> None:
    leases, _, second = await two()
    the_first, serves = leases.bodies[0], []
    for is_there in (True, False, True, False, False, True):
        leases.bodies[:] = [the_first, leases.bodies[-1]] if is_there else leases.bodies[-1:]
        with capture_logs() as logs:
            await second.look()
        assert second.serves("calls") == (not second.trouble("calls")) == (not second.gives_way)
        serves.append((second.serves("calls"), len(logs)))
    assert serves == [(False, 0), (False, 0), (False, 0), (False, 0), (True, 1), (False, 1)]


async def test_before_anything_was_read_there_is_no_mark_and_afterwards_it_says_what_is_read() -> None:
    for sees, says in (("all", '"seesAll":true'), ("home", '"seesAll":false'), ("none", '"seesAll":false')):
        one = neighbors(Leases(sees), "a", "first", "calls")
        assert one.mark() == {}
        await learned(one)
        assert says in one.mark()["annotations"][SERVES]


async def test_a_right_is_missing_when_two_looks_in_a_row_were_refused() -> None:
    leases = Leases("home")
    one = neighbors(leases, "a", "first")
    with pytest.raises(Forbidden):
        await one.learn()
    leases.sees = "all"
    await one.learn()
    assert one.sees_all


async def test_one_with_roles_alone_sees_its_own_namespace_and_the_others_give_way_to_it() -> None:
    everywhere, at_home = Leases(), Leases("home")
    everywhere.bodies = at_home.bodies
    first, blind = neighbors(everywhere, "a", "first"), neighbors(at_home, "b", "blind", "calls")
    await everywhere.add(first, "a", "first")
    await everywhere.add(blind, "b", "blind", created=5)
    for one in (first, blind):
        await one.look()
    assert not first.serves("calls")
    assert blind.serves("calls")


async def test_one_without_any_right_says_that_it_sees_no_other_operator_and_serves() -> None:
    leases = Leases("none")
    with capture_logs() as logs:
        await leases.add(one := neighbors(leases, "a", "first"), "a", "first")
        for _ in range(3):
            await one.look()
    assert [line["event"].partition(":")[0] for line in logs] == ["the Leases of other operators may not be read"]
    assert one.serves("calls")


@pytest.mark.parametrize(
    "failure",
    [
        HANGS,
        Forbidden(Backend.KUBERNETES, "list", "the API server does not accept the credentials", code="401"),
    ],
    ids=["no answer", "credentials"],
)
async def test_looks_without_an_answer_change_nothing(failure: Exception) -> None:
    leases, _, second = await two()
    mark, leases.failure = second.mark(), failure
    for _ in range(3):
        with pytest.raises(type(failure)):
            await second.look()
        assert (second.serves("calls"), second.mark(), len(second.found)) == (False, mark, 1)


async def test_an_own_lease_that_is_not_found_changes_nothing() -> None:
    leases, _, second = await two()
    leases.bodies.pop()
    for _ in range(3):
        with pytest.raises(NotFound):
            await second.look()
        assert not second.serves("calls")


@pytest.mark.parametrize(("age_seconds", "serves"), [(599, False), (601, True)])
async def test_a_lease_counts_for_ten_minutes_after_its_last_renewal(age_seconds: float, serves: bool) -> None:
    leases = Leases()
    first, second = neighbors(leases, "a", "first"), neighbors(leases, "b", "second")
    await leases.add(first, "a", "first", age_seconds=age_seconds)
    await leases.add(second, "b", "second", created=5)
    await second.look()
    assert second.serves("calls") is serves


@pytest.mark.parametrize("sees", ["all", "home", "none"])
async def test_a_command_looks_with_few_rights_and_long_after_our_operator_has_worked(sees: str) -> None:
    leases = Leases(sees)
    ours = neighbors(leases, "b", "second", "calls")
    await leases.add(ours, "b", "second", age_seconds=3600)
    command = neighbors(leases, "b", "second", "calls")
    await command.look_from_outside()
    assert command.serves("calls")


@pytest.mark.parametrize(
    ("case", "ours_seconds", "serves"),
    [("it was installed first, and works", 0, True), ("it has not worked for long", 3600, False)],
)
async def test_a_command_leaves_to_another_installation_what_the_operator_leaves_to_it(
    case: str, ours_seconds: float, serves: bool
) -> None:
    leases = Leases()
    ours, theirs = neighbors(leases, "a", "first", "calls"), neighbors(leases, "b", "second", "calls")
    await leases.add(ours, "a", "first", age_seconds=ours_seconds)
    await leases.add(theirs, "b", "second", created=5)
    command = neighbors(leases, "a", "first", "calls")
    await command.look_from_outside()
    assert command.serves("calls") is serves, case


async def test_settings_that_were_changed_count_before_the_lease_says_so() -> None:
    leases = Leases()
    first, before = neighbors(leases, "a", "first", "games"), neighbors(leases, "b", "second", "calls")
    await leases.add(first, "a", "first")
    await leases.add(before, "b", "second", created=5)
    after = neighbors(leases, "b", "second", "calls", "games")
    await after.look()
    assert not after.serves("games")


def in_virtual_time(scenario: Callable[[VirtualTime], Coroutine[Any, Any, None]]) -> None:
    """Run a scenario."""
    run(scenario)


def test_a_right_that_goes_and_comes_takes_nothing_over_before_the_others_have_noticed() -> None:
    async def scenario(time: VirtualTime) -> None:
        leases, _, second = await two()
        leases.sees = "home"
        with pytest.raises(Forbidden):
            await second.look()
        assert '"seesAll":true' in second.mark()["annotations"][SERVES]
        gone = time.seconds
        while not second.serves("calls"):
            await second.look()
            assert '"seesAll":false' in second.mark()["annotations"][SERVES]
            assert time.seconds - gone <= NOTICED_SECONDS + 3, "it takes over at last"
            if not second.serves("calls"):
                await asyncio.sleep(1)
        assert time.seconds - gone >= NOTICED_SECONDS
        leases.sees = "all"
        await second.look()
        assert not second.serves("calls"), "it gives way at once, although its Lease does not say yet that it sees all"

    in_virtual_time(scenario)


@pytest.mark.parametrize(
    ("before", "is_new"),
    [
        ({"metadata": {"name": "first", "namespace": "a"}, "spec": {}}, True),
        ("the same", False),
        ("of other settings", True),
        ("of long ago", True),
    ],
    ids=str,
)
def test_a_mark_is_new_unless_the_lease_said_the_same_before(before: Any, is_new: bool) -> None:
    async def scenario(_time: VirtualTime) -> None:
        leases = Leases()
        one, other = neighbors(leases, "a", "first", "calls"), neighbors(leases, "a", "first", "games")
        await leases.add(other if before == "of other settings" else one, "a", "first")
        await learned(one)
        (written,) = leases.bodies
        if before == "of long ago":
            written["spec"]["renewTime"] = (b.at(0) - timedelta(minutes=11)).isoformat()
        one.begin(before if isinstance(before, dict) else written)
        assert one.unnoticed_seconds == (NOTICED_SECONDS if is_new else 0)
        await asyncio.sleep(NOTICED_SECONDS)
        assert one.unnoticed_seconds == 0

    in_virtual_time(scenario)


def test_keys_of_a_namespace_that_another_one_serves_are_dropped() -> None:
    foreign = {"calls"}
    queue = WorkQueue(serves=lambda namespace: namespace not in foreign)
    queue.open()
    for namespace in ("calls", "games"):
        queue.enqueue(Key(MATCH, namespace, "m"), Wake.OBJECT)
    assert queue.take() == Key(MATCH, "games", "m")
    assert queue.take() is None
    foreign.clear()
    queue.enqueue(Key(MATCH, "calls", "m"), Wake.OBJECT)
    assert queue.take() == Key(MATCH, "calls", "m")
