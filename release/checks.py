"""What must be true of a tree that becomes a release: a list of named checks, each with a sentence if it fails. Pure.

`tree.py` reads what is judged here; `__main__` prints it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from release.changelog import UNRELEASED, section
from release.crds import incompatibilities
from release.tree import CHANGELOG, CHART, VALUES, Tags, Tree
from release.version import Version, tagged

_LABELS: Final = {"source": "Source", "url": "Homepage", "documentation": "Documentation"}
"""Labels of the image (`org.opencontainers.image.…`) and the names of the same addresses in pyproject.toml."""


@dataclass(frozen=True)
class Candidate:
    """A tree that is to become the release `version`."""

    version: Version
    tree: Tree
    tags: Tags
    last: tuple[Version, Mapping[str, Mapping[str, Any]]] | None
    """The release before it, with its CRDs."""
    is_tagged: bool = False
    """Whether the tag was pushed already, which is so in the workflow that publishes."""


@dataclass(frozen=True)
class Result:
    """One check: its name, what is there, and what must be changed; no sentences if all is right."""

    name: str
    told: str
    wrong: tuple[str, ...]


def check(candidate: Candidate) -> list[Result]:
    """Carry all checks out, in the order of the steps of a release."""
    return [Result(name, told(candidate), tuple(find(candidate))) for name, told, find in _CHECKS]


def _project(candidate: Candidate) -> Iterator[str]:
    found = candidate.tree.project["version"]
    if found != str(candidate.version):
        yield f'pyproject.toml says version {found}; write version = "{candidate.version}" there'


def _chart(candidate: Candidate) -> Iterator[str]:
    chart = candidate.tree.chart
    if chart is None:
        yield f"{CHART} is missing; a release has a chart"
        return
    for key in ("version", "appVersion"):
        if chart.get(key) != str(candidate.version):
            yield f'{CHART} says {key} {chart.get(key)}; write {key}: "{candidate.version}" there'


def _addresses(candidate: Candidate) -> Iterator[str]:
    urls, labels = candidate.tree.project["urls"], candidate.tree.labels
    for label, name in _LABELS.items():
        found = labels.get(f"org.opencontainers.image.{label}")
        if found != urls[name]:
            yield f"the Dockerfile's label {label} is {found}; write {urls[name]} there, as in pyproject.toml"
    if labels.get("org.opencontainers.image.version") != "${VERSION}":
        yield 'the Dockerfile must take the label version from the build: org.opencontainers.image.version="${VERSION}"'
    chart, values = candidate.tree.chart or {}, candidate.tree.values or {}
    if chart and chart.get("home") != urls["Homepage"]:
        yield f"{CHART} says home {chart.get('home')}; write home: {urls['Homepage']} there"
    if chart and urls["Source"] not in chart.get("sources", ()):
        yield f"{CHART} does not name {urls['Source']} among its sources; add it there"
    repository = values.get("image", {}).get("repository")
    if values and repository != image_repository(urls["Source"]):
        yield f"{VALUES} has image.repository {repository}; write {image_repository(urls['Source'])} there"


def image_repository(source: str) -> str:
    """Where the image of a GitHub repository is published: `ghcr.io/<owner>/<name>`."""
    return source.rstrip("/").replace("https://github.com/", "ghcr.io/").lower()


def _changelog(candidate: Candidate) -> Iterator[str]:
    text, version = candidate.tree.changelog, str(candidate.version)
    if text is None:
        yield f"{CHANGELOG} is missing; write it with a section ## [{version}] - <date>"
        return
    found = section(text, version)
    if found is None:
        yield f"{CHANGELOG} has no section for {version}; rename ## [{UNRELEASED}] to ## [{version}] - <date>"
        return
    if not found.has_date:
        yield f"{CHANGELOG}: the section [{version}] needs a date, as in ## [{version}] - 2026-01-31"
    if not found.body:
        yield f"{CHANGELOG}: the section [{version}] is empty; say there what changes for users"
    if section(text, UNRELEASED) is None:
        yield f"{CHANGELOG} has no section ## [{UNRELEASED}] for what comes next; add an empty one at its top"


def _generated(candidate: Candidate) -> Iterator[str]:
    if candidate.tree.stale:
        yield f"these generated files are stale: {', '.join(candidate.tree.stale)}; run: make generate"


def _crds(candidate: Candidate) -> Iterator[str]:
    if candidate.last is not None:
        last, crds = candidate.last
        for told in incompatibilities(crds, candidate.tree.crds):
            yield f"{told} (since {last.tag}); docs/versioning.md says what may change"


def _clean(candidate: Candidate) -> Iterator[str]:
    if candidate.tags.changed:
        yield f"these files are not committed: {', '.join(candidate.tags.changed)}; commit or remove them"


def _tag(candidate: Candidate) -> Iterator[str]:
    tag, tags = candidate.version.tag, candidate.tags
    if candidate.is_tagged:
        if tag not in tags.here:
            yield f"the tag {tag} does not name this commit; check the commit of the tag out"
        return
    if tag in tags.names:
        yield f"the tag {tag} is there already, and a release never changes; choose a higher version"
        return
    same_line = [known for known in tagged(tags.names) if known.numbers[:2] == candidate.version.numbers[:2]]
    if same_line and candidate.version < same_line[-1]:
        yield f"{same_line[-1].tag} is released already; choose a version above it"


def _compared(candidate: Candidate) -> str:
    if candidate.last is None:
        return "there is no release yet to compare with"
    return f"compared with {candidate.last[0].tag}"


_CHECKS: Final[tuple[tuple[str, Callable[[Candidate], str], Callable[[Candidate], Iterator[str]]], ...]] = (
    ("pyproject.toml", lambda one: f"version {one.tree.project['version']}", _project),
    ("chart", lambda one: "version and appVersion", _chart),
    ("addresses", lambda one: "of the image, the chart and pyproject.toml", _addresses),
    (CHANGELOG, lambda one: f"a section for {one.version} with a date", _changelog),
    ("generated files", lambda one: "as the code says", _generated),
    ("CRDs", _compared, _crds),
    ("clean tree", lambda one: "all is committed", _clean),
    ("tag", lambda one: one.version.tag, _tag),
)
