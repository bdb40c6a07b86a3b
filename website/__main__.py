"""`python -m website`: build the website into build/site. A warning is an error, and nothing is fetched."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from website.pages import ROOT, Unfinished
from website.staging import Stage

OUT = Path("build/site")


def build(
    out: Annotated[Path, typer.Option(help="the directory of the website; what is in it is replaced")] = OUT,
    root: Annotated[Path, typer.Option(help="the repository with the pages")] = ROOT,
) -> None:
    """Build the website, and say what is wrong with its pages."""
    staged = out.with_name(f"{out.name}-pages")
    try:
        Stage(root).write(staged)
    except Unfinished as error:
        print(error, file=sys.stderr)
        raise typer.Exit(1) from None
    shutil.rmtree(out, ignore_errors=True)
    sphinx = [sys.executable, "-m", "sphinx", "--builder", "html", "--conf-dir", str(ROOT / "website")]
    strict = ["--fail-on-warning", "--keep-going", "--quiet", "--fresh-env"]
    process = subprocess.run([*sphinx, *strict, str(staged), str(out)], check=False)
    if process.returncode:
        raise typer.Exit(process.returncode)
    shutil.rmtree(out / ".doctrees", ignore_errors=True)
    (out / ".buildinfo").unlink(missing_ok=True)
    print(f"  ✓ {out / 'index.html'}")


if __name__ == "__main__":
    typer.run(build)
