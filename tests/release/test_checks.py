"""What `make release` finds: one sentence for each thing that is wrong, and nothing in a tree that is ready."""

from __future__ import annotations

import copy
import dataclasses
import subprocess
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from release import tree as trees
from release.__main__ import app
from release.changelog import section, sections
from release.checks import Candidate, check, image_repository
from release.tree import Tags, Tree, Unreadable, read_tags, released_crds
from release.version import NotAVersion, Version, last_release
from sandbox.source import ROOT

SOURCE = "https://github.com/roomkeeper/roomkeeper"
CHANGELOG = """\
# Changelog

## [Unreleased]

## [1.2.0] - 2026-11-30

### Added

- Calls.

## [1.1.0] - 2026-10-01

First.

[Unreleased]: https://example.test/compare/v1.2.0...main
"""
CRD = {
    "metadata": {"name": "matches.roomkeeper.dev"},
    "spec": {
        "group": "roomkeeper.dev",
        "scope": "Namespaced",
        "names": {"kind": "Match", "plural": "matches"},
        "versions": [
            {
                "name": "v1alpha1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object"}}}},
            }
        ],
    },
}
READY = Candidate(
    version=Version((1, 2, 0)),
    tree=Tree(
        project={
            "version": "1.2.0",
            "urls": {"Homepage": SOURCE, "Source": SOURCE, "Documentation": f"{SOURCE}/tree/main/docs"},
        },
        labels={
            "org.opencontainers.image.version": "${VERSION}",
            "org.opencontainers.image.source": SOURCE,
            "org.opencontainers.image.url": SOURCE,
            "org.opencontainers.image.documentation": f"{SOURCE}/tree/main/docs",
        },
        chart={"version": "1.2.0", "appVersion": "1.2.0", "home": SOURCE, "sources": [SOURCE]},
        values={"image": {"repository": "ghcr.io/roomkeeper/roomkeeper"}},
        changelog=CHANGELOG,
        crds={"matches.roomkeeper.dev": CRD},
        stale=(),
    ),
    tags=Tags(names=frozenset({"v1.1.0", "nightly"}), here=frozenset(), changed=()),
    last=(Version((1, 1, 0)), {"matches.roomkeeper.dev": CRD}),
)


def _wrong(candidate: Candidate) -> list[str]:
    return [sentence for result in check(candidate) for sentence in result.wrong]


def _with(**changes: Any) -> Candidate:
    """The candidate with changes of its tree."""
    return dataclasses.replace(READY, tree=dataclasses.replace(READY.tree, **changes))


def test_nothing_is_found_in_a_tree_that_is_ready() -> None:
    assert _wrong(READY) == []
    assert [result.told for result in check(READY) if result.name == "CRDs"] == ["compared with v1.1.0"]


