"""The cache of Kubernetes objects keeps the newest version, in whatever order and from whichever source it comes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from controller.api.match import Match
from controller.views import cache as cache_module
from controller.views.cache import ObjectCache
from tests import values as b

Body = dict[str, Any]


def body(version: int, *, uid: str = "u1", name: str = "m", namespace: str = "calls", **spec: Any) -> Body:
    """A Match as the API server sends it."""
    manifest = b.a_match(**spec).manifest()
    metadata = manifest["metadata"] | {"name": name, "namespace": namespace, "uid": uid}
    return {**manifest, "metadata": metadata | {"resourceVersion": str(version), "managedFields": [{"big": "thing"}]}}


class Bench:
    """A cache, and what its followers received."""

    def __init__(self) -> None:
        self.changed: list[str] = []
        self.gone: list[str] = []
        self.cache = ObjectCache(Match)
        self.cache.follow(
            changed=lambda match: self.changed.append(match.metadata.resource_version),
            gone=lambda match: self.gone.append(match.metadata.uid),
        )

    def version(self, name: str = "m") -> str | None:
        """The version of an object that the cache has."""
        known = self.cache.get("calls", name)
        return None if known is None else known.metadata.resource_version


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_the_newest_version_is_known_and_reported(bench: Bench) -> None:
    assert bench.version() is None
    offered = bench.cache.offer(body(5))
    assert offered is not None
    assert (offered.metadata.uid, bench.version(), bench.changed, len(bench.cache)) == ("u1", "5", ["5"], 1)
    bench.cache.offer(body(7))
    assert (bench.version(), bench.changed) == ("7", ["5", "7"])


@pytest.mark.parametrize("version", [3, 5])
def test_an_older_or_equal_version_changes_nothing_and_is_not_reported(bench: Bench, version: int) -> None:
    bench.cache.offer(body(5))
    offered = bench.cache.offer(body(version))
    assert offered is not None
    assert (offered.metadata.resource_version, bench.version(), bench.changed) == ("5", "5", ["5"])


def test_versions_are_numbers_not_texts(bench: Bench) -> None:
    bench.cache.offer(body(9))
    bench.cache.offer(body(10))
    assert bench.version() == "10"


def test_our_own_write_is_known_and_wakes_no_key(bench: Bench) -> None:
    bench.cache.offer(body(5), quiet=True)
    assert (bench.version(), bench.changed) == ("5", [])
    bench.cache.offer(body(5))
    assert bench.changed == []


def test_a_deleted_uid_stays_dead(bench: Bench) -> None:
    bench.cache.offer(body(5))
    bench.cache.remove(body(6))
    assert (bench.version(), bench.gone, bench.cache.was_deleted("calls", "m")) == (None, ["u1"], True)
    assert bench.cache.offer(body(7)) is None
    assert bench.version() is None


def test_a_deletion_that_comes_before_the_object_counts(bench: Bench) -> None:
    bench.cache.remove(body(6))
    assert bench.cache.offer(body(5)) is None
    assert (bench.version(), bench.gone) == (None, [])


def test_the_same_name_with_another_uid_is_another_object(bench: Bench) -> None:
    bench.cache.offer(body(5))
    bench.cache.offer(body(8, uid="u2"))
    assert (bench.gone, bench.version(), bench.cache.was_deleted("calls", "m")) == (["u1"], "8", False)
    assert bench.cache.offer(body(9)) is None
    assert bench.version() == "8"


def test_a_late_deletion_of_the_predecessor_does_not_hurt_the_successor(bench: Bench) -> None:
    bench.cache.offer(body(5))
    bench.cache.offer(body(8, uid="u2"))
    bench.cache.remove(body(6))
    bench.cache.forget("calls", "m", "u1")
    assert (bench.version(), bench.gone) == ("8", ["u1"])


def test_a_name_that_is_used_again_is_no_longer_deleted(bench: Bench) -> None:
    bench.cache.offer(body(5))
    bench.cache.forget("calls", "m", "u1")
    bench.cache.offer(body(8, uid="u2"))
    assert not bench.cache.was_deleted("calls", "m")


def test_a_deleted_uid_is_remembered_for_five_minutes(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(cache_module, "time", type("Time", (), {"monotonic": staticmethod(lambda: now[0])}))
    bench.cache.offer(body(5))
    bench.cache.remove(body(6))
    now[0] += 299
    bench.cache.evict_missing([], 100)
    assert bench.cache.offer(body(7)) is None
    now[0] += 2
    bench.cache.evict_missing([], 100)
    assert not bench.cache.was_deleted("calls", "m")
    assert bench.cache.offer(body(7)) is not None


def test_a_list_evicts_what_it_lacks_unless_that_is_newer(bench: Bench) -> None:
    for version, name in ((5, "old"), (20, "equal"), (21, "newer"), (6, "listed")):
        bench.cache.offer(body(version, uid=f"u-{name}", name=name))
    assert bench.cache.evict_missing(["u-listed"], 20) == 2
    assert sorted(bench.gone) == ["u-equal", "u-old"]
    assert bench.cache.names() == [("calls", "newer"), ("calls", "listed")]


def test_a_list_of_one_namespace_says_nothing_about_another(bench: Bench) -> None:
    bench.cache.offer(body(5, uid="here", namespace="calls"))
    bench.cache.offer(body(5, uid="there", namespace="other"))
    assert bench.cache.evict_missing([], 20, "calls") == 1
    assert bench.gone == ["here"]


def test_an_object_that_cannot_be_read_is_left_alone(bench: Bench) -> None:
    broken = body(6)
    broken["spec"]["participants"] = "nobody"
    with capture_logs() as logs:
        assert bench.cache.offer(broken) is None
    assert [entry["event"] for entry in logs] == ["object cannot be read; it is left alone until it is corrected"]
    assert "participants" in str(logs[0]["problems"])
    bench.cache.offer(body(5))
    offered = bench.cache.offer(broken)
    assert offered is not None
    assert (offered.metadata.resource_version, bench.version()) == ("5", "5")


def test_many_objects_are_all_there_and_iterated(bench: Bench) -> None:
    for number in range(600):
        bench.cache.offer(body(number + 1, uid=f"u{number}", name=f"m{number}"))
    assert len(bench.cache) == 600
    assert len(bench.cache._parsed) == 512, "an idle object is kept compact"
    assert bench.cache.get("calls", "m599") is bench.cache.get("calls", "m599")
    assert bench.version("m0") == "1"
    assert {match.metadata.uid for match in bench.cache.in_namespace("calls")} == {
        f"u{number}" for number in range(600)
    }
    known = bench.cache.get("calls", "m1")
    assert known is not None
    assert known.spec.identities == b.PEOPLE


_STEPS = st.tuples(st.sampled_from(["offer", "remove"]), st.sampled_from(["u1", "u2"]), st.integers(1, 12))


@settings(max_examples=80, deadline=None, derandomize=True)
@given(steps=st.lists(_STEPS, max_size=12))
def test_versions_of_one_name_never_go_back(steps: list[tuple[str, str, int]]) -> None:
    bench, highest, dead = Bench(), 0, set[str]()
    for step, uid, version in steps:
        if step == "offer":
            bench.cache.offer(body(version, uid=uid))
        else:
            bench.cache.remove(body(version, uid=uid))
            dead.add(uid)
        dead.update(bench.gone)
        known = bench.cache.get("calls", "m")
        if known is None:
            highest = 0
        else:
            assert known.metadata.uid not in bench.gone
            assert int(known.metadata.resource_version) >= highest
            highest = int(known.metadata.resource_version)
    assert len(set(bench.gone)) == len(bench.gone)
