"""`roomkeeper doctor`: asks what is wrong, and prints it. The checks are in `controller.doctor`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from controller.cli.options import DEFAULT_NAME, DEFAULT_NAMESPACE, Context, Kubeconfig, Name

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def doctor(
    output: Annotated[str, typer.Option("--output", "-o", metavar="text|json", help="The form of the report")] = "text",
    webhook_url: Annotated[
        str, typer.Option(metavar="URL", help="Where LiveKit sends its webhooks; empty: it is not asked")
    ] = "",
    namespace: Annotated[
        str,
        typer.Option("--namespace", "-n", metavar="NAMESPACE", help="The operator's namespace; default: its setting"),
    ] = "",
    name: Name = DEFAULT_NAME,
    kubeconfig: Kubeconfig = None,
    context: Context = "",
) -> None:
    """Ask what is wrong with an installation.

    It changes nothing. With the settings of the operator in its environment it asks Redis and LiveKit too. The exit
    status is 1 if something is wrong.
    """
    if output not in ("text", "json"):
        raise typer.BadParameter(f"{output!r} is neither text nor json", param_hint="--output")
    # Its help needs none of these.
    import asyncio
    import os

    import aiohttp

    from controller.clients.connection import connected
    from controller.clients.kubernetes import KubernetesClient
    from controller.clock import ServerClock
    from controller.doctor.findings import Scene
    from controller.doctor.report import document, failed, lines
    from controller.doctor.run import examine
    from controller.doctor.settings import given
    from controller.telemetry import logs

    settings, settings_answer = given(os.environ)
    logs.configure("console", "error", ())

    async def run() -> int:
        async with connected(kubeconfig, context) as connection, aiohttp.ClientSession() as http:
            clock = ServerClock()
            own = settings.namespace if settings is not None else DEFAULT_NAMESPACE
            lease = settings.lease_name if settings is not None and name == DEFAULT_NAME else f"{name}-shard-0"
            scene = Scene(
                settings=settings,
                settings_answer=settings_answer,
                kubernetes=KubernetesClient(connection, clock),
                clock=clock,
                http=http,
                server=connection.server,
                namespace=namespace or own,
                name=name,
                lease_name=lease,
                webhook_url=webhook_url,
            )
            findings = await examine(scene)
            sys.stdout.write((lines(findings) if output == "text" else document(findings)) + "\n")
            return 1 if failed(findings) else 0

    raise typer.Exit(asyncio.run(run()))