def test_the_first_release_is_compared_with_nothing_and_says_so() -> None:
    first = dataclasses.replace(READY, last=None)
    assert _wrong(first) == []
    assert [result.told for result in check(first) if result.name == "CRDs"] == [
        "there is no release yet to compare with"
    ]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"project": {**READY.tree.project, "version": "1.1.0"}},
            'pyproject.toml says version 1.1.0; write version = "1.2.0" there',
        ),
        ({"chart": None}, "helm/roomkeeper/Chart.yaml is missing; a release has a chart"),
        (
            {"chart": {**(READY.tree.chart or {}), "version": "1.1.0"}},
            'helm/roomkeeper/Chart.yaml says version 1.1.0; write version: "1.2.0" there',
        ),
        (
            {"chart": {**(READY.tree.chart or {}), "appVersion": 1.2}},
            'helm/roomkeeper/Chart.yaml says appVersion 1.2; write appVersion: "1.2.0" there',
        ),
        (
            {"chart": {**(READY.tree.chart or {}), "home": "https://example.test"}},
            f"helm/roomkeeper/Chart.yaml says home https://example.test; write home: {SOURCE} there",
        ),
        (
            {"chart": {**(READY.tree.chart or {}), "sources": []}},
            f"helm/roomkeeper/Chart.yaml does not name {SOURCE} among its sources; add it there",
        ),
        (
            {"values": {"image": {"repository": "example.test/roomkeeper"}}},
            "helm/roomkeeper/values.yaml has image.repository example.test/roomkeeper; "
            "write ghcr.io/roomkeeper/roomkeeper there",
        ),
        (
            {"labels": {**READY.tree.labels, "org.opencontainers.image.source": "https://example.test"}},
            f"the Dockerfile's label source is https://example.test; write {SOURCE} there, as in pyproject.toml",
        ),
        (
            {"labels": {**READY.tree.labels, "org.opencontainers.image.version": "1.2.0"}},
            'the Dockerfile must take the label version from the build: org.opencontainers.image.version="${VERSION}"',
        ),
        ({"changelog": None}, "CHANGELOG.md is missing; write it with a section ## [1.2.0] - <date>"),
        (
            {"changelog": "## [Unreleased]\n\n- Calls.\n"},
            "CHANGELOG.md has no section for 1.2.0; rename ## [Unreleased] to ## [1.2.0] - <date>",
        ),
        (
            {"changelog": CHANGELOG.replace(" - 2026-11-30", "")},
            "CHANGELOG.md: the section [1.2.0] needs a date, as in ## [1.2.0] - 2026-01-31",
        ),
        (
            {"changelog": CHANGELOG.replace("2026-11-30", "2026-11-31")},
            "CHANGELOG.md: the section [1.2.0] needs a date, as in ## [1.2.0] - 2026-01-31",
        ),
        (
            {"changelog": CHANGELOG.replace("### Added\n\n- Calls.\n", "")},
            "CHANGELOG.md: the section [1.2.0] is empty; say there what changes for users",
        ),
        (
            {"changelog": CHANGELOG.replace("## [Unreleased]\n\n", "")},
            "CHANGELOG.md has no section ## [Unreleased] for what comes next; add an empty one at its top",
        ),
        (
            {"stale": ("crds/matches.yaml", "docs/events.md")},
            "these generated files are stale: crds/matches.yaml, docs/events.md; run: make generate",
        ),
        (
            {"crds": {}},
            "matches.roomkeeper.dev: the CRD is gone (since v1.1.0); docs/versioning.md says what may change",
        ),
    ],
)
def test_each_thing_that_is_wrong_is_one_sentence_with_what_to_change(changes: dict[str, Any], told: str) -> None:
    assert _wrong(_with(**changes)) == [told]


@pytest.mark.parametrize(
    ("tags", "told"),
    [
        (
            {"changed": ("README.md", "notes.txt")},
            "these files are not committed: README.md, notes.txt; commit or remove them",
        ),
        (
            {"names": frozenset({"v1.2.0"})},
            "the tag v1.2.0 is there already, and a release never changes; choose a higher version",
        ),
        ({"names": frozenset({"v1.2.3"})}, "v1.2.3 is released already; choose a version above it"),
    ],
)
def test_what_git_says_must_fit(tags: dict[str, Any], told: str) -> None:
    assert _wrong(dataclasses.replace(READY, tags=dataclasses.replace(READY.tags, **tags))) == [told]


def test_the_workflow_checks_that_the_tag_names_its_commit() -> None:
    tagged = dataclasses.replace(READY, is_tagged=True)
    assert _wrong(tagged) == ["the tag v1.2.0 does not name this commit; check the commit of the tag out"]
    tags = dataclasses.replace(READY.tags, names=frozenset({"v1.2.0"}), here=frozenset({"v1.2.0"}))
    assert _wrong(dataclasses.replace(tagged, tags=tags)) == []


@pytest.mark.parametrize("text", ["v1.2.3", "1.2", "1.2.3.4", "01.2.3", "1.2.3rc1", "1.2.3-rc.0", "", "1.2.3\n"])
def test_what_is_no_version_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(NotAVersion, match=r"expected one like 1\.2\.3"):
        Version.parse(text)


def test_a_candidate_comes_before_its_release_and_is_never_the_last_release() -> None:
    assert Version.parse("1.10.0-rc.2") < Version.parse("1.10.0-rc.10") < Version.parse("1.10.0")
    tags = ["v1.9.0", "v1.10.0", "v1.11.0-rc.1", "v2", "chart-9.9.9"]
    assert last_release(tags) == Version.parse("1.10.0")
    assert last_release(tags, before=Version.parse("1.10.0")) == Version.parse("1.9.0")
    assert last_release(["nightly"]) is None


