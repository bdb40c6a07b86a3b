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
from controller.errors import Backend, Forbidden
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

    def add(self, neighbors: Neighbors, namespace: str, name: str, created: int = 0, age_hours: float = 0) -> None:
        """Write the Lease of an installation."""
        mark = neighbors.mark()
        metadata = {
            "namespace": namespace,
            "name": name,
            "uid": f"uid-{name}",
            "creationTimestamp": (b.T0 + timedelta(seconds=created)).isoformat(),
            **mark,
        }
        spec = {"renewTime": (b.at(0) - timedelta(hours=age_hours)).isoformat()}
        self.bodies.append({"metadata": metadata, "spec": spec})

    async def pages(self, _resource: Any, namespace: str, *, labels: str) -> Any:
        """What the client's method of this name does."""
        if not namespace and not self.sees_all:
            raise Forbidden(Backend.KUBERNETES, "list", "no", retryable=True)
        assert labels == f"{LABEL}=operator"
        yield {"items": [body for body in self.bodies if namespace in {"", body["metadata"]["namespace"]}]}


def neighbors(leases: Leases, namespace: str, name: str, *watched: str) -> Neighbors:
    """What the installation with this Lease knows."""
    client: KubernetesClient = leases  # type: ignore[assignment]  # the one method that is used
    return Neighbors(client, _Clock(), namespace=namespace, name=name, namespaces=watched, cluster_id="c")


class _Clock:
    def now(self) -> Any:
        return b.at(0)


async def test_each_look_says_what_is_new_once_and_the_end_of_it() -> None:
    leases = Leases()
    first, second = neighbors(leases, "a", "first"), neighbors(leases, "b", "second", "calls")
    leases.add(first, "a", "first")
    await first.look()
    leases.add(second, "b", "second", created=5)
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
    assert [line["event"] for line in logs] == ["no other operator is set up for our namespaces any longer"]
    assert second.serves("calls")


async def test_one_with_roles_alone_sees_its_own_namespace_and_says_so_on_its_lease() -> None:
    everywhere, at_home = Leases(), Leases(sees_all=False)
    everywhere.bodies = at_home.bodies
    first, blind = neighbors(everywhere, "a", "first"), neighbors(at_home, "b", "blind", "calls")
    await blind.look()
    assert '"seesAll":false' in blind.mark()["annotations"][SERVES]
    everywhere.add(first, "a", "first")
    everywhere.add(blind, "b", "blind", created=5)
    for one in (first, blind):
        await one.look()
    assert not first.serves("calls")
    assert blind.serves("calls")


@pytest.mark.parametrize(("age_hours", "serves"), [(23, False), (25, True)])
async def test_a_lease_counts_for_a_day_after_its_last_renewal(age_hours: float, serves: bool) -> None:
    leases = Leases()
    first, second = neighbors(leases, "a", "first"), neighbors(leases, "b", "second")
    leases.add(first, "a", "first", age_hours=age_hours)
    leases.add(second, "b", "second", created=5)
    await second.look()
    assert second.serves("calls") is serves


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"namespaces": 1}'])
async def test_a_lease_on_which_nothing_can_be_read_is_none_of_an_installation(text: str) -> None:
    leases = Leases()
    ours, other = neighbors(leases, "a", "first"), neighbors(leases, "b", "second")
    leases.add(ours, "a", "first", created=5)
    leases.add(other, "b", "second")
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
