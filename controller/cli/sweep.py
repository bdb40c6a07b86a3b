"""`roomkeeper sweep`: shows what is left over and why, and cleans it. The work is in `controller.app.sweep_by_hand`."""

from __future__ import annotations

import sys
from typing import Annotated, Final

import typer

from controller.cli.options import Context, Kubeconfig

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_KINDS: Final = ("rooms", "users", "sessions", "matches", "heartbeats", "notices")
_FORMS: Final = ("table", "json")
_BAR: Final = 30


@app.command()
def sweep(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what is left over, and change nothing")] = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="Take over from a sweep that is under way, and treat young leftovers as old ones"),
    ] = False,
    type_: Annotated[str, typer.Option("--type", metavar="TYPE", help="One type alone: " + ", ".join(_KINDS))] = "",
    id_: Annotated[
        str,
        typer.Option(
            "--id",
            metavar="ID",
            help="One id alone, with --type: a user, a session, the UID of a Match, a LiveKit room",
        ),
    ] = "",
    namespace: Annotated[
        str, typer.Option("--namespace", "-n", metavar="NAMESPACE", help="One namespace; default: all that are served")
    ] = "",
    output: Annotated[str, typer.Option("--output", "-o", metavar="table|json", help="The form")] = "table",
    kubeconfig: Kubeconfig = None,
    context: Context = "",
) -> None:
    """Clean up what is left of calls, users and rooms that are over.

    It needs the settings of the operator in its environment, as in its pod. It shows what it found and why before it
    changes anything. The exit status is 1 if something could not be looked at or cleaned, or if another sweep works.
    """
    if type_ and type_ not in _KINDS:
        raise typer.BadParameter(f"{type_!r} is none of {', '.join(_KINDS)}", param_hint="--type")
    if id_ and not type_:
        raise typer.BadParameter("say with --type what it is an id of", param_hint="--id")
    if output not in _FORMS:
        raise typer.BadParameter(f"{output!r} is none of {', '.join(_FORMS)}", param_hint="--output")
    # Its help needs none of these.
    import asyncio

    import orjson

    from controller.app.sweep_by_hand import HandSweep, Wanted, open_sweep
    from controller.cli.progress import Lines
    from controller.cli.sweep_report import SweepReport, document, done_text, found_text
    from controller.facts.leftover import Outcome, SweepKind
    from controller.settings import load_settings
    from controller.telemetry import logs

    settings = load_settings({})
    logs.configure("console", "error", settings.secrets)
    wanted = Wanted(SweepKind(type_) if type_ else None, id_, namespace, force)
    # The document alone is for stdout.
    lines = Lines(sys.stderr if output == "json" else None)

    async def carry_out(work: HandSweep) -> SweepReport:
        lines.running("objects", "reading Matches and Rooms")
        await work.read_objects()
        findings = await work.find(lambda done, of: lines.running("keys", progress_bar(done, of)))
        lines.end()
        if output == "table":
            sys.stdout.write(f"{found_text(findings.leftovers, findings.keys)}\n\n")
            sys.stdout.flush()
        if force and not dry_run:
            lines.warn("--force: another sweep is interrupted, and young leftovers are cleaned as old ones")
        does_clean = bool(findings.leftovers) and not dry_run
        outcomes: list[Outcome] = []
        if does_clean:
            outcomes = await work.clean(findings.leftovers, lambda n, of: lines.running("clean", progress_bar(n, of)))
            lines.end()
        notes = (await work.notes()).fields
        return SweepReport(dry_run, force, findings.keys, findings.leftovers, outcomes, findings.problems, notes)

    async def run() -> SweepReport:
        async with open_sweep(settings, wanted, kubeconfig, context) as work:
            return await carry_out(work)

    report = asyncio.run(run())
    if output == "table":
        sys.stdout.write(f"{done_text(report)}\n")
    else:
        sys.stdout.write(orjson.dumps(document(report), option=orjson.OPT_INDENT_2).decode() + "\n")
    raise typer.Exit(0 if report.is_clean else 1)


def progress_bar(done: int, of: int) -> str:
    """A progress bar; only the number where the whole is not known."""
    if not of:
        return str(done)
    part = min(1.0, done / of)
    filled = round(_BAR * part)
    return f"{'█' * filled}{'░' * (_BAR - filled)} {part:4.0%}  {done} of {of}"
