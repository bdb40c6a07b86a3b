"""The options that commands about a cluster share, named as kubectl names them, and the values that they take."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final

import typer

from controller.api.names import SYSTEM_NAMESPACE

_DURATION: Final = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?")

Namespace = Annotated[str, typer.Option("--namespace", "-n", metavar="NAMESPACE", help="The namespace of the operator")]
Name = Annotated[str, typer.Option("--name", metavar="NAME", help="The name of the operator's Deployment")]
Kubeconfig = Annotated[
    Path | None, typer.Option("--kubeconfig", metavar="FILE", help="The kubeconfig; default: as for kubectl")
]
Context = Annotated[
    str, typer.Option("--context", metavar="NAME", help="A context of the kubeconfig; default: the current one")
]
WatchNamespaces = Annotated[
    str,
    typer.Option(
        "--watch-namespaces",
        metavar="A,B",
        help="The namespaces that the operator serves; default: what its Deployment says",
    ),
]

DEFAULT_NAMESPACE: Final = SYSTEM_NAMESPACE
DEFAULT_NAME: Final = "roomkeeper"


def seconds(text: str) -> float:
    """A duration as kubectl writes it: `90`, `90s`, `5m`, `1h30m`. Raises typer.BadParameter."""
    match = _DURATION.fullmatch(text)
    if not text or match is None:
        raise typer.BadParameter(f"{text!r} is not a duration; write for example 90s or 5m")
    hours, minutes, rest = (int(part or 0) for part in match.groups())
    return float(hours * 3600 + minutes * 60 + rest)


def namespaces(text: str) -> tuple[str, ...] | None:
    """The names in a list with commas; None if there are none."""
    return tuple(name for part in text.split(",") if (name := part.strip())) or None
