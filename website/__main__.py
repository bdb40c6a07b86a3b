"""`python -m website`: build the website into build/site. A warning is an error, and nothing is fetched.

Sphinx and what it needs are in a directory of their own, which `make site` fills once: no other part imports them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from website.pages import ROOT, Unfinished
from website.staging import Stage

OUT = Path("build/site")
PACKAGES = ROOT / ".venv/website"


def build(
    out: Annotated[Path, typer.Option(help="the directory of the website; what is in it is replaced")] = OUT,
    root: Annotated[Path, typer.Option(help="the repository with the pages")] = ROOT,
) -> None:
    """Build the website, and say what is wrong with its pages."""
    if not (PACKAGES / "sphinx").is_dir():
        print(f"{PACKAGES.relative_to(ROOT)} has no Sphinx: `make site` installs it", file=sys.stderr)
        raise typer.Exit(1)
    staged = out.with_name(f"{out.name}-pages")
    try:
        Stage(root).write(staged)
    except Unfinished as error:
        print(error, file=sys.stderr)
        raise typer.Exit(1) from None
    shutil.rmtree(out, ignore_errors=True)
    sphinx = [sys.executable, "-m", "sphinx", "--builder", "html", "--conf-dir", str(ROOT / "website")]
    strict = ["--fail-on-warning", "--keep-going", "--quiet", "--fresh-env"]
    environment = {**os.environ, "PYTHONPATH": str(PACKAGES)}
    process = subprocess.run([*sphinx, *strict, str(staged), str(out)], env=environment, check=False)
    if process.returncode:
        raise typer.Exit(process.returncode)
    shutil.rmtree(out / ".doctrees", ignore_errors=True)
    (out / ".buildinfo").unlink(missing_ok=True)
    print(f"  ✓ {out / 'index.html'}")


if __name__ == "__main__":
    typer.run(build)
