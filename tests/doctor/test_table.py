"""The table of checks, the rights and the report. Pure."""

from __future__ import annotations

import inspect
import json
import re
from string import Formatter
from typing import Any, cast

import pytest
import yaml

from controller.doctor import run, stores
from controller.doctor.checks import CHECKS
from controller.doctor.findings import Answer, Check, Finding, Saying, Scene, Verdict, answer, finding
from controller.doctor.report import document, failed, lines
from controller.doctor.rights import LEASE, RIGHTS, Place, questions
from controller.errors import Backend, BackendUnavailable
from sandbox.source import INSTALL

FINDINGS = (
    Finding("Redis", Verdict.OK, "Valkey 9"),
    Finding("LiveKit", Verdict.FAILED, "http://x: refused", "check the key"),
    Finding("webhook", Verdict.UNCHECKED, "not asked"),
)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_every_answer_of_a_check_has_a_sentence_and_every_failure_a_remedy(check: Check) -> None:
    source = inspect.getsource(check.ask)
    if "_info(" in source:
        source += inspect.getsource(stores._info) if check.name == "Redis" else ""
    keys = set(re.findall(r'answer\(\s*"(\w+)"', source))
    keys |= {key for pair in re.findall(r'answer\("(\w+)" if .* else "(\w+)"', source) for key in pair}
    keys |= {key for pair in re.findall(r'key = "(\w+)" if .* else "(\w+)"', source) for key in pair}
    settings = {"ok", "wrong", "none"} if check.name == "settings" else set()
    assert keys | settings == set(check.says)
    for saying in check.says.values():
        assert bool(saying.remedy) == (saying.verdict is Verdict.FAILED), saying
        names = [name for _, name, _, _ in Formatter().parse(saying.sentence + saying.remedy) if name]
        assert finding(
            check, answer(next(k for k, v in check.says.items() if v is saying), **dict.fromkeys(names, "x"))
        )


def test_the_rights_are_those_of_the_manifests() -> None:
    text = INSTALL.read_text(encoding="utf-8")
    roles = {body["metadata"]["name"]: body["rules"] for body in yaml.safe_load_all(text) if "rules" in body}
    granted = set().union(*(_triples(roles[name]) for name in ("roomkeeper", "roomkeeper-crds", "roomkeeper-lease")))
    needed = {
        (right.group, right.resource, verb, name.replace(LEASE, "roomkeeper-shard-0"))
        for right in RIGHTS
        for verb in right.verbs
        for name in right.names or ("",)
    }
    assert needed == granted


def _triples(rules: list[dict[str, Any]]) -> set[tuple[str, str, str, str]]:
    return {
        (group, resource, verb, name)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
        for name in rule.get("resourceNames") or ("",)
    }


def test_a_right_is_asked_in_each_namespace_that_is_served() -> None:
    asked = list(questions("system", ("a", "b"), "lease-1"))
    assert {question.namespace for question in asked if question.resource == "matches"} == {"a", "b"}
    assert {question.namespace for question in asked if question.resource == "leases"} == {"system"}
    assert next(str(question) for question in asked) == "get matches.roomkeeper.dev in a"
    assert any(str(question) == "update leases.coordination.k8s.io lease-1 in system" for question in asked)
    everywhere = {question.namespace for question in questions("system", (), "x") if question.resource == "rooms"}
    assert everywhere == {""}
    assert not any(right.is_optional and right.place is not Place.CLUSTER for right in RIGHTS)


async def test_a_check_whose_backend_does_not_answer_leaves_the_others_their_findings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """LiveKit's clock is compared with that of the API server, which has a finding of its own."""

    async def fails(_scene: Scene) -> Answer:
        raise BackendUnavailable(Backend.KUBERNETES, "read /version", "no answer from the API server (TimeoutError)")

    async def answers(_scene: Scene) -> Answer:
        return answer("ok")

    says = {"ok": Saying(Verdict.OK, "fine")}
    checks = (Check("LiveKit clock", "?", fails, says), Check("LiveKit", "?", answers, says))
    monkeypatch.setattr(run, "CHECKS", checks)
    clock, livekit = await run.examine(cast("Scene", None))
    assert (clock.verdict, livekit.verdict) == (Verdict.UNCHECKED, Verdict.OK)
    assert clock.sentence == "not known: Kubernetes read /version: no answer from the API server (TimeoutError)"


def test_the_lines_are_aligned_and_a_remedy_stands_below_its_finding() -> None:
    assert lines(FINDINGS) == (
        "  ✓ Redis    Valkey 9\n"
        "  ✗ LiveKit  http://x: refused\n"
        "             → check the key\n"
        "  – webhook  not asked\n"
        "1 problem, 1 not checked"
    )


def test_what_could_not_be_checked_is_no_failure() -> None:
    assert failed(FINDINGS)
    assert not failed([FINDINGS[0], FINDINGS[2]])


def test_the_document_is_for_programs() -> None:
    made = json.loads(document(FINDINGS))
    assert (made["apiVersion"], made["kind"], made["ok"]) == ("cli.roomkeeper.dev/v1alpha1", "DoctorReport", False)
    assert made["checks"][1] == {
        "name": "LiveKit",
        "verdict": "failed",
        "sentence": "http://x: refused",
        "remedy": "check the key",
    }
