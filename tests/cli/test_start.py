"""What a start of the program imports: a kubectl plugin must answer at once, so each command brings only what it needs.

The tests look at `sys.modules` in a process of its own: a time limit would depend on the machine.
"""

from __future__ import annotations

from importlib import import_module

import pytest
from typer.main import get_command

from controller.cli.commands import COMMANDS
from controller.cli.main import called
from controller.cli.plugins import PARTS
from tests.cli.support import SCRIPTS, run

SLOW = (
    "aiohttp", "asyncio", "controller.app", "controller.loop", "controller.settings", "kopf", "livekit",
    "prometheus_client", "pydantic", "pydantic_settings", "redis", "rich", "sandbox", "structlog", "uvloop", "yaml",
)  # fmt: skip


@pytest.mark.parametrize("program", SCRIPTS)
@pytest.mark.parametrize(
    ("arguments", "status"),
    [(["version"], 0), (["--help"], 0), ([], 2), (["replay", "--help"], 0), (["no-such-command"], 2)],
    ids=lambda value: "-".join(value) or "no arguments" if isinstance(value, list) else "",
)
def test_a_light_command_imports_no_heavy_library(program: str, arguments: list[str], status: int) -> None:
    done = run(*arguments, program=program)
    assert done.status == status, done.err
    assert done.imported(*SLOW) == set()


def test_the_flags_of_the_operator_need_the_settings_and_neither_kopf_nor_a_client() -> None:
    done = run("operator", "--help")
    assert done.status == 0, done.err
    assert "--redis-url" in done.out
    needless = ("aiohttp", "controller.app", "kopf", "livekit", "redis", "rich", "sandbox", "structlog", "uvloop")
    assert done.imported(*needless) == set()


def test_a_wrong_setting_is_reported_before_the_operator_is_imported() -> None:
    done = run("operator", "--concurrency", "many", environment={"ROOMKEEPER_REDIS_URL": ""})
    assert done.status == 2
    assert '"many": Input should be a valid integer' in done.err
    assert done.imported("controller.app", "kopf") == set()


def test_an_error_of_ours_is_one_line_and_status_1() -> None:
    done = run("replay", "/nowhere.jsonl")
    assert (done.status, done.err) == (1, "roomkeeper: /nowhere.jsonl: cannot be read: No such file or directory\n")


@pytest.mark.parametrize(
    ("argument_zero", "name"),
    [
        ("/usr/bin/roomkeeper", "roomkeeper"),
        ("/home/me/.krew/bin/kubectl-roomkeeper", "kubectl roomkeeper"),
        ("/home/me/roomkeeper/controller/__main__.py", "python -m controller"),
        ("./rk", "rk"),
    ],
)
def test_the_usage_line_shows_the_name_that_users_type(argument_zero: str, name: str) -> None:
    assert called(argument_zero) == name


@pytest.mark.parametrize(
    ("program", "name"), [("roomkeeper", "roomkeeper"), ("kubectl-roomkeeper", "kubectl roomkeeper")]
)
def test_both_scripts_are_the_same_program_under_their_own_names(program: str, name: str) -> None:
    assert run("--help", program=program).out.startswith(f"Usage: {name} [OPTIONS] COMMAND [ARGS]...\n")
    assert run("replay", "--help", program=program).out.startswith(f"Usage: {name} replay [OPTIONS] ")
    assert f"Try '{name} --help' for help." in run("no-such-command", program=program).err


def test_a_mistyped_command_is_answered_with_the_one_that_was_meant() -> None:
    done = run("verson")
    assert done.err.splitlines()[-1] == "Error: No such command 'verson'. Did you mean 'version'?"


@pytest.mark.parametrize("entry", COMMANDS, ids=lambda entry: entry.name)
def test_the_list_of_commands_says_what_the_help_of_the_command_says(entry: object) -> None:
    entry = next(one for one in COMMANDS if one is entry)
    command = get_command(import_module(entry.module).app)
    assert (command.help or "").splitlines()[0] == entry.help


def test_the_list_of_commands_is_complete_and_each_command_says_what_it_does() -> None:
    listed = run("--help").out.partition("Commands:\n")[2].splitlines()
    expected = {**{entry.name: entry.help for entry in COMMANDS}, **{name: part.help for name, part in PARTS.items()}}
    assert dict(line.strip().split(maxsplit=1) for line in listed) == expected
