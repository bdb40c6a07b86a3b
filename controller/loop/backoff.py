"""How long a failed key waits: exponential per key, with full jitter, forgotten at the first success.

Jitter after Marc Brooker, "Exponential Backoff and Jitter" (AWS Architecture Blog, 2015): many keys that failed for one
reason must not come back at one moment. Neighbor: `loop.worker`.
"""

from __future__ import annotations

import random

from controller.api.failure_codes import QUICK_ATTEMPTS
from controller.loop.key import Key


class Backoff:
    """Failure counts per key."""

    def __init__(
        self, *, base_seconds: float = 0.1, cap_seconds: float = 15.0, rng: random.Random | None = None
    ) -> None:
        self._base_seconds = base_seconds
        self._cap_seconds = cap_seconds
        self._rng = rng or random.Random()  # noqa: S311 (spreads load; no secret depends on it)
        self._failures: dict[Key, int] = {}

    def failed(self, key: Key, *, is_waited_for: bool = True) -> float:
        """Count one failure; the seconds to wait: between half and all of base · 2ⁿ, capped.

        With the defaults, the first three pauses of a step that a user waits for are 0.7 s at most in all. A step that
        no user waits for leaves them out.
        """
        count = self._failures.get(key, 0)
        self._failures[key] = count + 1
        quick = 0 if is_waited_for else QUICK_ATTEMPTS
        ceiling = min(self._cap_seconds, self._base_seconds * 2.0 ** min(count + quick, 16))
        return ceiling / 2 + self._rng.random() * ceiling / 2

    def succeeded(self, key: Key) -> None:
        """Forget the failures of `key`."""
        self._failures.pop(key, None)

    def failures(self, key: Key) -> int:
        """Failures in a row so far."""
        return self._failures.get(key, 0)
