"""One scope of the watch: a namespace, or the whole cluster. It lists and watches our kinds, and feeds the caches.

Our own LIST fills the caches, and kopf watches from there. What it watches is taken in on its way to kopf, whose
handlers get what could not be read there: they do no I/O, never touch `patch` and return nothing, so that kopf writes
nothing of its own. kopf gives up for good on an answer that may change (a missing right, a CRD that is away), so its
end is the end of one round here: the next round lists and watches again. Neighbors: `triggers.kubernetes` runs all
scopes, `triggers.listing` lists, `triggers.intake` takes in what is watched.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import kopf
import structlog

from controller.api.names import GROUP, VERSION, ResourceKind
from controller.clients.connection import KubernetesConnection
from controller.clients.kubernetes import KubernetesClient
from controller.clients.reading import skipped
from controller.errors import Backend, BackendError, BackendRefused
from controller.telemetry import metrics
from controller.telemetry.pulse import Pulse
from controller.triggers.crds import CrdGate
from controller.triggers.intake import taking_in
from controller.triggers.kopf_settings import kopf_settings
from controller.triggers.listing import Listing
from controller.views.cache import ObjectCache

log = structlog.get_logger(__name__)

_AWAY_SECONDS = 1.0
# Rights and namespaces are repaired by people.
_REFUSED_SECONDS = 3.0
# Longer than kopf takes for its discovery, once it gets an answer.
_DISCOVERED_SECONDS = 10.0
_LOOK_AGAIN_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Words:
    """How log lines name a scope: what it has, the verb for it, and what lets the operator read it."""

    name: str
    verb: str
    remedy: str


_ONE = Words(
    "the namespace {namespace}",
    "is",
    "create the namespace, if there is none, and bind the operator's Role in it",
)
_ALL = Words(
    "all namespaces",
    "are",
    "bind the operator's ClusterRole, or name the namespaces to serve in ROOMKEEPER_WATCH_NAMESPACES",
)


class Scope:
    """The objects of one namespace, or of all if `namespace` is empty."""

    def __init__(
        self,
        namespace: str,
        connection: KubernetesConnection,
        client: KubernetesClient,
        caches: Mapping[ResourceKind, ObjectCache[Any]],
        crds: CrdGate,
        words: Words | None = None,
    ) -> None:
        self.namespace = namespace
        self.is_synced = False
        self.is_refused = False
        self.was_synced = False
        self._connection = connection
        self._client = client
        self._caches = caches
        self._crds = crds
        self._listings = {kind: Listing(kind, cache, client, namespace) for kind, cache in caches.items()}
        self._words = words or (_ONE if namespace else _ALL)
        self._said = self._ended = ""
        self._is_told = False
        self._again = asyncio.Event()

    def begin_again(self) -> None:
        """End the watch that is under way; the next one begins with a LIST."""
        self._again.set()

    async def sync(self) -> None:
        """LIST everything once, in pages; evict cached objects that the server no longer has. Raises BackendError."""
        is_known = self.was_synced
        reads = (listing.read(is_known=is_known) for listing in self._listings.values())
        results = await asyncio.gather(*reads, return_exceptions=True)
        # Where several kinds are refused it is always the same one that is named: a problem is said once.
        for failure in results:
            if failure is not None:
                raise failure

    async def try_sync(self) -> None:
        """`sync`; a failure is said once, and `is_synced` and `is_refused` tell how it went."""
        try:
            await self.sync()
        except BackendError as error:
            self.is_synced, self.is_refused = False, isinstance(error, BackendRefused)
            self._say(error)
        else:
            self.is_synced, self.is_refused, self.was_synced = True, False, True
            if self._ended:
                log.warning(self._ended)
            elif self._said and not self._is_told:
                log.info(f"{self._what} served now")
            self._said = self._ended = ""

    async def run(self, pulse: Pulse, on_started: Callable[[], None]) -> None:
        """List and watch until cancelled; `on_started` is called whenever kopf has started.

        The pulse beats whenever the API server begins to answer a watch, which ends every 20 s and begins again, while
        the API server answers no request at all, and while the scope waits for a repair.
        """
        while True:
            while not self.is_synced:
                pulse.beat()
                await asyncio.sleep(_REFUSED_SECONDS if self.is_refused else _AWAY_SECONDS)
                if await self._crds.wait(pulse.beat):
                    self._ended = ""
                await self.try_sync()
            why = await self._watch(pulse, on_started)
            self.is_synced = self.is_refused = False
            # It is told once the API server answers: if it does not, that is told instead.
            self._ended = f"the watch of {self._name} has ended and begins again: {why}"

    @property
    def _name(self) -> str:
        return self._words.name.format(namespace=self.namespace)

    @property
    def _what(self) -> str:
        return f"{self._name} {self._words.verb}"

    def _say(self, error: BackendError) -> None:
        """Log the problem, unless it is the one that was logged last."""
        remedy = f"; {self._words.remedy}" if isinstance(error, BackendRefused) else ""
        said = f"{self._what} not served yet: {error.message}{remedy}"
        if said != self._said:
            self._said, self._ended, self._is_told = said, "", error.is_told
            tell = log.debug if error.is_told else log.warning
            tell(said)

    async def _watch(self, pulse: Pulse, on_started: Callable[[], None]) -> str:
        """Run kopf until it ends by itself, and return why. Cancelling this stops kopf."""
        registry = kopf.OperatorRegistry()
        for kind in self._caches:
            _register(registry, kind)
        logins = 0

        @kopf.on.login(registry=registry)
        async def login(**_: Any) -> kopf.AiohttpSession:  # kopf runs a plain function in a thread, without our loop
            nonlocal logins
            logins += 1
            if logins > 1:
                # kopf would ask for credentials without a pause; our next LIST says what is wrong with these.
                raise kopf.PermanentError("the API server no longer accepts the credentials")
            listed = {kind: listing.complete_at for kind, listing in self._listings.items()}
            return self._connection.for_kopf(pulse.beat, taking_in(self._caches, listed))

        self._again.clear()
        again = asyncio.create_task(self._again.wait())
        incomplete = asyncio.create_task(self._unwatched_kinds())
        beating = asyncio.create_task(self._beat_in_outages(pulse))
        # `kopf.operator` would end, beside its own tasks, every task that began after it.
        tasks = await kopf.spawn_tasks(
            registry=registry,
            settings=kopf_settings(),
            clusterwide=not self.namespace,
            namespaces=[self.namespace] if self.namespace else [],
            standalone=True,
        )
        on_started()
        try:
            done, _ = await asyncio.wait({*tasks, again, incomplete}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _end([*tasks, again, incomplete, beating])
            await _end(self._watchers())
        if again in done:
            return "the CRDs had been away"
        if incomplete in done:
            return f"the API server did not name {incomplete.result()} when kopf asked what it serves"
        error = next((task.exception() for task in done if not task.cancelled() and task.exception()), None)
        return f"{type(error).__name__}: {error.args[0] if error.args else ''}" if error else "kopf stopped"

    async def _beat_in_outages(self, pulse: Pulse) -> None:
        """Beat while the API server is away: kopf goes on trying without a word, and a restart would not help."""
        while True:
            if not self._client.breaker.is_closed:
                pulse.beat()
            await asyncio.sleep(_AWAY_SECONDS)

    async def _unwatched_kinds(self) -> str:
        """Return the kinds that kopf does not watch; never, if it watches all.

        It reads discovery once, and leaves a kind out that is not in it: one API server of several may not know of a
        CRD yet.
        """
        until, followed = time.monotonic() + _DISCOVERED_SECONDS, set[asyncio.Task[Any]]()
        while True:
            for task in self._watchers():
                if task not in followed:
                    followed.add(task)
                    task.add_done_callback(_retrieve)
            watched = {task.get_name().removeprefix("watcher for ").partition(".")[0] for task in followed}
            missing = [kind.plural for kind in self._caches if kind.plural not in watched]
            if not missing:
                return await asyncio.Future()
            if time.monotonic() > until:
                return " and ".join(missing)
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)

    def _watchers(self) -> list[asyncio.Task[Any]]:
        """The tasks that watch our kinds, by the name that kopf gives them. kopf leaves the others when one fails."""
        prefixes = tuple(f"watcher for {kind.plural}." for kind in self._caches)
        suffix = f"@{self.namespace or None}"
        return [
            task
            for task in asyncio.all_tasks()
            if task.get_name().startswith(prefixes) and task.get_name().endswith(suffix)
        ]


def _retrieve(task: asyncio.Task[Any]) -> None:
    """Take the error of a watch that failed: kopf says it in another task, and asyncio would log it once more."""
    if not task.cancelled():
        task.exception()


async def _end(tasks: Collection[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _register(registry: kopf.OperatorRegistry, kind: ResourceKind) -> None:
    """Let kopf watch the kind. Its handler gets only what `triggers.intake` could not read."""
    events = metrics.watch_events.labels(kind.kind)

    @kopf.on.event(GROUP, VERSION, kind.plural, registry=registry, id=f"cache-{kind.plural}")
    async def unreadable(event: Any, **_: Any) -> None:  # kopf runs a plain function in a thread
        events.inc()
        skipped(Backend.KUBERNETES, kind.kind, event["object"])
