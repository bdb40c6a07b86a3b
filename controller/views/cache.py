"""The latest known version of every object, from the watch, from the answers to our own writes, and from our LIST.

An older version never replaces a newer one, from whichever source it comes, so no step waits until the watch repeats
what we wrote. The cache remembers a deleted UID for five minutes, so a late event cannot revive it. A LIST evicts only
objects that are not newer than the LIST. "Not in the cache" is only a hint: `observe.match` asks the API server before
it relies on an absence. Neighbors: `triggers.kubernetes` and `act.kubernetes` feed the cache, `observe` reads it.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import orjson
import structlog
from pydantic import ValidationError

from controller.api.meta import Resource
from controller.api.tolerant import reader
from controller.telemetry import metrics

log = structlog.get_logger(__name__)

M = TypeVar("M", bound=Resource)
Name = tuple[str, str]

_DEAD_SECONDS = 300.0
_KEPT_PARSED = 512


@dataclass(frozen=True, slots=True)
class _Entry:
    uid: str
    version: int
    body: bytes


class ObjectCache(Generic[M]):
    """The objects of one kind by (namespace, name).

    An idle object is kept as compact JSON (3 KB instead of 23 for the parsed one); objects in use stay parsed as well.
    """

    def __init__(self, model: type[M]) -> None:
        self._model: type[M] = model
        self._reader = reader(model)
        self._kept: list[Callable[[M], None]] = []
        self._changed: list[Callable[[M], None]] = []
        self._gone: list[Callable[[M], None]] = []
        self._entries: dict[Name, _Entry] = {}
        self._parsed: OrderedDict[Name, M] = OrderedDict()
        self._names: dict[str, Name] = {}
        self._dead: dict[str, float] = {}
        self._dead_names: dict[Name, str] = {}

    def follow(
        self,
        *,
        kept: Callable[[M], None] | None = None,
        changed: Callable[[M], None] | None = None,
        gone: Callable[[M], None] | None = None,
    ) -> None:
        """Register a follower; followers are called in the order in which they registered.

        `kept` gets every newer version, and then `changed` every one that was not written quietly. `gone` gets the last
        version of an object that no longer exists.
        """
        for follower, followers in ((kept, self._kept), (changed, self._changed), (gone, self._gone)):
            if follower is not None:
                followers.append(follower)

    def get(self, namespace: str, name: str) -> M | None:
        """The newest known version of an object, or None if the cache has no such object."""
        entry = self._entries.get((namespace, name))
        return None if entry is None else self._read((namespace, name), entry)

    def __len__(self) -> int:
        return len(self._entries)

    def in_namespace(self, namespace: str) -> Iterator[M]:
        """The objects of one namespace. Objects of other namespaces are not parsed."""
        for name, entry in list(self._entries.items()):
            if name[0] == namespace:
                yield self._parsed.get(name) or self._reader.read_json(entry.body)

    def by_uid(self, uid: str) -> M | None:
        """The object with this UID, or None if the cache does not have it."""
        name = self._names.get(uid)
        return None if name is None else self.get(*name)

    def names(self) -> list[Name]:
        """The (namespace, name) of every object."""
        return list(self._entries)

    def was_deleted(self, namespace: str, name: str) -> bool:
        """Whether the cache saw the deletion of the last object of this name, and no new object of this name since."""
        return (namespace, name) in self._dead_names and (namespace, name) not in self._entries

    def offer(self, body: dict[str, Any], *, quiet: bool = False) -> M | None:
        """Store a version of an object, unless a newer one is known. Returns the newest version.

        Returns None if the UID was deleted, or if the object is new and invalid. A `quiet` version wakes no key.
        """
        metadata = body["metadata"]
        name = (metadata.get("namespace", ""), metadata["name"])
        uid, version = metadata["uid"], int(metadata["resourceVersion"])
        if uid in self._dead:
            return None
        known = self._entries.get(name)
        if known is not None and version <= known.version:
            return self._read(name, known)
        parsed = self._parse(body)
        if parsed is None:
            return None if known is None else self._read(name, known)
        if known is not None and known.uid != uid:
            self._remove(name, known)
        self._keep(name, _Entry(uid, version, _compact(body)), parsed)
        for kept in self._kept:
            kept(parsed)
        if not quiet:
            for changed in self._changed:
                changed(parsed)
        return parsed

    def remove(self, body: dict[str, Any]) -> None:
        """Remove the object, whose deletion the watch has seen."""
        metadata = body["metadata"]
        self.forget(metadata.get("namespace", ""), metadata["name"], metadata["uid"])

    def forget(self, namespace: str, name: str, uid: str) -> None:
        """Remove the object with this UID, which was deleted, and refuse later versions of it."""
        known = self._entries.get((namespace, name))
        if known is not None and known.uid == uid:
            self._remove((namespace, name), known)
        else:
            self._dead[uid] = time.monotonic() + _DEAD_SECONDS

    def evict_missing(self, listed_uids: Iterable[str], list_version: int, namespace: str = "") -> int:
        """Remove the objects that a complete LIST, made at `list_version`, does not contain.

        The LIST covers one namespace, or all if `namespace` is empty. Objects newer than the LIST stay. Returns the
        number of removed objects.
        """
        alive = set(listed_uids)
        gone = [
            (name, entry)
            for name, entry in self._entries.items()
            if entry.uid not in alive and entry.version <= list_version and namespace in {"", name[0]}
        ]
        for name, entry in gone:
            self._remove(name, entry)
        self._drop_old_graves()
        return len(gone)

    def _keep(self, name: Name, entry: _Entry, parsed: M) -> None:
        self._entries[name] = entry
        self._names[entry.uid] = name
        self._dead_names.pop(name, None)
        self._parsed[name] = parsed
        self._parsed.move_to_end(name)
        if len(self._parsed) > _KEPT_PARSED:
            self._parsed.popitem(last=False)
        metrics.cached_objects.labels(self._model.__name__).set(len(self._entries))

    def _read(self, name: Name, entry: _Entry) -> M:
        parsed = self._parsed.get(name)
        if parsed is None:
            parsed = self._reader.read_json(entry.body)
            self._keep(name, entry, parsed)
        return parsed

    def _parse(self, body: dict[str, Any]) -> M | None:
        try:
            return self._reader.read(body)
        except ValidationError as error:
            metadata = body["metadata"]
            problems = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()][:5]
        log.error(
            "object cannot be read; it is left alone until it is corrected",
            kind=self._model.__name__,
            namespace=metadata.get("namespace"),
            name=metadata["name"],
            problems=problems,
        )
        return None

    def _remove(self, name: Name, entry: _Entry) -> None:
        last = self._read(name, entry)
        del self._entries[name]
        self._names.pop(entry.uid, None)
        self._parsed.pop(name, None)
        self._dead[entry.uid] = time.monotonic() + _DEAD_SECONDS
        self._dead_names[name] = entry.uid
        metrics.cached_objects.labels(self._model.__name__).set(len(self._entries))
        for gone in self._gone:
            gone(last)

    def _drop_old_graves(self) -> None:
        now = time.monotonic()
        self._dead = {uid: until for uid, until in self._dead.items() if until > now}
        self._dead_names = {name: uid for name, uid in self._dead_names.items() if uid in self._dead}


def _compact(body: dict[str, Any]) -> bytes:
    metadata = {key: value for key, value in body["metadata"].items() if key != "managedFields"}
    return orjson.dumps({**body, "metadata": metadata})
