"""Every page with commands has a test that types them, or a reason why none does.

`commands.py` checks the words and flags of our own programs on all pages; `tests/api/test_page_commands.py` sends
kubectl's commands to a real API server where no other test types them.
"""

from __future__ import annotations

import re

import pytest

from tests.docs.known import ROOT
from website.pages import pages

_BLOCK = re.compile(r"^ *```sh\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
PAGES = {path: blocks for path in pages() if (blocks := _BLOCK.findall((ROOT / path).read_text(encoding="utf-8")))}

TYPED = {
    "docs/configuration.md": "tests/api/test_configuration_page.py",
    "docs/draining.md": "tests/api/test_page_commands.py",
    "docs/events.md": "tests/redis/test_docs.py",
    "docs/install.md": "tests/api/test_configuration_page.py",
    "docs/keys.md": "tests/api/test_page_commands.py",
    "docs/oncall.md": "tests/e2e/test_oncall.py",
    "docs/operations.md": "tests/environments/test_deletions_that_wait.py",
    "docs/quickstart.md": "tests/api/test_page_commands.py",
    "docs/redis.md": "tests/redis/test_docs.py",
    "docs/retention.md": "tests/e2e/test_oncall.py",
    "docs/runbook.md": "tests/e2e/disturbed/test_runbook.py",
    "docs/servers.md": "tests/api/test_page_commands.py",
    "docs/uninstall.md": "tests/uninstall/test_page.py",
    "docs/upgrade.md": "tests/installed/test_helm.py",
}
"""Pages whose commands a test types, all of them or those that change something, and the test."""

NOT_TYPED = {
    "docs/alerts/": "they read what an alert is about: kubectl get and describe, logs, and commands of runbook.md",
    "docs/capacity.md": "benchmarks of hours; their flags are checked",
    "docs/errors.md": "`roomkeeper errors` is typed for runbook.md and oncall.md; here it is in a pod",
    "docs/gateways.md": "the example runs in tests/examples, started from Python; its flags are checked",
    "docs/image.md": "`make test-image` builds and runs the image; other builders are not installed",
    "docs/matchmakers.md": "the example runs in tests/examples, started from Python; its flags are checked",
    "docs/performance.md": "benchmarks of hours; their flags are checked",
    "docs/reference/conditions.md": "each line waits for a condition of the table that the page is made of",
    "docs/sandbox.md": "it starts what the tests of the sandbox start; its flags are checked",
    "docs/security.md": "tests/api/test_secret_policy.py applies the file",
    "docs/sweep.md": "`roomkeeper sweep` is typed for runbook.md; here it is in a pod",
    "docs/tracing.md": "its values are settings, which the schema of the chart knows; the other command reads a UID",
    "docs/versioning.md": "cosign and gh ask public services about a release",
    "examples/matchmaker/README.md": "tests/examples starts the same modules from Python",
    "helm/roomkeeper/README.md": "the commands of install.md, whose steps tests/installed takes with helm",
    "CONTRIBUTING.md": "the targets of the Makefile, which exist; CI runs them",
}
"""Pages whose commands no test types, and why. A folder stands for all pages in it."""


@pytest.mark.parametrize("path", PAGES)
def test_a_page_with_commands_has_a_test_or_a_reason(path: str) -> None:
    named = [page for page in (*TYPED, *NOT_TYPED) if path == page or (page.endswith("/") and path.startswith(page))]
    assert len(named) == 1


def test_the_tests_are_there_and_know_their_pages() -> None:
    without = [page for page in (*TYPED, *NOT_TYPED) if not any(path.startswith(page) for path in PAGES)]
    assert without == [], "a page of the table has no commands any longer"
    for path, test in TYPED.items():
        name = path.rpartition("/")[2]
        assert name in (ROOT / test).read_text(encoding="utf-8"), f"{test} does not name {name}"
