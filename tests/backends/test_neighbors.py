"""Installations that are set up for the same namespaces: all come to the same result about who serves them."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from controller.api.names import MATCH
from controller.backends.neighbors import LABEL, SERVES, Installation, Neighbors, shared
from controller.clients.kubernetes import KubernetesClient
from controller.errors import Backend, Forbidden, NotFound
from controller.loop.key import Key
from controller.loop.wakes import Wake
from controller.loop.work_queue import WorkQueue
from tests import values as b


def installation(name: str, *namespaces: str, created: int = 0, sees_all: bool = True) -> Installation:
    """An installation whose Lease is in a namespace of its own."""
    at = (b.T0 + timedelta(seconds=created)).isoformat()
    return Installation(f"home-of-{name}", name, frozenset(namespaces), f"id-of-{name}", sees_all, at, f"uid-{name}")


ALL = installation("all")
SECOND = installation("second", created=10)
CALLS = installation("calls", "calls", created=20)
BOTH = installation("both", "calls", "games", created=5)
BLIND = installation("blind", "games", created=30, sees_all=False)
OTHERS = installation("others", "chess")


@pytest.mark.parametrize(("one", "other"), [*itertools.combinations((ALL, SECOND, CALLS, BOTH, BLIND, OTHERS), 2)])
def test_of_two_exactly_one_serves_what_both_are_set_up_for(one: Installation, other: Installation) -> None:
    seen, mirrored = shared(one, [one, other]), shared(other, [other, one])
    assert [(found.namespaces, found.is_all) for found in seen] == [
        (found.namespaces, found.is_all) for found in mirrored
    ]
    assert [found.is_ours for found in seen] == [not found.is_ours for found in mirrored]
    overlap = not one.namespaces or not other.namespaces or one.namespaces & other.namespaces
    assert bool(seen) == bool(overlap)


def test_who_was_installed_first_serves_and_one_that_cannot_see_the_others_before_all() -> None:
    assert [found.is_ours for found in shared(ALL, [SECOND, CALLS, BOTH, BLIND])] == [True, True, True, False]
    assert [sorted(found.namespaces) for found in shared(CALLS, [BOTH, OTHERS])] == [["calls"]]


def test_both_sentences_name_the_other_the_namespaces_and_what_to_do() -> None:
    (winner,), (loser,) = shared(BOTH, [CALLS]), shared(CALLS, [BOTH])
    assert winner.sentence == (
        "the operator with the Lease home-of-calls/calls (cluster id id-of-calls) is set up for the namespace calls "
        "too: it leaves it to this one. Let each serve namespaces of its own (ROOMKEEPER_WATCH_NAMESPACES)"
    )
    assert loser.sentence == (
        "the operator with the Lease home-of-both/both (cluster id id-of-both) is set up for the namespace calls too, "
        "and serves it: this one leaves it alone. Let each serve namespaces of its own (ROOMKEEPER_WATCH_NAMESPACES), "
        "or delete that Lease if its operator is gone for good"
    )


class Leases:
    """The Leases of a cluster, as a client that may list them in all namespaces, or in its own alone."""

    def __init__(self, *, sees_all: bool = True) -> None:
        self.sees_all = sees_all
        self.bodies: list[dict[str, Any]] = []

    async def add(
        self, neighbors: Neighbors, namespace: str, name: str, created: int = 0, age_hours: float = 0, holder: str = "p"
    ) -> None:
        """Write the Lease of an installation, which has looked at least once."""
        if not neighbors.mark():
            await neighbors.look()
        mark = neighbors.mark()
        metadata = {
            "namespace": namespace,
            "name": name,
            "uid": f"uid-{name}",
            "creationTimestamp": (b.T0 + timedelta(seconds=created)).isoformat(),
            **mark,
        }
        spec = {"holderIdentity": holder, "renewTime": (b.at(0) - timedelta(hours=age_hours)).isoformat()}
        self.bodies.append({"metadata": metadata, "spec": spec})

    async def pages(self, _resource: Any, namespace: str, *, labels: str) -> Any:
        """What the client's method of this name does."""
        if not namespace and not self.sees_all:
            raise Forbidden(Backend.KUBERNETES, "list", "no", retryable=True)
        assert labels == f"{LABEL}=operator"
        yield {"items": [body for body in self.bodies if namespace in {"", body["metadata"]["namespace"]}]}

    async def get(self, _resource: Any, namespace: str, name: str) -> Any:
        """What the client's method of this name does."""
        for body in self.bodies:
            if (body["metadata"]["namespace"], body["metadata"]["name"]) == (namespace, name):
                return body
        raise NotFound(Backend.KUBERNETES, "get", "no such Lease")


def neighbors(leases: Leases, namespace: str, name: str, *watched: str) -> Neighbors:
    """What the installation with this Lease knows."""
    client: KubernetesClient = leases  # type: ignore[assignment]
    return Neighbors(client, _Clock(), namespace=namespace, name=name, namespaces=watched, cluster_id="c")


