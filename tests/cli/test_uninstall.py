"""The options of the commands about a cluster, before a cluster is asked."""

from __future__ import annotations

import pytest
import typer

from controller.cli.options import namespaces, seconds
from tests.cli.support import run


@pytest.mark.parametrize(("text", "number"), [("90", 90), ("90s", 90), ("5m", 300), ("1h30m", 5400), ("1m5s", 65)])
def test_a_duration_is_written_as_for_kubectl(text: str, number: float) -> None:
    assert seconds(text) == number


@pytest.mark.parametrize("text", ["", "soon", "5 m", "-1s", "1.5m"])
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="write for example 90s or 5m"):
        seconds(text)


def test_namespaces_are_separated_by_commas() -> None:
    assert namespaces("a, b,") == ("a", "b")
    assert namespaces("") is None


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("uninstall", "--policy", "destroy"), "'destroy' is neither drain nor release"),
        (("uninstall", "--timeout", "soon"), "'soon' is not a duration"),
        (("uninstall", "--kubeconfig", "/nowhere"), "the kubeconfig /nowhere does not exist"),
        (("doctor", "--output", "yaml"), "'yaml' is neither text nor json"),
        (("doctor", "--kubeconfig", "/nowhere"), "the kubeconfig /nowhere does not exist"),
    ],
)
def test_a_wrong_option_is_refused_with_status_2_and_one_sentence(arguments: tuple[str, ...], sentence: str) -> None:
    done = run(*arguments)
    assert done.status == 2
    assert sentence in done.err
    assert "Traceback" not in done.err


def test_the_help_of_both_needs_no_library() -> None:
    for command in ("uninstall", "doctor"):
        done = run(command, "--help")
        assert done.status == 0
        assert (
            done.imported("kopf", "aiohttp", "pydantic_settings", "controller.uninstall", "controller.doctor") == set()
        )
