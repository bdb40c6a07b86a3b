"""Which fields of our statuses the API server drops: the installed CRDs are older than this operator.

The API server prunes what a CRD does not know and says nothing of it, so the answer to each status write is compared
with what was written. That needs no right to read CRDs. A field that is dropped is written again with whatever else
changes, and is known to be kept as soon as one answer has it. Neighbors: `act.kubernetes` reports the answers,
`loop.reconcile` writes no status that would say dropped fields alone, `backends.server_configs` does not wait for an
address that no status can hold.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

import structlog

from controller.api.names import LIVEKIT_SERVER, MATCH, ResourceKind
from controller.version import VERSION

log = structlog.get_logger(__name__)

# So long after an answer without it, a field alone is a reason to write a status: the CRDs may be new by then.
_ASK_AGAIN_SECONDS: Final = 60.0

_FOLLOWS: Final[Mapping[tuple[ResourceKind, str], str]] = {
    (LIVEKIT_SERVER, "url"): "do not change spec.url of a LiveKitServer until then: after a restart of the operator, "
    "the rooms on it would be looked for at the new address, and count as lost",
    (MATCH, "tokens.apiKey"): "if LiveKit's API key is replaced while no operator runs, the tokens of calls that go on "
    "are issued again at their ordinary renewal only",
}
"""What people have to know about a field that is dropped, beside that it is missing."""


class LostFields:
    """The dropped fields of one replica, by kind and path below `status`."""

    def __init__(self) -> None:
        self._lost: dict[ResourceKind, dict[str, float]] = {}

    def answered(self, kind: ResourceKind, patch: Mapping[str, Any], body: Mapping[str, Any]) -> None:
        """Learn from the answer `body` to a write of `patch` to the status of an object of this kind."""
        status = body.get("status")
        if not isinstance(status, dict):
            return  # no status at all is nothing that a CRD of ours brings about
        lost = self._lost.setdefault(kind, {})
        missing = {path: time.monotonic() for path in _missing(patch, status, "")}
        kept = [path for path in lost if path not in missing and _has(patch, path) and _has(status, path)]
        new = sorted(missing.keys() - lost.keys())
        lost |= missing
        for path in kept:
            del lost[path]
        if new:
            log.warning(_sentence(kind, new))
        if kept:
            log.info(f"the API server keeps {_named(kept)} of a {kind.kind} now")

    def has(self, kind: ResourceKind, path: str) -> bool:
        """Whether the latest answer that could have had this field did not have it."""
        return path in self._lost.get(kind, {})

    def are_some(self, kind: ResourceKind) -> bool:
        """Whether any field of this kind is dropped."""
        return bool(self._lost.get(kind))

    def cover(self, kind: ResourceKind, before: Mapping[str, Any], patch: Mapping[str, Any]) -> bool:
        """Whether a write of `patch` over `before` would change nothing: it says dropped fields alone."""
        now = time.monotonic()
        lost = {path for path, at in self._lost.get(kind, {}).items() if now < at + _ASK_AGAIN_SECONDS}
        return bool(lost) and not _differs(patch, before, "", lost)


def _sentence(kind: ResourceKind, new: list[str]) -> str:
    told = (
        f"the CRD {kind.crd} is older than this operator: the API server drops {_named(new)} of each {kind.kind}; "
        f"apply crds/ (or manifests/install.yaml) of version {VERSION}"
    )
    return "; ".join([told, *(_FOLLOWS[kind, path] for path in new if (kind, path) in _FOLLOWS)])


def _named(paths: list[str]) -> str:
    return " and ".join(f"status.{path}" for path in paths)


def _below(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _missing(written: Any, answered: Any, path: str) -> Iterator[str]:
    """The paths of what was written and is not in the answer."""
    if written == answered:
        return  # nearly always, and many times faster than to look at each field
    if isinstance(written, list) and isinstance(answered, list) and len(written) == len(answered):
        for one, other in zip(written, answered, strict=True):
            yield from _missing(one, other, f"{path}[]")
    elif isinstance(written, dict) and isinstance(answered, dict):
        for key, value in written.items():
            below = _below(path, key)
            if value is not None and key not in answered:
                yield below
            elif value is not None:
                yield from _missing(value, answered[key], below)


def _has(value: Any, path: str) -> bool:
    """Whether there is something at this path, in one item of each list at least."""
    key, _, rest = path.partition(".")
    name = key.removesuffix("[]")
    found = value.get(name) if isinstance(value, dict) else None
    if found is None:
        return False
    if not rest:
        return True
    return any(_has(one, rest) for one in found) if isinstance(found, list) else _has(found, rest)


def _differs(new: Any, old: Any, path: str, lost: set[str]) -> bool:
    """Whether a value of a merge patch changes the old one in a field that is not dropped."""
    if path in lost:
        return False
    if isinstance(new, dict):
        was = old if isinstance(old, dict) else {}
        kept = [key for key in new if _below(path, key) not in lost]
        if kept and not isinstance(old, dict):
            return True
        return any(_differs(new[key], was.get(key), _below(path, key), lost) for key in kept)
    if isinstance(new, list) and isinstance(old, list) and len(new) == len(old):
        return any(_differs(one, other, f"{path}[]", lost) for one, other in zip(new, old, strict=True))
    return bool(new != old)
