"""The comparison of audit logs with the rights of the operator (`tests.support.rights`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from sandbox.cluster import read_manifests
from sandbox.source import INSTALL
from tests.support.rights import NO_REQUEST, Asked, Right, granted, problems, read

MATCHES = "matches.roomkeeper.dev"


def event(verb: str, resource: str, group: str = "", *, name: str = "", sub: str = "", allowed: bool = True) -> Any:
    """An event as kube-apiserver writes it."""
    where = {"resource": resource, "apiGroup": group, "name": name, "subresource": sub, "namespace": "calls"}
    decision = "allow" if allowed else "forbid"
    return {
        "verb": verb,
        "objectRef": {key: value for key, value in where.items() if value},
        "annotations": {"authorization.k8s.io/decision": decision},
    }


def test_the_shipped_rights_are_read_from_all_roles_of_the_operator() -> None:
    rights = granted(read_manifests([INSTALL]))
    assert Right(MATCHES, "watch") in rights
    assert Right("rooms/status.roomkeeper.dev", "patch") in rights
    assert Right("leases.coordination.k8s.io", "update", "roomkeeper-shard-0") in rights
    assert Right("customresourcedefinitions.apiextensions.k8s.io", "get", MATCHES) in rights
    assert rights >= NO_REQUEST
    # Those of people.
    assert Right(MATCHES, "deletecollection") not in rights


def test_a_log_is_read_up_to_the_line_that_a_killed_server_left_unfinished(tmp_path: Path) -> None:
    lines = [event("get", "rooms", "roomkeeper.dev", name="a"), event("create", "secrets", allowed=False)]
    text = b"".join(orjson.dumps(line) + b"\n" for line in lines)
    (tmp_path / "a.log").write_bytes(text + b'{"verb": "del')
    (tmp_path / "b.log").write_bytes(orjson.dumps({"verb": "get", "requestURI": "/apis"}) + b"\n")
    asked = read(tmp_path)
    assert asked.requests == {Right("rooms.roomkeeper.dev", "get", "a")}
    assert asked.refused == {Right("secrets", "create")}


def test_a_refused_request_is_a_problem_whatever_ran() -> None:
    asked = Asked(refused={Right("pods", "list")})
    assert problems(frozenset(), asked, complete=False) == ["missing in the manifests: list pods"]


def test_a_right_that_no_request_needed_is_a_problem_if_all_tests_ran() -> None:
    rights = frozenset({Right("secrets", "delete"), Right("leases", "update", "ours"), Right("events", "patch")})
    asked = Asked({Right("secrets", "delete", "x"), Right("leases", "update", "ours")})
    assert problems(rights, asked, complete=False) == []
    assert problems(rights, asked, complete=True) == ["in the manifests, and no test needed it: patch events"]


def test_a_right_on_a_named_object_is_needed_by_a_request_for_that_object_alone() -> None:
    rights = frozenset({Right("leases", "update", "ours")})
    asked = Asked({Right("leases", "update", "another")})
    assert len(problems(rights, asked, complete=True)) == 1
