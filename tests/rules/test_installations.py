"""Installations that are set up for the same namespaces: all come to the same result about who serves them."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import Any

import pytest

from controller.rules.installations import LABEL, SERVES, Installation, installation, mark, shared
from tests import values as b


def made(name: str, *namespaces: str, created: int = 0, sees_all: bool = True) -> Installation:
    """An installation whose Lease is in a namespace of its own."""
    return Installation(
        namespace=f"home-of-{name}",
        name=name,
        namespaces=frozenset(namespaces),
        cluster_id=f"id-of-{name}",
        sees_all=sees_all,
        created=b.at(created).isoformat(),
        uid=f"uid-{name}",
        holder="pod",
        renewed_at=b.at(0),
        lease_seconds=15,
    )


ALL = made("all")
SECOND = made("second", created=10)
TWIN = made("twin", created=10)
CALLS = made("calls", "calls", created=20)
BOTH = made("both", "calls", "games", created=5)
BLIND = made("blind", "games", created=30, sees_all=False)
OTHERS = made("others", "chess")


@pytest.mark.parametrize(
    ("one", "other"), [*itertools.combinations((ALL, SECOND, TWIN, CALLS, BOTH, BLIND, OTHERS), 2)]
)
def test_of_two_exactly_one_serves_what_both_are_set_up_for(one: Installation, other: Installation) -> None:
    seen, mirrored = shared(one, [one, other]), shared(other, [other, one])
    assert [(found.namespaces, found.is_all) for found in seen] == [
        (found.namespaces, found.is_all) for found in mirrored
    ]
    assert [found.is_ours for found in seen] == [not found.is_ours for found in mirrored]
    overlap = not one.namespaces or not other.namespaces or one.namespaces & other.namespaces
    assert bool(seen) == bool(overlap)


def test_the_installation_that_came_first_serves_and_one_that_cannot_see_the_others_goes_before_all() -> None:
    assert [found.is_ours for found in shared(ALL, [SECOND, CALLS, BOTH, BLIND])] == [True, True, True, False]
    assert [sorted(found.namespaces) for found in shared(CALLS, [BOTH, OTHERS])] == [["calls"]]


def test_both_sentences_name_the_other_the_namespaces_and_what_to_do() -> None:
    (winner,), (loser,) = shared(BOTH, [CALLS]), shared(CALLS, [BOTH])
    assert winner.sentence == (
        "the operator with the Lease home-of-calls/calls (cluster id id-of-calls) is set up for the namespace calls "
        "too, and leaves it to this one. Let each serve namespaces of its own (ROOMKEEPER_WATCH_NAMESPACES)"
    )
    assert loser.sentence == (
        "the operator with the Lease home-of-both/both (cluster id id-of-both) is set up for the namespace calls too, "
        "and serves it: this one leaves it alone. Let each serve namespaces of its own (ROOMKEEPER_WATCH_NAMESPACES), "
        "or delete that Lease if its operator is gone for good"
    )


def lease(**metadata: Any) -> dict[str, Any]:
    """The Lease of an installation."""
    words = mark(("games", "calls"), "c", sees_all=False)
    return {
        "metadata": {
            "namespace": "a",
            "name": "first",
            "uid": "u",
            "creationTimestamp": b.at(-60).isoformat(),
            **words,
            **metadata,
        },
        "spec": {"holderIdentity": "pod", "renewTime": b.at(0).isoformat(), "leaseDurationSeconds": 15},
    }


def test_what_is_written_on_a_lease_is_read_again() -> None:
    found = installation(lease())
    assert found is not None
    assert lease()["metadata"]["labels"] == {LABEL: "operator"}
    assert (found.namespaces, found.cluster_id, found.sees_all) == (frozenset({"calls", "games"}), "c", False)
    assert (found.holder, found.renewed_at, found.lease_seconds) == ("pod", b.at(0), 15)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"namespaces": 1}', '{"namespaces": null, "clusterId": 1}'])
def test_a_lease_whose_mark_cannot_be_read_describes_no_installation(text: str) -> None:
    assert installation(lease(annotations={SERVES: text})) is None
    assert installation({"metadata": {"name": "first", "namespace": "a"}}) is None


@pytest.mark.parametrize(
    ("holder", "seconds", "counts", "is_left"),
    [("pod", 14, True, False), ("pod", 16, True, True), ("", 1, True, True), ("pod", 601, False, True)],
)
def test_a_lease_that_was_released_or_left_behind_counts_for_ten_minutes(
    holder: str, seconds: float, counts: bool, is_left: bool
) -> None:
    body = lease()
    body["spec"]["holderIdentity"] = holder
    found, now = installation(body), b.at(0) + timedelta(seconds=seconds)
    assert found is not None
    assert (found.counts(now), found.is_left_behind(now)) == (counts, is_left)
