"""Other installations in the cluster, and which namespaces we leave to them.

Two operators that work on the same objects would undo each other's work: two statuses, two rooms, users claimed twice.
So each writes on its Lease which namespaces it serves, reads the Leases of the others, and all of them come to the same
result (`rules.installations`): the one that was installed first serves a namespace, and the others leave it alone. One
that may not read the Leases of other namespaces cannot give way to what it does not see, so the others give way to it.

Two installations that begin at the same moment must not miss each other. So we learn what we may read before the Lease
is written, the Lease carries its mark from its creation on, and each term begins with a look after that write: of two
writes, at least the second one's look finds the other. Where a mark that is new wins, the other one may still be at
work. It looks at intervals, so we give it the time to notice.

What is not certain changes nothing. A look that fails leaves all as it is. A right counts as missing when two looks in
a row were refused. A namespace is given up at once, and taken over after two looks that agree.

Neighbors: `backends.lease` writes our mark, `triggers.neighbors` looks at intervals, `loop.work_queue` and
`backends.pools` leave alone what another one serves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import replace
from enum import IntEnum
from typing import Final

import structlog

from controller.backends.lease import LEASES
from controller.clients.kubernetes import Body, KubernetesClient
from controller.clock import Clock
from controller.errors import Backend, BackendUnavailable, Code, Forbidden, NotFound
from controller.rules.installations import LABEL, OPERATOR, Installation, Shared, installation, mark, shared
from controller.telemetry import metrics

log = structlog.get_logger(__name__)

LOOK_SECONDS: Final = 5.0
"""The pause between two looks of a leader."""

_TIMEOUT_SECONDS: Final = 3.0
# A look asks twice where our rights are few.
_LOOK_TAKES_SECONDS: Final = 2 * _TIMEOUT_SECONDS
NOTICED_SECONDS: Final = LOOK_SECONDS + 2 * _LOOK_TAKES_SECONDS + 3.0
"""After that, every leader has read a mark that was written, also if one look failed, and acts by it."""

# Then the API server does not know who asks, so it says nothing about rights.
_NO_CREDENTIALS: Final = "401"
_GRANT: Final = "grant the right to list Leases as the manifests and the chart of this version do"


class Sight(IntEnum):
    """Whose Leases we may read. A higher one includes the lower ones."""

    NOTHING = 0
    HOME = 1
    """Those of our own namespace."""
    ALL = 2


class Neighbors:
    """What the installation with this Lease knows of the others, as of its last looks.

    It belongs to the replica, not to a term. `namespaces` are those of the settings; empty for all.
    """

    def __init__(
        self,
        client: KubernetesClient,
        clock: Clock,
        *,
        namespace: str,
        name: str,
        namespaces: tuple[str, ...],
        cluster_id: str,
    ) -> None:
        self._client = client
        self._clock = clock
        self._namespace = namespace
        self._name = name
        self._namespaces = frozenset(namespaces)
        self._cluster_id = cluster_id
        self._sight: Sight | None = None  # not known before the first look
        self._was_refused = False
        # By the clock of the event loop.
        self._noticed_at = 0.0
        # What others served as of the look before the last.
        self._before: tuple[Shared, ...] = ()
        self._said: frozenset[str] = frozenset()
        self.found: tuple[Shared, ...] = ()

    @property
    def sees_all(self) -> bool:
        """Whether we may read the Leases of all namespaces, as far as we know."""
        return self._sight is Sight.ALL

    @property
    def unnoticed_seconds(self) -> float:
        """How long other installations may still act by an earlier mark of ours, or by none; 0 if none does."""
        return max(0.0, self._noticed_at - _monotonic())

    def mark(self) -> Mapping[str, Mapping[str, str]]:
        """The labels and annotations of our own Lease. None before `learn`, so no Lease is to be written before."""
        if self._sight is None:
            return {}
        return mark(self._namespaces, self._cluster_id, sees_all=self.sees_all)

    def begin(self, before: Body) -> None:
        """Note that our Lease was written with our mark, and that it was as in `before` until then."""
        was = installation(before)
        if was is None or not was.counts(self._clock.now()) or not self._says_the_same(was):
            self._mark_changes()

    @property
    def gives_way(self) -> bool:
        """Whether any namespace is left to another installation."""
        return bool(self._left_alone())

    def serves(self, namespace: str) -> bool:
        """Whether we serve this namespace: True unless one of the last two looks found another one that does."""
        return not any(one.covers(namespace) for one in self._left_alone())

    def trouble(self, namespace: str) -> str:
        """Why we leave the namespace alone, as a sentence; empty if we serve it."""
        return next((one.sentence for one in self._left_alone() if one.covers(namespace)), "")

    async def learn(self) -> None:
        """Find out which Leases we may read, before the first mark is written. Raises BackendError."""
        await self._read()

    async def look_from_outside(self) -> None:
        """Look once, for a command beside the operator. Raises BackendError.

        Where no operator of ours has worked for a while, the others serve what is theirs too.
        """
        try:
            bodies = await self._read()
        except Forbidden as error:
            if error.code == _NO_CREDENTIALS:
                raise
            bodies = await self._read()  # it is refused for good: the second time, the answer is what may be read
        now = self._clock.now()
        installed = [one for body in bodies if (one := installation(body)) is not None]
        ours = next((one for one in installed if (one.namespace, one.name) == (self._namespace, self._name)), None)
        others = [one for one in installed if one is not ours and one.counts(now)]
        if ours is not None and ours.counts(now):
            self.found = shared(replace(ours, namespaces=self._namespaces), others)
        else:
            self.found = tuple(replace(one, is_ours=False) for one in shared(self._unseen(), others))

    def _unseen(self) -> Installation:
        """Our installation as it is set up, although no Lease says so."""
        return Installation(
            namespace=self._namespace,
            name=self._name,
            namespaces=self._namespaces,
            cluster_id=self._cluster_id,
            sees_all=self.sees_all,
            created="",
            uid="",
            holder="",
            renewed_at=self._clock.now(),
            lease_seconds=0,
        )

    async def look(self) -> None:
        """Read the Leases of all installations that may be read; say what is new. Raises BackendError."""
        bodies, now = await self._read(), self._clock.now()
        read = [one for body in bodies if (one := installation(body)) is not None and one.counts(now)]
        found = self._judge(read)
        # While others may act by an earlier mark, nothing that they serve is taken over.
        kept = self._before if self.unnoticed_seconds else ()
        self._before, self.found = (*kept, *(one for one in _foreign(self.found) if one not in kept)), found
        metrics.other_operators.set(len(found))
        self._tell()

    def _judge(self, read: Iterable[Installation]) -> tuple[Shared, ...]:
        if self._sight is Sight.NOTHING:
            return ()
        ours = next((one for one in read if (one.namespace, one.name) == (self._namespace, self._name)), None)
        if ours is None:  # it is written again within seconds, or the term ends
            where = f"{self._namespace}/{self._name}"
            raise NotFound(
                Backend.KUBERNETES, "list Leases", f"our own Lease {where}, with its mark, is not among them"
            )
        # A mark that is not written yet counts where we lose by it: others may know it sooner than we look again.
        worst = replace(ours, namespaces=self._namespaces, sees_all=ours.sees_all or self.sees_all)
        return shared(worst, read)

    def _left_alone(self) -> tuple[Shared, ...]:
        """What we leave to others, as of the last two looks."""
        return (*_foreign(self.found), *self._before)

    def _says_the_same(self, was: Installation) -> bool:
        return (was.namespaces, was.sees_all) == (self._namespaces, self.sees_all)

    def _mark_changes(self) -> None:
        self._noticed_at = _monotonic() + NOTICED_SECONDS

    async def _read(self) -> list[Body]:
        """The Leases of operators that may be read. Raises BackendError, also at the first of two refusals."""
        sight, bodies, refusal = Sight.NOTHING, list[Body](), None
        for wanted, namespace in ((Sight.ALL, ""), (Sight.HOME, self._namespace)):
            try:
                bodies = await self._list(namespace)
            except Forbidden as error:
                if error.code == _NO_CREDENTIALS:
                    raise
                refusal = error
                continue
            sight = wanted
            break
        if refusal is not None and (self._sight is None or sight < self._sight) and not self._was_refused:
            self._was_refused = True  # rights that are replaced are missing for a moment
            raise refusal
        self._was_refused = False
        self._see(sight)
        return bodies

    def _see(self, sight: Sight) -> None:
        before, self._sight = self._sight, sight
        if before is not None and sight < before:
            self._mark_changes()
            log.warning(f"the Leases of other operators may no longer be read as before; {_GRANT}", sight=sight.name)
        elif before is None and sight is Sight.NOTHING:
            log.warning(f"the Leases of other operators may not be read: they are not noticed; {_GRANT}")

    async def _list(self, namespace: str) -> list[Body]:
        """The Leases of operators in one namespace, or in all. A server that hangs is not waited for."""
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                pages = self._client.pages(LEASES, namespace, labels=f"{LABEL}={OPERATOR}")
                return [body async for page in pages for body in page["items"]]
        except TimeoutError:
            why = f"no answer within {_TIMEOUT_SECONDS:g} s"
            raise BackendUnavailable(Backend.KUBERNETES, "list Leases", why, code=Code.TIMEOUT) from None

    def _tell(self) -> None:
        sentences = frozenset(one.sentence for one in self.found)
        for sentence in sorted(sentences - self._said):
            log.warning(sentence)
        if not sentences and self._before:
            return  # the next look confirms it, or finds the same again
        if self._said and not sentences:
            log.info("no other operator is set up for our namespaces any longer")
        self._said = sentences


def _foreign(found: Iterable[Shared]) -> tuple[Shared, ...]:
    return tuple(one for one in found if not one.is_ours)


def _monotonic() -> float:
    return asyncio.get_running_loop().time()
