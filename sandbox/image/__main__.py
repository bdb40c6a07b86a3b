"""`python -m sandbox.image`: what `make image` and `make sbom` do."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from sandbox.errors import SandboxError
from sandbox.image.build import NAME, origin
from sandbox.image.build import build as build_image
from sandbox.image.install import SBOM, install
from sandbox.source import ROOT

app = typer.Typer(no_args_is_help=True, help="The operator's image.", add_completion=False)


@app.command()
def build(tag: Annotated[str | None, typer.Argument(help="default: roomkeeper:VERSION")] = None) -> None:
    """Build the image with docker, podman or buildah."""
    build_image(tag or f"{NAME}:{origin().version}")


@app.command()
def arguments() -> None:
    """Print the arguments of the Dockerfile for this commit, NAME=VALUE on each line, for other builders."""
    for name, value in origin().arguments.items():
        print(f"{name}={value}")


@app.command()
def sbom(file: Annotated[Path, typer.Argument(help="where to write it")] = ROOT / "build" / SBOM) -> None:
    """Write what the image contains of Python as CycloneDX JSON."""
    with tempfile.TemporaryDirectory(prefix="roomkeeper-sbom-") as folder:
        install(Path(folder))
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(Path(folder) / SBOM, file)
    print(f"  ✓ {file}")


def main() -> None:
    """Turn an error that we raise into one message and exit status 1."""
    try:
        app()
    except SandboxError as error:
        print(f"image: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
