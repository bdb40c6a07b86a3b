"""`roomkeeper explain`: how a call went, from its ledger in Redis, which stays for a day after the end."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def explain(
    name: Annotated[
        str, typer.Argument(help="Name or UID of a Match, id of a session or a user, name of a LiveKit room")
    ],
    namespace: Annotated[
        str, typer.Option("--namespace", "-n", metavar="NAMESPACE", help="The namespace of the Match")
    ] = "default",
) -> None:
    """Tell how a call went, also if its Match is gone.

    It needs the settings of the operator in its environment, as in its pod, and reads Redis alone: what is there stays
    for a day after the end. Exit status 1: no call of this name is known.
    """
    # Its help needs none of these.
    import asyncio

    from controller.cli.explanation import text
    from controller.clients.redis.client import Redis
    from controller.clients.redis.keys import Keys
    from controller.clients.redis.ledger_search import find_ledgers
    from controller.errors import RoomkeeperError
    from controller.facts.ledger import Ledger
    from controller.settings import load_settings
    from controller.settings.redis_source import RedisSource
    from controller.telemetry import logs

    settings = load_settings({})
    logs.configure("console", "error", settings.secrets)

    async def read() -> list[Ledger]:
        redis = Redis(RedisSource(settings, logs.also_blank))
        try:
            return await find_ledgers(redis, Keys(settings.cluster_id, namespace), name)
        finally:
            await redis.close()

    ledgers = asyncio.run(read())
    if not ledgers:
        raise RoomkeeperError(
            f"the namespace {namespace} knows no call of {name!r}: give the name or the UID of a Match, a session, "
            "a user or a LiveKit room; a call is known for a day after its end"
        )
    sys.stdout.write("\n\n".join(map(text, ledgers)) + "\n")
