"""Commands of other packages: found where installed, skipped where missing, and reported where broken."""

from __future__ import annotations

import shutil
import sysconfig
from pathlib import Path

import pytest

from controller.cli.plugins import GROUP, PARTS
from sandbox.cli import app as sandbox_app
from sandbox.source import ROOT
from tests.cli.support import Done, run

WITHOUT_SANDBOX = """
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "sandbox":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocker())
"""


def test_without_the_sandbox_the_other_commands_work_and_it_is_not_listed() -> None:
    assert run("version", before=WITHOUT_SANDBOX).out.startswith("roomkeeper ")
    done = run("--help", before=WITHOUT_SANDBOX)
    assert done.status == 0, done.err
    assert "operator" in done.out
    assert "sandbox" not in done.out


def test_without_the_sandbox_its_command_says_in_a_sentence_what_to_install() -> None:
    done = run("sandbox", "up", before=WITHOUT_SANDBOX)
    assert (done.status, done.out) == (1, "")
    assert done.err == f"roomkeeper: the sandbox is not installed here: {PARTS['sandbox'].remedy}\n"


def test_an_installation_of_the_operator_alone_has_all_its_commands(tmp_path: Path) -> None:
    """As in an image that holds `controller/` and the metadata of the distribution, which lists the sandbox."""
    shutil.copytree(ROOT / "controller", tmp_path / "controller", ignore=shutil.ignore_patterns("__pycache__"))
    site = Path(sysconfig.get_path("purelib"))
    (metadata,) = site.glob("roomkeeper-*.dist-info")
    shutil.copytree(metadata, tmp_path / metadata.name)
    # Neither the finder of the editable installation nor the working directory may help out.
    alone = (
        "sys.meta_path[:] = [f for f in sys.meta_path if '__editable__' not in repr(f)]\n"
        f"sys.path[:] = [{str(tmp_path)!r}, *(p for p in sys.path if p not in ('', {str(ROOT)!r}))]"
    )
    assert run("version", before=alone).out.startswith("roomkeeper ")
    assert "sandbox" not in run("--help", before=alone).out
    assert "--redis-url" in run("operator", "--help", before=alone).out
    assert "the sandbox is not installed here" in run("sandbox", "up", before=alone).err


def test_with_the_sandbox_its_commands_are_there() -> None:
    done = run("sandbox", "--help")
    assert done.status == 0, done.err
    assert done.out.startswith("Usage: roomkeeper sandbox ")
    assert {"up", "down", "demo", "parts"} <= {line.split()[0] for line in done.out.splitlines() if line.strip()}


def test_the_list_says_of_the_sandbox_what_the_sandbox_says() -> None:
    assert sandbox_app.info.help == PARTS["sandbox"].help


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    """A package with one command, installed beside ours; returns its module, to be written by the test."""
    package = tmp_path / "extra"
    package.mkdir()
    (package / "__init__.py").touch()
    metadata = tmp_path / "extra-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: extra\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[{GROUP}]\nextra = extra.cli:app\n")
    return package / "cli.py"


def run_beside(plugin: Path, *arguments: str) -> Done:
    """Run the program where the plugin is installed."""
    return run(*arguments, before=f"sys.path.insert(0, {str(plugin.parents[1])!r})")


def test_a_command_of_another_distribution_is_listed_and_run(plugin: Path) -> None:
    plugin.write_text(
        "import typer\napp = typer.Typer()\n\n@app.command()\ndef extra(word: str) -> None:\n    print('extra', word)\n"
    )
    listed = run_beside(plugin, "--help")
    assert "Commands of the package extra." in listed.out
    assert "extra.cli" not in listed.modules
    assert run_beside(plugin, "extra", "hello").out == "extra hello\n"


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("import a_library_that_is_missing\n", "No module named 'a_library_that_is_missing'"),
        ("from extra import nothing_like_it\n", "cannot import name 'nothing_like_it' from 'extra'"),
        ("", "module 'extra.cli' has no attribute 'app'"),
    ],
)
def test_an_error_inside_an_installed_command_is_reported_and_disturbs_no_other(
    plugin: Path, text: str, cause: str
) -> None:
    plugin.write_text(text)
    assert run_beside(plugin, "version").status == 0
    assert run_beside(plugin, "--help").status == 0
    done = run_beside(plugin, "extra")
    assert done.status == 1
    assert done.err.startswith("roomkeeper: the command extra is installed but extra.cli:app cannot be imported: ")
    assert cause in done.err
