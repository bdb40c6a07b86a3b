"""Waits until the API server serves our kinds, and says whether the installed CRDs fit this version of the operator.

Discovery, which every client may read, answers what is served. The CRDs themselves carry the digest of their schema;
an operator with rights in namespaces alone may not read them, and then says that the schema is not checked. Neighbors:
`triggers.scope` waits here before it lists, `api.digests` is generated beside the CRDs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import structlog

from controller.api.digests import SCHEMA_DIGESTS
from controller.api.names import API_VERSION, GROUP, KINDS, SCHEMA_DIGEST, VERSION, ResourceKind
from controller.clients.kubernetes import KubernetesClient, Resource
from controller.errors import BackendError, Forbidden
from controller.version import VERSION as OUR_VERSION

log = structlog.get_logger(__name__)

CRDS = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions")

_PAUSE_SECONDS = 1.0
_APPLY = "apply crds/ (or manifests/install.yaml) of this version"


def _nothing() -> None:
    """For a caller that has no pulse."""


@dataclass(frozen=True, slots=True)
class _Problem:
    """Why not all kinds are served. `is_told`: the log says so already."""

    sentence: str
    is_told: bool = False


class CrdGate:
    """Open once all kinds are served. All scopes of a replica share one, so that each problem is said once."""

    def __init__(self, client: KubernetesClient, kinds: Iterable[ResourceKind]) -> None:
        self._client = client
        self._kinds = tuple({**dict.fromkeys(KINDS), **dict.fromkeys(kinds)})
        self._said = ""
        self._tell: Callable[..., object] = log.info

    async def wait(self, beat: Callable[[], None] = _nothing) -> bool:
        """Return once discovery lists every kind, and whether that took more than one look.

        Until then, log what is missing; `beat` is called again and again.
        """
        waited = False
        while problem := await self._problem():
            beat()
            if problem.sentence != self._said:
                self._said = problem.sentence
                self._tell = log.debug if problem.is_told else log.info
                tell = log.debug if problem.is_told else log.warning
                tell("waiting", what=problem.sentence)
            waited = True
            await asyncio.sleep(_PAUSE_SECONDS)
        if self._said:
            self._said = ""
            self._tell("the API server serves our kinds now")
        return waited

    async def check_schema(self) -> None:
        """Log once whether the schemas of the installed CRDs are those of this version. Nothing else follows from it.

        Changes of the CRDs are compatible in both directions, so an operator goes on with those of another version;
        fields that the CRDs do not know are lost.
        """
        try:
            found = [(kind, await self._client.get(CRDS, "", kind.crd)) for kind in KINDS]
        except Forbidden as error:
            log.info(
                "the schema of the CRDs is not checked: the operator may not read them; everything else works",
                why=error.message,
            )
            return
        except BackendError as error:
            log.warning("the schema of the CRDs is not checked: they cannot be read", why=str(error))
            return
        others = [
            kind.crd
            for kind, crd in found
            if (crd["metadata"].get("annotations") or {}).get(SCHEMA_DIGEST) != SCHEMA_DIGESTS[kind.crd]
        ]
        if others:
            log.warning(
                f"CRDs of another version are installed: {', '.join(others)}; fields that they do not know are lost: "
                f"{_APPLY}, {OUR_VERSION}"
            )

    async def _problem(self) -> _Problem | None:
        """What is wrong, and what to do about it; None if all kinds are served."""
        try:
            served = await self._client.served(API_VERSION)
        except BackendError as error:
            return _Problem(error.sentence, error.is_told)
        missing = [kind.crd for kind in self._kinds if kind.plural not in served]
        if not missing:
            return None
        others = [] if served else await self._other_versions()
        if others:
            return _Problem(
                f"the installed CRDs serve {', '.join(others)}, this operator needs {VERSION}; {_APPLY}, {OUR_VERSION}"
            )
        return _Problem(f"CRDs are not installed: {', '.join(missing)}; {_APPLY}")

    async def _other_versions(self) -> list[str]:
        """The versions of our group that the API server serves."""
        try:
            group = await self._client.read(f"/apis/{GROUP}")
        except BackendError:
            return []
        return [str(entry.get("version")) for entry in group.get("versions") or () if isinstance(entry, dict)]
