"""`roomkeeper operator`: runs the operator. It has one flag per setting, made from `controller.settings`."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from typing import Annotated

import typer

from controller.settings import FILE_FIELDS, Settings, file_field, hidden_by_services, load_settings, variable

app = typer.Typer(add_completion=False, rich_markup_mode=None)


def run(**flags: str | None) -> None:
    """Run the operator until SIGTERM.

    Every flag is also an environment variable; the flag wins.
    """
    settings = load_settings({name: value for name, value in flags.items() if value is not None})
    # Only now: a wrong setting is reported without kopf and an event loop.
    import asyncio

    import structlog
    import uvloop

    from controller.app.life import serve
    from controller.app.memory import give_large_buffers_back
    from controller.telemetry import logs

    logs.configure(settings.log_format, settings.log_level, settings.secrets)
    log = structlog.get_logger(__name__)
    for link in hidden_by_services(os.environ):
        log.warning(link.sentence)
    give_large_buffers_back()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(settings))


def _flag(field: str) -> str:
    return f"--{field.replace('_', '-')}"


def _with_settings_as_flags(command: Callable[..., None]) -> Callable[..., None]:
    """`command` with one option per setting; pydantic checks the values, so all of them are texts here."""
    parameters = []
    descriptions = {name: field.description for name, field in Settings.model_fields.items()}
    descriptions |= {file_field(name): f"Path of a file that holds the value of {_flag(name)}" for name in FILE_FIELDS}
    for name, description in descriptions.items():
        text = f"{description} [env {variable(name)}]"
        option = typer.Option(_flag(name), help=text, metavar="TEXT", show_default=False)
        kind = Annotated[str | None, option]
        parameters.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind))
    # Typer reads the signature of a command, which a function may carry as an attribute.
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # mypy knows no such attribute
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


app.command("operator")(_with_settings_as_flags(run))
