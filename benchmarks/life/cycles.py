"""Whole lives: created, Ready, skipped, Ended, deleted; with N in flight, compared with the floor.

No participant joins, because this measures what Roomkeeper does for every Match. The benchmark writes the wish to skip
as soon as the Match is Ready, and the operator deletes the Match when it is over (`ttlSecondsAfterFinished: 0`). A
cycle lasts from just before the POST until the watch reports the deletion. After each measurement the benchmark checks
that nothing is left of the Matches.
"""

from __future__ import annotations

import time

import aiohttp

from benchmarks.access import Access, Body, call
from benchmarks.calls import MERGE
from benchmarks.life.sight import ENDED, GONE, READY, Sight
from benchmarks.load import Batch, Sent, in_flight, match_manifest, skip_patch
from benchmarks.watcher import MatchFailed
from controller.api.names import MATCH

SPEC: Body = {"ttlSecondsAfterFinished": 0}


class Cycles:
    """Creates and skips Matches as the administrator; the operator does the rest."""

    def __init__(self, access: Access, session: aiohttp.ClientSession, sight: Sight) -> None:
        self._url = access.collection(MATCH.plural)
        self._session = session
        self._sight = sight

    async def run(self, batch: Batch) -> Sent:
        """Run the batch; returns when the last Match is gone."""
        sent: Sent = {}

        async def one(number: int) -> None:
            manifest = match_manifest(number, **SPEC)
            name, who = manifest["metadata"]["name"], manifest["spec"]["participants"][0]["identity"]
            sent[name] = time.monotonic_ns()
            await call(self._session, "POST", self._url, manifest)
            await self._sight.when(name, READY)
            await call(self._session, "PATCH", f"{self._url}/{name}", skip_patch(who), MERGE)
            await self._sight.when(name, GONE)
            if not self._sight.told(name, ENDED):
                raise MatchFailed(f"{name} is gone, but it was never Ended")

        await in_flight(batch, one)
        return sent
