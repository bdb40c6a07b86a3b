"""Reads from the working tree and from git what `checks.py` judges. It changes nothing."""

from __future__ import annotations

import subprocess
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from controller.generate.command import GENERATOR
from release.version import Version, last_release
from sandbox.image import dockerfile
from sandbox.source import ROOT

CHART: Final = "helm/roomkeeper/Chart.yaml"
VALUES: Final = "helm/roomkeeper/values.yaml"
CHANGELOG: Final = "CHANGELOG.md"
_CRDS: Final = "crds"
_GENERATORS: Final = (GENERATOR,)


class Unreadable(Exception):
    """The tree, or git, does not say what a check needs; the text is a sentence for users."""


@dataclass(frozen=True)
class Tags:
    """What git says about this commit and the releases before it."""

    names: frozenset[str]
    here: frozenset[str]
    """The tags of the checked out commit."""
    changed: tuple[str, ...]
    """Files that differ from this commit, or are not in it."""


@dataclass(frozen=True)
class Tree:
    """What the files of one working tree say. A file that is missing is None."""

    project: Mapping[str, Any]
    """The table `project` of pyproject.toml."""
    labels: Mapping[str, str]
    """The labels of the image, as the Dockerfile writes them."""
    chart: Mapping[str, Any] | None
    values: Mapping[str, Any] | None
    changelog: str | None
    crds: Mapping[str, Mapping[str, Any]]
    stale: tuple[str, ...]
    """Generated files that differ from what the code says."""


def read(root: Path = ROOT) -> Tree:
    """Read the files."""
    image = dockerfile.read(root / "Dockerfile").stage("")
    return Tree(
        project=tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"],
        labels=dict(word.split("=", 1) for label in image.all("LABEL") for word in label.words),
        chart=_yaml(root / CHART),
        values=_yaml(root / VALUES),
        changelog=_text(root / CHANGELOG),
        crds=_crds({path.name: path.read_text(encoding="utf-8") for path in (root / _CRDS).glob("*.yaml")}),
        stale=tuple(path for generator in _GENERATORS for path in generator.stale()),
    )


def read_tags(root: Path = ROOT) -> Tags:
    """Read what git says. Raises Unreadable outside of a complete clone."""
    if _git(root, "rev-parse", "--is-shallow-repository").strip() == "true":
        raise Unreadable("this clone is shallow and may lack tags; run: git fetch --unshallow --tags")
    return Tags(
        names=frozenset(_git(root, "tag", "--list").split()),
        here=frozenset(_git(root, "tag", "--points-at", "HEAD").split()),
        changed=tuple(line[3:] for line in _git(root, "status", "--porcelain").splitlines()),
    )


def released_crds(
    tags: Tags, before: Version | None = None, root: Path = ROOT
) -> tuple[Version, dict[str, Mapping[str, Any]]] | None:
    """The last release among the tags, below `before` if that is given, and its CRDs by name; None without one."""
    last = last_release(tags.names, before)
    if last is None:
        return None
    names = _git(root, "ls-tree", "--name-only", last.tag, f"{_CRDS}/").split()
    return last, _crds({name: _git(root, "show", f"{last.tag}:{name}") for name in names})


def _crds(texts: Mapping[str, str]) -> dict[str, Mapping[str, Any]]:
    documents = (document for text in texts.values() for document in yaml.safe_load_all(text))
    return {document["metadata"]["name"]: document for document in documents}


def _text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None


def _yaml(path: Path) -> Mapping[str, Any] | None:
    text = _text(path)
    return None if text is None else yaml.safe_load(text)


def _git(root: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise Unreadable("git is not installed, so the last release is not known") from None
    if done.returncode != 0:
        raise Unreadable(f"git {arguments[0]} failed: {done.stderr.strip()}")
    return done.stdout