def test_the_notes_of_a_release_are_its_section_without_the_heading() -> None:
    found = section(CHANGELOG, "1.2.0")
    assert found is not None
    assert found.body == "### Added\n\n- Calls."
    assert [one.body for one in sections(CHANGELOG) if one.name == "1.1.0"] == ["First."]


def test_the_image_is_published_beside_its_sources() -> None:
    assert image_repository("https://github.com/Roomkeeper/Roomkeeper/") == "ghcr.io/roomkeeper/roomkeeper"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A repository with one release, v1.0.0, and a commit after it that has changed its CRD."""
    _git(tmp_path, "init", "--quiet")
    (tmp_path / "crds").mkdir()
    file = tmp_path / "crds" / "matches.yaml"
    file.write_text("metadata: {name: matches.roomkeeper.dev}\nspec: {scope: Namespaced}\n")
    _commit(tmp_path)
    _git(tmp_path, "tag", "v1.0.0")
    file.write_text("metadata: {name: matches.roomkeeper.dev}\nspec: {scope: Cluster}\n")
    _commit(tmp_path)
    return tmp_path


def _git(directory: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=directory, check=True, capture_output=True)


def _commit(directory: Path) -> None:
    _git(directory, "add", ".")
    who = ("-c", "user.name=Tester", "-c", "user.email=tester@example.test")
    _git(directory, *who, "-c", "commit.gpgsign=false", "commit", "--quiet", "--message", "A change")


def test_the_crds_of_the_last_release_are_read_from_its_tag(clone: Path) -> None:
    tags = read_tags(clone)
    assert (tags.names, tags.here, tags.changed) == (frozenset({"v1.0.0"}), frozenset(), ())
    last = released_crds(tags, root=clone)
    assert last is not None
    assert last[0] == Version.parse("1.0.0")
    assert last[1]["matches.roomkeeper.dev"]["spec"] == {"scope": "Namespaced"}
    assert released_crds(tags, before=Version.parse("1.0.0"), root=clone) is None


def test_a_file_that_is_not_committed_is_seen(clone: Path) -> None:
    (clone / "notes.txt").write_text("later")
    assert read_tags(clone).changed == ("notes.txt",)


def test_a_clone_that_may_lack_tags_is_an_error_and_not_a_first_release(clone: Path, tmp_path: Path) -> None:
    shallow = tmp_path / "shallow"
    _git(tmp_path, "clone", "--quiet", "--depth", "1", f"file://{clone}", str(shallow))
    with pytest.raises(Unreadable, match="this clone is shallow and may lack tags; run: git fetch --unshallow --tags"):
        read_tags(shallow)


def test_an_archive_without_git_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="git rev-parse failed"):
        read_tags(tmp_path)


def test_the_command_prints_the_steps_and_every_finding_and_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("release.__main__.read", lambda: _with(stale=("docs/events.md",)).tree)
    monkeypatch.setattr("release.__main__.read_tags", lambda: READY.tags)
    monkeypatch.setattr("release.__main__.released_crds", lambda tags, before=None: READY.last)
    result = CliRunner().invoke(app, ["check", "1.2.0"])
    assert result.exit_code == 1
    assert 'git tag --sign v1.2.0 --message "Roomkeeper 1.2.0"' in result.output
    assert "these generated files are stale: docs/events.md; run: make generate" in result.output
    assert "1 to change before 1.2.0 can be released" in result.output


def test_the_command_says_that_a_tree_is_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("release.__main__.read", lambda: copy.copy(READY.tree))
    monkeypatch.setattr("release.__main__.read_tags", lambda: READY.tags)
    monkeypatch.setattr("release.__main__.released_crds", lambda tags, before=None: READY.last)
    result = CliRunner().invoke(app, ["check", "1.2.0"])
    assert result.exit_code == 0
    assert result.output.endswith("ready: 1.2.0 can be tagged\n")


def test_this_tree_has_all_that_the_checks_read() -> None:
    found = trees.read(ROOT)
    assert found.project["version"]
    assert "matches.roomkeeper.dev" in found.crds
    assert found.changelog is not None
    assert section(found.changelog, "Unreleased") is not None
    assert section(found.changelog, found.project["version"]) is not None
