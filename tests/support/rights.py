"""Compares what the operator asked of the API server in all tests with the rights that `manifests/` gives to it.

The API servers of the tests note each request of the operator's own ServiceAccount in an audit log. When the session
ends, every request that was refused for want of a right fails it; tests that take rights away use other ServiceAccounts
(`tests.support.accounts`). If all tests ran, a right that no request needed fails it as well.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson
import pytest

from sandbox.cluster import Manifest, read_manifests
from sandbox.endpoints import OPERATOR_ACCOUNT, OPERATOR_NAMESPACE
from sandbox.source import INSTALL

DIRECTORY: Final = "audit"
_SUBJECT: Final = {"kind": "ServiceAccount", "name": OPERATOR_ACCOUNT, "namespace": OPERATOR_NAMESPACE}
_DECISION: Final = "authorization.k8s.io/decision"
_REPORT: Final = pytest.StashKey[list[str]]()


@dataclass(frozen=True, slots=True, order=True)
class Right:
    """One verb on one resource; without a name, on all objects of the resource."""

    resource: str
    verb: str
    name: str = ""

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}" + (f" {self.name}" if self.name else "")


# An admission plugin asks for it when a Room is created; that is no request of its own. The stacks have the plugin on,
# and `tests/e2e/disturbed/test_bad_input.py` takes the right away.
NO_REQUEST: Final = frozenset({Right("matches/finalizers.roomkeeper.dev", "update")})


# `tests/api/test_secret_policy.py` uses the operator's token as a thief would, and in
# `tests/environments/test_livekit_servers.py` a LiveKitServer names a Secret that the operator may not read.
A_THIEF_ASKED: Final = frozenset({Right("secrets", "get", "bank"), Right("secrets", "get", "of-others")})


@dataclass
class Asked:
    """What was asked, and what of it was refused for want of a right."""

    requests: set[Right] = field(default_factory=set)
    refused: set[Right] = field(default_factory=set)

    def note(self, event: Mapping[str, Any]) -> None:
        """Take in one event of an audit log. Paths without a resource, such as discovery, need no right of ours."""
        found = event.get("objectRef")
        if not found or "resource" not in found:
            return
        resource = _resource(found.get("apiGroup", ""), found["resource"], found.get("subresource", ""))
        right = Right(resource, event["verb"], found.get("name", ""))
        refused = event.get("annotations", {}).get(_DECISION) == "forbid"
        (self.refused if refused else self.requests).add(right)


def granted(manifests: Iterable[Manifest]) -> frozenset[Right]:
    """All rights that Roles and ClusterRoles give to the operator's ServiceAccount."""
    objects = list(manifests)
    roles = {(found["kind"], found["metadata"]["name"]): found for found in objects if found["kind"].endswith("Role")}
    bound = [
        roles[found["roleRef"]["kind"], found["roleRef"]["name"]]
        for found in objects
        if found["kind"].endswith("RoleBinding") and _SUBJECT in found["subjects"]
    ]
    return frozenset(
        Right(_resource(group, *resource.split("/")), verb, name)
        for role in bound
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
        for name in rule.get("resourceNames", [""])
    )


def read(directory: Path) -> Asked:
    """Everything in the audit logs of a directory."""
    asked = Asked()
    for file in sorted(directory.glob("*.log")):
        with file.open("rb") as lines:
            for line in lines:
                if line.endswith(b"\n"):  # a killed API server may leave half of one
                    asked.note(orjson.loads(line))
    return asked


def problems(rights: frozenset[Right], asked: Asked, *, complete: bool) -> list[str]:
    """What is wrong, a line each: rights that are missing, and those without a use if all tests ran."""
    found = [f"missing in the manifests: {right}" for right in sorted(asked.refused - A_THIEF_ASKED)]
    if complete:
        used = asked.requests | {Right(right.resource, right.verb) for right in asked.requests} | NO_REQUEST
        found += [f"in the manifests, and no test needed it: {right}" for right in sorted(rights - used)]
    return found


@pytest.hookimpl(wrapper=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> Generator[None, object, object]:
    """Compare at the end of the whole session, in the process that the user started."""
    result = yield
    config = session.config
    if hasattr(config, "workerinput") or exitstatus not in {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED}:
        return result
    directory = config._tmp_path_factory.getbasetemp() / DIRECTORY  # type: ignore[attr-defined]  # pytest has no public name for it
    if not directory.exists():
        return result
    complete = exitstatus == pytest.ExitCode.OK and _ran_all(config)
    config.stash[_REPORT] = problems(granted(read_manifests([INSTALL])), read(directory), complete=complete)
    if config.stash[_REPORT]:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    return result


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what is wrong."""
    if report := config.stash.get(_REPORT, []):
        terminalreporter.section("rights of the operator, compared with what it asked for", red=True)
        for line in report:
            terminalreporter.line(line)


def _ran_all(config: pytest.Config) -> bool:
    """Whether nothing on the command line has left out a test on the real programs."""
    options = config.option
    narrowed = options.keyword or options.markexpr not in {"", "real"} or getattr(options, "lf", False)
    return config.args_source is pytest.Config.ArgsSource.TESTPATHS and not narrowed


def _resource(group: str, resource: str, subresource: str = "") -> str:
    full = f"{resource}/{subresource}" if subresource else resource
    return f"{full}.{group}" if group else full
