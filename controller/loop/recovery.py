"""What follows from an error of a reconcile: its row in the table of errors, and all that the row asks for.

Neighbors: `loop.worker` asks here once for each reconcile that failed, and tells when a key has succeeded;
`rules.failures` finds the row, `announce.error_records` keeps the records.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import structlog

from controller.announce.error_records import ErrorRecords
from controller.api.failure_codes import Failure
from controller.api.match import Match
from controller.api.names import ResourceKind
from controller.api.phases import MatchPhase
from controller.api.room import Room
from controller.loop.key import Key
from controller.rules.failures import Circumstances, Verdict, classify
from controller.views.cache import ObjectCache

# The steps for which a user waits: to be in a call, or to be free again.
_WAITED_FOR = frozenset(
    {
        *("AddFinalizer", "Claim", "RestoreUsers", "Advance", "RecordEnd", "Settle"),
        *("CreateRoom", "IssueTokens", "CreateLiveKitRoom", "WriteRoomRecord"),
    }
)


def circumstances(step: str) -> Circumstances:
    """Those of a step, by the name of its action."""
    return Circumstances(step, user_waits=step in _WAITED_FOR)


class Recovery:
    """Counts and records the errors of all keys."""

    def __init__(self, records: ErrorRecords, caches: Mapping[ResourceKind, ObjectCache[Any]]) -> None:
        self._records = records
        self._caches = caches
        self._failed: dict[Key, Failure] = {}

    def failed(self, key: Key, error: Exception, *, step: str = "", attempt: int = 1) -> Verdict:
        """A reconcile of `key` failed in `step`, for the `attempt`th time in a row. Returns what the error is."""
        verdict = classify(error, circumstances(step))
        failure = verdict.failure
        self._records.failed(
            failure,
            namespace=key.namespace,
            step=step or str(getattr(error, "operation", "")).partition(" ")[0],
            object_=f"{key.kind.singular}/{key.name}",
            context=self._context(key, error, attempt),
            begins=self._failed.get(key) is not failure,
        )
        self._failed[key] = failure
        return verdict

    def succeeded(self, key: Key) -> None:
        """A reconcile of `key` got to its end. A Match that had to be given up has not recovered."""
        failure = self._failed.pop(key, None)
        if failure is None:
            return
        known = self._known(key)
        if not (isinstance(known, Match) and known.status.phase is MatchPhase.FAILED):
            self._records.recovered(failure, key.namespace)

    def _known(self, key: Key) -> Any:
        return self._caches[key.kind].get(key.namespace, key.name) if key.kind in self._caches else None

    def _context(self, key: Key, error: Exception, attempt: int) -> dict[str, str]:
        """What people want to know about the error: about whom, and where the log has more."""
        known = self._known(key)
        message = str(getattr(error, "sentence", "")) or f"{type(error).__name__}: {error}"
        reconcile = structlog.contextvars.get_contextvars().get("reconcile", "")
        about = {"message": message, "key": str(key), "attempt": str(attempt), "reconcile": str(reconcile)}
        if isinstance(known, Match):
            room, uid = known.status.room, known.metadata.uid
            about |= {
                "match": uid,
                "user": ", ".join(known.spec.identities),
                "session": known.spec.session_id or uid,
                "room": (room.livekit_name or "") if room is not None else "",
            }
        elif isinstance(known, Room):
            about["room"] = known.status.livekit_name or ""
        return about
