"""The case of a Match: one look at it, and what the rules decide from that look. Pure.

`loop.reconcile` makes one case per round; `plan.match` and `status.match` read it, so each decision is made once.
"""

from __future__ import annotations

from datetime import datetime
from functools import cached_property

from controller.errors import Backend
from controller.facts.ledger import Release
from controller.facts.observation import Absent
from controller.rules.end_cause import EndCause
from controller.rules.endings import cause_of_end
from controller.rules.match_look import MatchLook
from controller.rules.outcomes import releases
from controller.rules.patience import given_up, gives_up_at
from controller.rules.readiness import is_ready, wants_tokens


class MatchCase(MatchLook):
    """One look at a Match, judged."""

    @cached_property
    def cause(self) -> EndCause | None:
        """Why the Match ends, or None as long as it goes on."""
        return cause_of_end(self)

    @cached_property
    def releases(self) -> tuple[Release, ...]:
        """Where each user goes at the end, in the order of the spec; empty as long as the Match goes on."""
        return releases(self, self.cause) if self.cause is not None else ()

    @cached_property
    def given_up(self) -> frozenset[Backend]:
        """The backends for which the deletion of the Match no longer waits."""
        return given_up(self.match.metadata, self.seen.server, self.seen.patience, self.now)

    @cached_property
    def gives_up_at(self) -> datetime | None:
        """When the deletion of the Match will no longer wait for a backend that is silent now."""
        return gives_up_at(self.match.metadata, self.seen.server, self.seen.patience, self.now)

    @cached_property
    def is_ready(self) -> bool:
        """Whether room and tokens are there, as the spec asks."""
        return is_ready(self)

    @cached_property
    def is_over(self) -> bool:
        """Whether the users are settled and room and tokens are gone: only keys with a TTL are left of the call."""
        tokens_gone = isinstance(self.seen.tokens, Absent) or not wants_tokens(self.match)
        settled = self.ledger is not None and self.ledger.settled
        return settled and isinstance(self.seen.room, Absent) and tokens_gone