class _Clock:
    def now(self) -> Any:
        return b.at(0)


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


async def test_one_with_roles_alone_sees_its_own_namespace_and_says_so_on_its_lease() -> None:
    everywhere, at_home = Leases(), Leases(sees_all=False)
    everywhere.bodies = at_home.bodies
    first, blind = neighbors(everywhere, "a", "first"), neighbors(at_home, "b", "blind", "calls")
    await blind.look()
    assert '"seesAll":false' in blind.mark()["annotations"][SERVES]
    await everywhere.add(first, "a", "first")
    await everywhere.add(blind, "b", "blind", created=5)
    for one in (first, blind):
        await one.look()
    assert not first.serves("calls")
    assert blind.serves("calls")


def unmarked(namespace: str, name: str) -> dict[str, Any]:
    """The Lease of an installation that has not looked yet."""
    metadata = {"namespace": namespace, "name": name, "uid": f"uid-{name}", "creationTimestamp": b.at(9).isoformat()}
    return {"metadata": metadata, "spec": {"holderIdentity": "p", "renewTime": b.at(0).isoformat()}}


def test_before_the_first_look_nothing_is_written_on_the_lease() -> None:
    one = neighbors(Leases(), "a", "first")
    assert (one.mark(), one.is_known) == ({}, False)


async def test_one_that_is_new_gives_way_although_its_lease_says_nothing_yet() -> None:
    leases = Leases()
    first, second = neighbors(leases, "a", "first"), neighbors(leases, "b", "second", "calls")
    await leases.add(first, "a", "first")
    leases.bodies.append(unmarked("b", "second"))
    await second.look()
    assert (second.is_known, second.serves("calls"), second.is_settled) == (True, False, False)
    assert '"seesAll":true' in second.mark()["annotations"][SERVES]


async def test_settings_that_were_changed_count_before_the_lease_says_so() -> None:
    leases = Leases()
    first, before = neighbors(leases, "a", "first", "games"), neighbors(leases, "b", "second", "calls")
    await leases.add(first, "a", "first")
    await leases.add(before, "b", "second", created=5)
    after = neighbors(leases, "b", "second", "calls", "games")
    await after.look()
    assert not after.serves("games")


async def test_one_refusal_changes_nothing_and_two_in_a_row_count() -> None:
    leases = Leases()
    first, second = neighbors(leases, "a", "first"), neighbors(leases, "b", "second", "calls")
    await leases.add(first, "a", "first")
    await leases.add(second, "b", "second", created=5)
    await second.look()
    for _ in range(2):
        leases.sees_all = False
        await second.look()
        assert len(second.found) == 1
        assert '"seesAll":true' in second.mark()["annotations"][SERVES]
        leases.sees_all = True
        await second.look()
    leases.sees_all = False
    for _ in range(2):
        await second.look()
    assert second.found == ()
    assert '"seesAll":false' in second.mark()["annotations"][SERVES]


async def test_a_namespace_is_taken_over_after_two_looks_that_agree_and_given_up_at_once() -> None:
    leases = Leases()
    first, second = neighbors(leases, "a", "first"), neighbors(leases, "b", "second", "calls")
    await leases.add(first, "a", "first")
    await leases.add(second, "b", "second", created=5)
    the_first, serves = leases.bodies[0], []
    for is_there in (True, False, True, False, False, True):
        leases.bodies[:] = [the_first, leases.bodies[-1]] if is_there else leases.bodies[-1:]
        with capture_logs() as logs:
            await second.look()
        serves.append((second.serves("calls"), not second.trouble("calls"), second.is_settled, len(logs)))
    left_alone, ours = (False, False, False), (True, True, True)
    assert serves == [(*left_alone, 1), *[(*left_alone, 0)] * 3, (*ours, 1), (*left_alone, 1)]


@pytest.mark.parametrize(
    ("holder", "age_hours", "serves"),
    [("p", 23, False), ("p", 25, True), ("", 9 / 60, False), ("", 11 / 60, True)],
)
async def test_a_lease_counts_for_a_day_after_its_last_renewal_and_a_released_one_for_ten_minutes(
    holder: str, age_hours: float, serves: bool
) -> None:
    leases = Leases()
    first, second = neighbors(leases, "a", "first"), neighbors(leases, "b", "second")
    await leases.add(first, "a", "first", age_hours=age_hours, holder=holder)
    await leases.add(second, "b", "second", created=5)
    await second.look()
    assert second.serves("calls") is serves


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"namespaces": 1}'])
async def test_a_lease_on_which_nothing_can_be_read_is_none_of_an_installation(text: str) -> None:
    leases = Leases()
    ours, other = neighbors(leases, "a", "first"), neighbors(leases, "b", "second")
    await leases.add(ours, "a", "first", created=5)
    await leases.add(other, "b", "second")
    leases.bodies[1]["metadata"]["annotations"] = {SERVES: text}
    await ours.look()
    assert ours.found == ()


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
