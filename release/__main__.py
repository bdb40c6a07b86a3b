"""`python -m release`: what `make release` and the workflows call. It reads, prints and changes nothing.

python -m release check 1.2.3     # is the tree ready to become this release? what is to be done?
python -m release crds            # are the CRDs compatible with those of the last release?
python -m release notes 1.2.3     # the section of the changelog
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from release.changelog import section
from release.checks import Candidate, check, image_repository
from release.crds import incompatibilities
from release.registry import Credentials, is_published
from release.tree import CHANGELOG, Unreadable, read, read_tags, released_crds
from release.version import NotAVersion, Version
from release.workflows import lint
from sandbox.errors import SandboxError

app = typer.Typer(no_args_is_help=True, help="Checks before a release.", add_completion=False, rich_markup_mode=None)

_STEPS = """\
Steps of a release:
  1. Write the version into pyproject.toml and helm/roomkeeper/Chart.yaml (version, appVersion).
  2. In CHANGELOG.md, rename [Unreleased] to [{version}] with today's date, and put an empty [Unreleased] above it.
  3. make generate && make test && make test-image, and commit.
  4. make release VERSION={version}, until it finds nothing.
  5. git tag --sign {tag} --message "Roomkeeper {version}" && git push origin {tag}
The workflow .github/workflows/release.yml then tests the tag, publishes {image}:{version} and the
chart, signs both, and writes the release. It publishes nothing if the registry has one of them already.
"""


@app.command(name="check")
def check_release(
    version: Annotated[str, typer.Argument(help="like 1.2.3 or 1.2.3-rc.1, without a v")],
    tagged: Annotated[
        bool, typer.Option("--tagged", help="the tag is there already and must name this commit")
    ] = False,
) -> None:
    """Check that this tree can become the release, and print the steps."""
    wanted, tree, tags = Version.parse(version), read(), read_tags()
    candidate = Candidate(wanted, tree, tags, released_crds(tags, before=wanted), tagged)
    results = check(candidate)
    image = image_repository(tree.project["urls"]["Source"])
    print(_STEPS.format(version=wanted, tag=wanted.tag, image=image))
    for result in results:
        print(f"  {'✗' if result.wrong else '✓'} {result.name:<16} {result.told}")
        for sentence in result.wrong:
            print(f"      {sentence}")
    wrong = sum(len(result.wrong) for result in results)
    if wrong:
        print(f"\n{wrong} to change before {wanted} can be released")
        raise typer.Exit(1)
    print(f"\nready: {wanted} can be {'published' if tagged else 'tagged'}")


@app.command()
def crds() -> None:
    """Check that the CRDs change compatibly since the last release."""
    try:
        last = released_crds(read_tags())
    except Unreadable as error:
        # An archive of the sources has no history; the release itself is checked in a clone.
        print(f"CRDs: not compared with the last release: {error}")
        return
    if last is None:
        print("CRDs: there is no release yet to compare with")
        return
    version, released = last
    wrong = incompatibilities(released, read().crds)
    for sentence in wrong:
        print(f"CRDs, since {version.tag}: {sentence}", file=sys.stderr)
    if wrong:
        print("docs/versioning.md says what may change within one version of the API", file=sys.stderr)
        raise typer.Exit(1)
    print(f"CRDs: compatible with {version.tag}")


@app.command()
def notes(version: Annotated[str, typer.Argument(help="like 1.2.3, without a v")]) -> None:
    """Print what CHANGELOG.md says about one release."""
    found = section(read().changelog or "", str(Version.parse(version)))
    if found is None:
        print(f"release: {CHANGELOG} has no section for {version}", file=sys.stderr)
        raise typer.Exit(1)
    print(found.body)


@app.command()
def unpublished(
    references: Annotated[list[str], typer.Argument(help="like ghcr.io/roomkeeper/roomkeeper:1.2.3")],
) -> None:
    """Fail if the registry has one of these already; REGISTRY_USER and REGISTRY_PASSWORD may be needed for it."""
    credentials = Credentials.of(os.environ)
    there = [reference for reference in references if is_published(reference, credentials)]
    for reference in there:
        print(f"release: {reference} is published already, and a release never changes", file=sys.stderr)
    if there:
        raise typer.Exit(1)
    print(f"not published yet: {', '.join(references)}")


@app.command()
def workflows() -> None:
    """Check the workflows with actionlint (and shellcheck for their scripts) and zizmor."""
    raise typer.Exit(lint())


def main() -> None:
    """Turn an error that we raise into one sentence and exit status 1."""
    try:
        app()
    except (NotAVersion, Unreadable, SandboxError) as error:
        print(f"release: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
