"""Redis is made to agree with the Matches: what differs is restored or settled, each Match by itself."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from controller.api.match import Match, QueuePlace
from controller.backends.restore_requests import restore_request, settle_request
from controller.backends.restores import Differences, Restorer
from controller.clients.redis.keys import Keys
from controller.clients.redis.pool import Pool
from controller.clients.redis.records import LiveMatch
from controller.clients.redis.replies.match import AdvanceOk, ClaimBusy, ClaimOk, SettleOk
from controller.clients.redis.replies.refusals import Lost
from controller.clients.redis.requests import ClaimRequest, SettleRequest
from controller.errors import Backend, BackendRefused, BackendUnavailable
from controller.facts.ledger import Cause, Destination, End, Ledger
from controller.views.cache import ObjectCache
from controller.views.calls import CallIndex
from tests import values as b

NAMESPACE = b.NAMESPACE
GONE = "u-gone"


class FakePool:
    """A pool with these live UIDs and ledgers. `claims` has what Redis answers for a UID instead of OK.

    `holds` has the UIDs whose users another Match holds until it is settled. `away` is the outage that `settle` meets.
    """

    def __init__(self, *live: str, claims: dict[str, Any] | None = None) -> None:
        self.keys = Keys(b.CLUSTER, NAMESPACE)
        self.live_uids = list(live)
        self.claims = claims or {}
        self.holds: dict[str, str] = {}
        self.ledgers: dict[str, Ledger] = {}
        self.claimed: list[str] = []
        self.settled: list[SettleRequest] = []
        self.away: BackendUnavailable | None = None
        self.at_once = self.most = 0
        self.redis = self

    async def live(self, *, offset: int, limit: int) -> tuple[LiveMatch, ...]:
        """One page."""
        return tuple(LiveMatch(uid, 1) for uid in self.live_uids[offset : offset + limit])

    async def ledger(self, uid: str) -> Ledger | None:
        """The ledger of a Match."""
        return self.ledgers.get(uid)

    async def scan(self, _pattern: str, _cursor: str, *, count: int) -> tuple[str, list[str]]:
        """No user has a record."""
        return "0", []

    async def claim(self, request: ClaimRequest, *, now_ms: int) -> Any:
        """Restore."""
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        await asyncio.sleep(0)
        self.at_once -= 1
        answer = self.claims.get(request.uid, ClaimOk((), replay=False))
        if request.uid in self.holds:
            return ClaimBusy("alice", self.holds[request.uid])
        if isinstance(answer, Exception):
            raise answer
        self.claimed.append(request.uid)
        return answer

    async def advance(self, _request: Any, *, now_ms: int) -> Any:
        """The users are DISCONNECTING."""
        return AdvanceOk(())

    async def settle(self, request: SettleRequest, *, now_ms: int) -> Any:
        """The last step."""
        for _ in range(9):  # other requests come to their end sooner
            await asyncio.sleep(0)
        if self.away is not None:
            raise self.away
        self.settled.append(request)
        self.holds = {uid: holder for uid, holder in self.holds.items() if holder != request.uid}
        return SettleOk((), End(request.cause, 1), replay=False)


class Rig:
    """A restorer over these Matches. Kubernetes has the Matches that `objects` names."""

    def __init__(self, *matches: Match) -> None:
        cache, calls = ObjectCache(Match), CallIndex()
        cache.follow(kept=calls.kept)
        for match in matches:
            cache.offer(match.manifest())
        self.restored: list[str] = []
        self.woken: list[str] = []
        self.objects: dict[str, Any] = {}
        self.listed: set[str] = set()
        clock: Any = type("Clock", (), {"now": staticmethod(lambda: b.at(9))})()
        self.restorer = Restorer(
            cache, calls, clock,
            restored=(lambda match: self.restored.append(match.metadata.uid),),
            wake=lambda match: self.woken.append(match.metadata.uid), uid_of=self._uid_of,
            uids_in=self._uids_in,
        )  # fmt: skip

    async def _uids_in(self, _namespace: str) -> set[str]:
        return self.listed

    async def _uid_of(self, _namespace: str, name: str) -> str | None:
        found = self.objects.get(name)
        if isinstance(found, Exception):
            raise found
        return cast("str | None", found)

    async def compare(self, pool: FakePool) -> None:
        """As at the opening of the pool."""
        await self.restorer.compare(NAMESPACE, cast("Pool", pool), check)

    async def sweep(self, pool: FakePool, at_most: int = 100) -> Differences:
        """As once in a while."""
        return await self.restorer.sweep(NAMESPACE, cast("Pool", pool), check, at_most, lambda: None)


def check(_namespace: str, reply: object) -> None:
    """Nothing was lost."""
    assert not isinstance(reply, Lost)


def live(number: int) -> Match:
    """A call that goes on."""
    return b.active(name=f"m{number}", uid=f"u{number}")


def over(number: int, outcomes: list[dict[str, Any]]) -> Match:
    """A call that is over."""
    end = {"reason": "Skipped", "initiator": "alice", "message": "alice skipped", "outcomes": outcomes}
    return b.active(name=f"m{number}", uid=f"u{number}", status={"phase": "Ended", "ended_at": b.at(8), "end": end})


OUTCOMES = [
    {"identity": "alice", "state": "Waiting", "place": "Now"},
    {"identity": "bob", "state": "Idle", "detail": "CLIENT_INITIATED"},
]


async def test_a_call_that_redis_does_not_know_is_restored_and_others_are_left_alone() -> None:
    rig, pool = Rig(live(1), live(2)), FakePool("u2")
    await rig.compare(pool)
    assert (pool.claimed, rig.restored) == (["u1"], ["u1"])


async def test_many_calls_are_restored_side_by_side_but_not_all_at_once() -> None:
    rig, pool = Rig(*map(live, range(120))), FakePool()
    await rig.compare(pool)
    assert sorted(pool.claimed) == sorted(f"u{n}" for n in range(120))
    assert 1 < pool.most <= 50


@pytest.mark.parametrize(
    "poison", [BackendRefused(Backend.REDIS, "claim", "WRONGTYPE"), ClaimBusy("alice", "u-another")]
)
async def test_a_poisoned_match_is_told_once_and_costs_no_other(poison: Any) -> None:
    rig, pool = Rig(live(1), live(2), live(3)), FakePool(claims={"u2": poison})
    with capture_logs() as logs:
        await rig.compare(pool)
        await rig.compare(pool)
    assert rig.restored[:2] == ["u1", "u3"]
    assert [entry["key"] for entry in logs if entry["log_level"] == "error"] == [f"{NAMESPACE}/m2"]
    assert "u2" in rig.woken, "its own key reports it"


async def test_an_outage_is_no_poison() -> None:
    rig = Rig(live(1))
    pool = FakePool(claims={"u1": BackendUnavailable(Backend.REDIS, "claim", "no answer")})
    with pytest.raises(BackendUnavailable):
        await rig.compare(pool)


async def test_a_match_that_is_over_and_that_redis_holds_is_settled_as_its_status_says() -> None:
    rig, pool = Rig(over(1, OUTCOMES), over(2, [])), FakePool("u1")
    await rig.compare(pool)
    (request,) = pool.settled
    assert [(user.id, user.to, user.place) for user in request.users] == [
        ("alice", Destination.WAITING, QueuePlace.NOW),
        ("bob", Destination.IDLE, QueuePlace.NOW),
    ]
    assert request.cause == Cause("Skipped", "alice", "alice skipped")


FINISHED = {"type": "Finished", "status": "True", "reason": "Skipped", "lastTransitionTime": b.at(8).isoformat()}


@pytest.mark.parametrize("sign", [{"phase": "Ended"}, {"ended_at": b.at(8)}])
def test_a_match_that_ended_is_not_restored_although_an_edit_left_one_sign_and_finished(sign: dict[str, Any]) -> None:
    match = b.active(status={**sign, "conditions": [FINISHED]})
    assert restore_request(match) is None
    assert restore_request(b.active(status={"conditions": [FINISHED]})) is not None, "one sign alone is corrected"


@pytest.mark.parametrize("is_paused", [True, False])
async def test_a_paused_match_with_two_signs_of_an_end_holds_no_user(is_paused: bool) -> None:
    """Nothing reconciles it, so nothing corrects its status; that of any other Match is corrected by its own key."""
    match = b.active(name="m1", uid="u1", paused=is_paused, status={"phase": "Ended", "ended_at": b.at(8)})
    rig, pool = Rig(match), FakePool("u1")
    await rig.sweep(pool)
    assert [request.uid for request in pool.settled] == (["u1"] if is_paused else [])


def test_a_user_whom_the_status_leaves_out_waits_again() -> None:
    after_a_call = {(user.to, user.place) for user in settle_request(over(1, [])).users}
    assert after_a_call == {(Destination.WAITING, QueuePlace.NOW)}
    assert {user.to for user in settle_request(b.connecting(status=b.OVER)).users} == {Destination.BACK}


def a_ledger(**changes: Any) -> Ledger:
    """The ledger of a Match that is gone: alice came from the queue, bob did not."""
    fields: dict[str, Any] = {
        "uid": GONE, "claimed": True, "phase": "Connecting", "created_at_ms": b.ms(1), "session_id": "s",
        "match_name": "gone", "queued_at_ms": {"alice": 5, "bob": None},
    }  # fmt: skip
    return Ledger(**fields | changes)


@pytest.mark.parametrize("found", [None, "u-another"])
async def test_users_of_a_match_without_an_object_are_let_go_as_after_a_deletion(found: str | None) -> None:
    rig, pool = Rig(live(1)), FakePool("u1", GONE)
    pool.ledgers[GONE] = a_ledger()
    rig.objects["gone"] = found
    assert await rig.sweep(pool) == Differences(1, 1)
    (request,) = pool.settled
    assert (request.uid, request.session_id, request.cause.reason) == (GONE, "s", "Deleted")
    assert {user.id for user in request.users} == {"alice", "bob"}


async def test_a_match_that_is_gone_frees_the_users_of_a_live_one_before_the_pool_opens() -> None:
    """A Redis that came back older still gives them to the Match of before, and they are in another one by now."""
    rig, pool = Rig(live(1)), FakePool(GONE)
    pool.ledgers[GONE] = a_ledger()
    pool.holds["u1"] = GONE
    with capture_logs() as logs:
        assert await rig.restorer.restore_all(NAMESPACE, cast("Pool", pool), check) == 0
        await rig.compare(pool)
    assert ([request.uid for request in pool.settled], pool.claimed) == ([GONE], ["u1"])
    assert not [entry for entry in logs if entry["log_level"] == "error"]
    assert rig.woken == []


@pytest.mark.parametrize("answer", ["unavailable", "it lives"])
async def test_a_pool_opens_although_kubernetes_does_not_say_that_a_match_is_gone(answer: str) -> None:
    rig, pool = Rig(live(1), live(2)), FakePool(GONE)
    pool.ledgers[GONE] = a_ledger()
    pool.holds["u1"] = GONE
    away = BackendUnavailable(Backend.KUBERNETES, "get", "no answer")
    rig.objects["gone"] = away if answer == "unavailable" else GONE
    await rig.compare(pool)
    assert (pool.settled, pool.claimed, rig.woken) == ([], ["u2"], ["u1"])


async def test_a_pool_does_not_open_when_redis_is_away_while_matches_that_are_gone_are_settled() -> None:
    rig, pool = Rig(live(1)), FakePool(GONE)
    pool.ledgers[GONE] = a_ledger()
    pool.away = BackendUnavailable(Backend.REDIS, "settle", "no answer")
    with pytest.raises(BackendUnavailable):
        await rig.compare(pool)
    assert pool.claimed == []


async def test_a_pool_with_very_many_matches_that_are_gone_opens_and_the_sweep_settles_the_rest() -> None:
    """It stays closed while they are settled, so their number is limited; the oldest come first."""
    gone = [f"u-gone-{n}" for n in range(600)]
    rig, pool = Rig(live(1)), FakePool(*gone)
    pool.ledgers = {uid: a_ledger(uid=uid) for uid in gone}
    await rig.compare(pool)
    assert sorted(request.uid for request in pool.settled) == sorted(gone[:500])
    assert pool.claimed == ["u1"]
    pool.live_uids = gone[500:]
    await rig.sweep(pool, at_most=500)
    assert {request.uid for request in pool.settled} == set(gone)


async def test_a_cause_that_the_ledger_has_stays_the_cause() -> None:
    rig, pool = Rig(), FakePool(GONE)
    pool.ledgers[GONE] = a_ledger(end=End(Cause("Skipped", "bob", "bob skipped"), 1))
    await rig.sweep(pool)
    (request,) = pool.settled
    assert (request.cause.reason, request.cause.initiator) == ("Skipped", "bob")


@pytest.mark.parametrize(
    ("case", "ledger", "found"),
    [
        ("Kubernetes has it", a_ledger(), GONE),
        ("the list has it, and there is no ledger", None, GONE),
        ("the list has it, and its ledger does not say which Match it was", a_ledger(match_name=""), GONE),
    ],
)
async def test_a_match_that_is_not_surely_gone_is_left_alone(case: str, ledger: Ledger | None, found: Any) -> None:
    rig, pool = Rig(), FakePool(GONE)
    if ledger is not None:
        pool.ledgers[GONE] = ledger
    rig.objects["gone"] = found
    rig.listed = {found} if found else set()
    await rig.sweep(pool)
    assert pool.settled == [], case


async def test_no_user_of_a_match_that_is_settled_is_let_go_again() -> None:
    rig, pool = Rig(), FakePool(GONE)
    pool.ledgers[GONE] = a_ledger(settled=True)
    assert (await rig.sweep(pool)).put_right == 0
    assert [request.users for request in pool.settled] == [()]


async def test_a_match_that_kubernetes_refuses_to_show_costs_no_other() -> None:
    rig, pool = Rig(), FakePool("u-forbidden", GONE)
    pool.ledgers = {GONE: a_ledger(), "u-forbidden": a_ledger(uid="u-forbidden", match_name="forbidden")}
    rig.objects["forbidden"] = BackendRefused(Backend.KUBERNETES, "get", "forbidden")
    await rig.sweep(pool)
    assert [request.uid for request in pool.settled] == [GONE]


async def test_no_user_is_let_go_while_kubernetes_does_not_answer() -> None:
    rig, pool = Rig(), FakePool(GONE)
    pool.ledgers[GONE] = a_ledger()
    rig.objects["gone"] = BackendUnavailable(Backend.KUBERNETES, "get", "no answer")
    with pytest.raises(BackendUnavailable):
        await rig.sweep(pool)
    assert pool.settled == []


async def test_one_match_about_which_kubernetes_does_not_answer_leaves_none_half_settled() -> None:
    rig, pool = Rig(), FakePool("u-away", GONE)
    pool.ledgers = {GONE: a_ledger(), "u-away": a_ledger(uid="u-away", match_name="away")}
    rig.objects["away"] = BackendUnavailable(Backend.KUBERNETES, "get", "no answer")
    with pytest.raises(BackendUnavailable):
        await rig.sweep(pool)
    assert [request.uid for request in pool.settled] == [GONE]


async def test_a_sweep_wakes_calls_that_redis_does_not_know_and_has_a_budget() -> None:
    rig, pool = Rig(live(1), *(over(n, OUTCOMES) for n in range(2, 8))), FakePool(*(f"u{n}" for n in range(2, 8)))
    assert (await rig.sweep(pool, at_most=4)).found == 4
    assert len(pool.settled) == 4
    assert rig.woken == ["u1"]


async def test_matches_that_cannot_be_settled_keep_no_other_one_from_its_turn() -> None:
    stuck = [f"u-stuck-{n}" for n in range(5)]
    rig, pool = Rig(), FakePool(*stuck, GONE)
    # Redis has no ledger of the first ones, and Kubernetes lists them, so nothing can be done about them yet.
    rig.listed = set(stuck)
    pool.ledgers[GONE] = a_ledger()
    assert await rig.sweep(pool, at_most=4) == Differences(4, 0)
    assert await rig.sweep(pool, at_most=4) == Differences(4, 1)
    assert [request.uid for request in pool.settled] == [GONE]


async def test_a_match_that_redis_refuses_to_settle_is_counted() -> None:
    rig, pool = Rig(), FakePool(GONE)
    pool.ledgers[GONE] = a_ledger()
    rig.objects["gone"] = BackendRefused(Backend.KUBERNETES, "get", "no")
    assert await rig.sweep(pool) == Differences(1, 0, refused=1)
