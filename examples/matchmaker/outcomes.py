"""How Matches ended: a watch in its own thread that counts each end and logs it once.

A product would keep statistics here, or use them to choose pairs. `matchmaker` asks it which names belong to Matches
that are over: the users of a failed Match are back in the same places, and would get the same name again.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from typing import Final, cast

from kubernetes import client, watch

from .matches import API_ERRORS, MADE_BY, Body, Matches, brief, is_over

log = logging.getLogger("matchmaker")

_SELECTOR: Final = ",".join(f"{key}={value}" for key, value in MADE_BY.items())
_PAGE: Final = 500
_LIST_SECONDS: Final = 30.0
_WATCH_SECONDS: Final = 240
_AGAIN_SECONDS: Final = 2.0
_GONE: Final = 410


class Outcomes:
    """The Matches that are over and not yet deleted, and how many Matches ended for each reason."""

    def __init__(self, matches: Matches) -> None:
        self.counts: Counter[str] = Counter()
        self._matches = matches
        self._over: dict[str, str] = {}  # UID by name
        self._told: set[str] = set()  # UIDs
        self._is_first = True

    def is_over(self, name: str) -> bool:
        """Whether a Match of this name exists and is over."""
        return name in self._over

    def note_over(self, name: str) -> None:
        """Remember a Match that is over and that the watch has not shown yet."""
        self._over.setdefault(name, "")

    def read(self) -> str:
        """List all Matches. Returns the version from which a watch continues.

        Ends from before the first list are not logged: another matchmaker, or an earlier run of this one, did so.
        """
        matches: list[Body] = []
        page = ""
        while True:
            answer = self._list(page)
            matches += filter(is_over, answer["items"])
            page = answer["metadata"].get("continue", "")
            if not page:
                break
        self._over = {match["metadata"]["name"]: match["metadata"]["uid"] for match in matches}
        if self._is_first:
            self._told = {match["metadata"]["uid"] for match in matches if "end" in match.get("status", {})}
            self._is_first = False
        for match in matches:
            self._tell(match)
        self._told &= set(self._over.values())
        return str(answer["metadata"]["resourceVersion"])

    def follow(self, stop: threading.Event) -> None:
        """Follow every change until `stop`, also over failures of the API server."""
        while not stop.is_set():
            try:
                version = self.read()
                while not stop.is_set():
                    version = self._watch(version)
            except API_ERRORS as error:
                if isinstance(error, client.ApiException) and error.status == _GONE:
                    continue  # the version is too old to continue from
                log.warning("cannot watch the Matches, trying again: %s", brief(error))
                stop.wait(_AGAIN_SECONDS)

    def _list(self, page: str) -> Body:
        answer = self._matches.api.list_namespaced_custom_object(
            **self._matches.where, label_selector=_SELECTOR, limit=_PAGE, _continue=page, _request_timeout=_LIST_SECONDS
        )
        return cast("Body", answer)

    def _watch(self, version: str) -> str:
        """Follow the changes since `version` for a while. Returns the version to continue from."""
        watcher = watch.Watch()
        changes = watcher.stream(
            self._matches.api.list_namespaced_custom_object,
            **self._matches.where,
            label_selector=_SELECTOR,
            resource_version=version,
            allow_watch_bookmarks=True,
            timeout_seconds=_WATCH_SECONDS,
            # This also notices a connection that died silently.
            _request_timeout=_WATCH_SECONDS + _LIST_SECONDS,
        )
        for change in changes:
            if change["type"] != "BOOKMARK":
                self._take_in(change["object"], is_deleted=change["type"] == "DELETED")
        return str(watcher.resource_version)

    def _take_in(self, match: Body, *, is_deleted: bool) -> None:
        name, uid = match["metadata"]["name"], match["metadata"]["uid"]
        if is_over(match):
            self._over[name] = uid
            self._tell(match)
        if is_deleted:
            self._over.pop(name, None)
            self._told.discard(uid)

    def _tell(self, match: Body) -> None:
        end, uid = match.get("status", {}).get("end"), match["metadata"]["uid"]
        if end is None or uid in self._told:
            return
        self._told.add(uid)
        self.counts[end["reason"]] += 1
        left = ", ".join(f"{outcome['identity']} {outcome['state']}" for outcome in end.get("outcomes", ()))
        log.info("%s %s: %s (%s)", match["metadata"]["name"], end["reason"], end.get("message", ""), left)
