"""`roomkeeper uninstall`: shows the plan, asks, and carries it out. The engine is `controller.uninstall`."""

from __future__ import annotations

import sys
from typing import Annotated, Final

import typer

from controller.cli.options import (
    DEFAULT_NAME,
    DEFAULT_NAMESPACE,
    Context,
    Kubeconfig,
    Name,
    Namespace,
    WatchNamespaces,
    namespaces,
    seconds,
)

app = typer.Typer(add_completion=False, rich_markup_mode=None)

TIMED_OUT: Final = 124
"""The exit status of a run whose time was over, as that of timeout(1)."""
_POLICIES: Final = ("drain", "release")


@app.command()
def uninstall(
    policy: Annotated[
        str,
        typer.Option(
            metavar="drain|release",
            help="drain: the operator ends all calls first; release: it stops, and the calls go on. "
            "Default: drain if the operator works",
        ),
    ] = "",
    timeout: Annotated[str, typer.Option(metavar="DURATION", help="How long all of it may take")] = "5m",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and change nothing")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask")] = False,
    crds: Annotated[bool, typer.Option("--crds", help="Delete the CRDs too, with every object that is left")] = False,
    settle: Annotated[
        bool,
        typer.Option(
            "--settle",
            help="If no operator works, run one beside this command, with the operator's settings (ROOMKEEPER_…)",
        ),
    ] = False,
    hook: Annotated[
        bool,
        typer.Option("--hook", help="For Helm's hook: ask nothing, leave the Deployment to Helm, and never get stuck"),
    ] = False,
    namespace: Namespace = DEFAULT_NAMESPACE,
    name: Name = DEFAULT_NAME,
    watch_namespaces: WatchNamespaces = "",
    kubeconfig: Kubeconfig = None,
    context: Context = "",
) -> None:
    """Take Roomkeeper out of the cluster in the right order.

    It leaves nothing stuck: no object keeps a finalizer that nobody removes. First it shows what is there and what it
    will do. It can be interrupted and repeated. It also repairs an installation that was deleted in the wrong order.
    """
    if policy and policy.lower() not in _POLICIES:
        raise typer.BadParameter(f"{policy!r} is neither drain nor release", param_hint="--policy")
    if settle and (hook or policy.lower() == "release"):
        raise typer.BadParameter("it ends calls: leave out --hook and --policy release", param_hint="--settle")
    timeout_seconds = seconds(timeout)
    # Its help needs none of these.
    import asyncio

    from controller.cli.progress import Lines
    from controller.clients.connection import connected
    from controller.clients.kubernetes import KubernetesClient
    from controller.clock import ServerClock
    from controller.settings import load_settings
    from controller.telemetry import logs
    from controller.uninstall.facts import Installation, Policy
    from controller.uninstall.own_operator import own_operator
    from controller.uninstall.plan import Wishes
    from controller.uninstall.run import Uninstallation
    from controller.uninstall.work import OperatorGone, TimedOut

    if settle:
        load_settings({})
    logs.configure("console", "error", ())
    wishes = Wishes(Policy(policy.lower()) if policy else None, is_hook=hook, crds=crds, settles=settle)
    installation = Installation(namespace, name, namespaces(watch_namespaces))
    lines = Lines()

    async def run() -> int:
        async with connected(kubeconfig, context) as connection, own_operator(kubeconfig, context) as beside:
            clock = ServerClock()
            work = Uninstallation(KubernetesClient(connection, clock), clock, lines, timeout_seconds, beside)
            planned = await work.plan(installation, wishes)
            lines.end()
            sys.stdout.write(f"{planned.text}\n")
            if planned.plan.refusal:
                sys.stderr.write(f"roomkeeper uninstall: {planned.plan.refusal}\n")
                return 1
            if dry_run or not planned.plan.steps:
                return 0
            if not (yes or hook or _confirmed()):
                return 1
            sys.stdout.write("\n")
            await work.carry_out(planned)
            return 0

    try:
        status = asyncio.run(run())
    except TimedOut as error:
        lines.end()
        sys.stderr.write(f"roomkeeper uninstall: {error}\n")
        status = TIMED_OUT
    except OperatorGone as error:
        lines.end()
        sys.stderr.write(f"roomkeeper uninstall: {error}\nRun it again: it then takes the finalizer off.\n")
        status = 1
    raise typer.Exit(status)


def _confirmed() -> bool:
    """Ask on a terminal. Without one, the plan is refused with a sentence."""
    sys.stdout.flush()
    if not sys.stdin.isatty():
        sys.stderr.write(
            "roomkeeper uninstall: nothing was changed: there is no terminal to ask on; confirm with --yes\n"
        )
        return False
    sys.stderr.write("\nContinue? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() in {"y", "yes"}:
        return True
    sys.stderr.write("Nothing was changed.\n")
    return False
