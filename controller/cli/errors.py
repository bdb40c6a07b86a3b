"""`roomkeeper errors`: prints what went wrong in the last hours, from the records in Redis."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated, TypeVar

import typer

from controller.cli.options import seconds

E = TypeVar("E", bound=StrEnum)

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_FORMS = ("table", "json", "yaml")
_MOST_SECONDS = 24 * 3600.0


@app.command()
def errors(
    since: Annotated[str, typer.Option(metavar="DURATION", help="How far to look back, 24h at most")] = "1h",
    namespace: Annotated[
        str, typer.Option("--namespace", "-n", metavar="NAMESPACE", help="One namespace; default: all")
    ] = "",
    type_: Annotated[str, typer.Option("--type", metavar="TYPE", help="Errors of this type alone, such as Redis")] = "",
    severity: Annotated[str, typer.Option(metavar="SEVERITY", help="Errors of this severity alone, such as High")] = "",
    output: Annotated[str, typer.Option("--output", "-o", metavar="table|json|yaml", help="The form")] = "table",
) -> None:
    """Show what went wrong, how often, and what became of it.

    It needs the settings of the operator in its environment, as in its pod, and reads Redis alone. Records stay for
    24 h; counts are per hour.
    """
    if output not in _FORMS:
        raise typer.BadParameter(f"{output!r} is none of {', '.join(_FORMS)}", param_hint="--output")
    back = seconds(since)
    if not 0 < back <= _MOST_SECONDS:
        raise typer.BadParameter(f"{since!r} is not between 1s and 24h: older records are gone", param_hint="--since")
    # Its help needs none of these.
    import asyncio
    from datetime import timedelta

    import orjson

    from controller.api.failures import ErrorType, Severity
    from controller.cli.error_report import ErrorReport, document, text
    from controller.clients.redis.client import Redis
    from controller.clients.redis.error_store import read_errors
    from controller.clock import ServerClock
    from controller.facts.time import milliseconds
    from controller.rules.error_statistics import Wanted, statistics
    from controller.settings import load_settings
    from controller.settings.redis_source import RedisSource
    from controller.telemetry import logs

    settings = load_settings({})
    logs.configure("console", "error", settings.secrets)
    until = ServerClock().now()
    since_at = until - timedelta(seconds=back)
    wanted = Wanted(
        milliseconds(since_at), _one_of(ErrorType, type_, "--type"), _one_of(Severity, severity, "--severity")
    )

    async def read() -> ErrorReport:
        redis = Redis(RedisSource(settings, logs.also_blank))
        try:
            found = await read_errors(redis, settings.cluster_id, namespace, milliseconds(until))
        finally:
            await redis.close()
        counted = statistics(found.records, found.hours, wanted, milliseconds(until))
        return ErrorReport(since_at, until, found.namespaces, counted)

    report = asyncio.run(read())
    if output == "table":
        shown = text(report)
    elif output == "json":
        shown = orjson.dumps(document(report), option=orjson.OPT_INDENT_2).decode()
    else:
        import yaml

        shown = yaml.safe_dump(document(report), sort_keys=False, allow_unicode=True).rstrip()
    sys.stdout.write(f"{shown}\n")


def _one_of(words: type[E], given: str, flag: str) -> E | None:
    """The word that was given, in any case of letters; None for the empty text. Raises typer.BadParameter."""
    known = {word.value.lower(): word for word in words}
    if given and given.lower() not in known:
        named = ", ".join(word.value for word in words)
        raise typer.BadParameter(f"{given!r} is none of {named}", param_hint=flag)
    return known.get(given.lower())
