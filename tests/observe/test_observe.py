"""Gathering what can be seen: what is read, what is taken from memory, and what a failed read becomes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from controller.api.endings import EndCode
from controller.api.match import Match
from controller.api.room import Room
from controller.backends.bundle import MATCHES, Backends
from controller.backends.servers import Server
from controller.backends.tokens import IssuedTokens
from controller.clients.kubernetes import Resource
from controller.clients.livekit_keys import ApiKey, ApiKeys
from controller.errors import Backend, BackendUnavailable, NotFound
from controller.facts.learned import Learned
from controller.facts.match import MatchSeen, Patience, Refusal
from controller.facts.observation import Absent, Present, Unknown
from controller.facts.room import OwnerFacts, RecordFacts, RoomSeen
from controller.facts.silences import LONG_AGO, Silence
from controller.observe.match import observe_match
from controller.observe.room import observe_room
from controller.plan import actions as a
from controller.plan.match import plan_match
from controller.plan.room import plan_room
from controller.rules.match_case import MatchCase
from controller.rules.room_case import RoomCase
from controller.status.match import match_status
from controller.status.room import room_status
from controller.views.audit import AuditView
from controller.views.cache import ObjectCache
from controller.views.drains import DrainTurns
from controller.views.finished import FinishedMatches
from controller.views.heartbeats import HeartbeatView
from controller.views.livekit import LiveKitView
from controller.views.silences import SilenceRecord
from tests import values as b
from tests.plan.world import only

ALICE = (b.person("alice"),)
AWAY = BackendUnavailable(Backend.REDIS, "HGETALL", "no answer")
API_AWAY = BackendUnavailable(Backend.KUBERNETES, "get", "no answer")
GONE = NotFound(Backend.KUBERNETES, "get", "no such room")


class Rig:
    """Backends in memory: what they answer, and a list of what was read."""

    def __init__(self) -> None:
        self.reads: list[str] = []
        self.answers: dict[str, Any] = {"ledger": None, "record": {}, "room": GONE, "match": GONE, "people": ()}
        self.seconds = 9.0
        self.view = LiveKitView()
        self.silences = SilenceRecord()
        clock = SimpleNamespace(now=lambda: b.at(self.seconds))
        self.tokens = IssuedTokens(clock, lambda _: True)
        self.rooms = ObjectCache(Room)
        self.matches = ObjectCache(Match)
        pool = SimpleNamespace(
            ledger=self._read("ledger"),
            redis=SimpleNamespace(hash=self._read("record")),
            keys=SimpleNamespace(room=lambda name: name),
        )
        client = SimpleNamespace(list_participants=self._read("people"))
        self.finished = FinishedMatches(1, lambda _namespace, _name: None)
        fake = SimpleNamespace(
            finished=self.finished,
            cluster_id=b.CLUSTER,
            clock=clock,
            patience=lambda _namespace, _now: Patience(),
            pools=SimpleNamespace(unbound=lambda _: pool, trouble=lambda _: ""),
            kubernetes=SimpleNamespace(get=self._get),
            servers=b.servers(self.view, client),
            rooms=self.rooms,
            matches=self.matches,
            tokens=self.tokens,
            heartbeats=HeartbeatView(90.0, decide_alone=False),
            audit=AuditView(),
            drains=DrainTurns(),
            silences=self.silences,
        )
        self.backends = cast("Backends", fake)

    async def _get(self, resource: Resource, _namespace: str, _name: str) -> Any:
        return await self._read("match" if resource == MATCHES else "room")()

    def _read(self, name: str) -> Any:
        async def answer(*_: Any) -> Any:
            self.reads.append(name)
            if isinstance(self.answers[name], Exception):
                raise self.answers[name]
            return self.answers[name]

        return answer

    async def match(self, match: Match, learned: Learned | None = None) -> MatchSeen:
        """What is seen of a Match."""
        return await observe_match(match, self.backends, learned or Learned())

    async def room(self, room: Room, learned: Learned | None = None) -> RoomSeen:
        """What is seen of a Room."""
        return await observe_room(room, self.backends, learned or Learned())


@pytest.fixture
def rig() -> Rig:
    return Rig()


# The ledger


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (None, Absent(b.at(9))),
        (b.ledger(), Present(b.ledger(), b.at(9))),
        (AWAY, Unknown(b.at(9), "Redis: no answer")),
    ],
)
async def test_the_ledger_is_there_not_there_or_unknown(rig: Rig, answer: Any, expected: Any) -> None:
    rig.answers["ledger"] = answer
    assert (await rig.match(b.connecting())).ledger == expected


async def test_what_was_learned_is_not_read_again_and_as_old_as_it_is(rig: Rig) -> None:
    learned = Learned(ledger=Present(b.ledger("Active"), b.at(3)), refusal=Refusal(EndCode.USER_BUSY, "bob"))
    rig.rooms.offer(b.a_room().manifest())
    seen = await rig.match(b.connecting(), learned)
    assert (seen.ledger, seen.refusal, rig.reads) == (learned.ledger, learned.refusal, [])


@pytest.mark.parametrize(
    ("case", "match", "seconds", "must_read", "reads"),
    [
        ("new: the claim tells", b.a_match(), 9, False, []),
        ("new, and an answer left something open", b.a_match(), 9, True, ["ledger"]),
        ("has a status", b.a_match(status={"phase": "Pending"}), 9, False, ["ledger"]),
        ("is deleted", b.a_match(deleted=True), 9, False, ["ledger"]),
        ("is to end", b.a_match(termination={"action": "End", "initiator": "alice"}), 9, False, ["ledger"]),
        ("is late", b.a_match(), 30, False, ["ledger"]),
    ],
)
async def test_a_match_that_is_new_needs_no_reading(
    rig: Rig, case: str, match: Match, seconds: float, must_read: bool, reads: list[str]
) -> None:
    rig.seconds = seconds
    seen = await rig.match(match, Learned(must_read=must_read))
    assert (seen.ledger, rig.reads) == (Absent(b.at(seconds)), reads), case


# The Room


async def test_a_room_in_the_cache_is_there_under_its_name_on_livekit(rig: Rig) -> None:
    rig.rooms.offer(b.a_room().manifest())
    rig.view.saw_room(b.a_livekit_room(), b.at(5))
    seen = await rig.match(b.connecting())
    assert isinstance(seen.room, Present)
    assert (seen.room.at, seen.livekit_name) == (b.at(9), b.LIVEKIT_NAME)
    assert seen.livekit_room == Present(b.a_livekit_room(), b.at(5))
    assert "room" not in rig.reads


@pytest.mark.parametrize(
    ("case", "match", "ledger", "asks"),
    [
        ("being made: it is created anyway", b.a_match(status={"phase": "Creating"}), b.ledger(), False),
        ("Ready: its absence would end the call", b.connecting(), b.ledger("Connecting"), True),
        ("deleted: its absence would let it go", b.a_match(deleted=True), b.ledger(), True),
        ("settled: the same", b.a_match(status={"phase": "Creating"}), b.ledger(settled="Ended"), True),
        ("deleted and never claimed: nothing was made", b.a_match(deleted=True), None, False),
    ],
)
async def test_an_absence_that_matters_is_confirmed_by_the_server(
    rig: Rig, case: str, match: Match, ledger: Any, asks: bool
) -> None:
    rig.answers["ledger"] = ledger
    seen = await rig.match(match)
    assert (seen.room, "room" in rig.reads) == (Absent(b.at(9)), asks), case
    assert (seen.livekit_name, seen.livekit_room) == ("", Absent(b.at(9)))


async def test_a_room_whose_deletion_was_seen_is_absent_without_asking(rig: Rig) -> None:
    room = b.a_room()
    rig.rooms.offer(room.manifest())
    rig.rooms.forget(b.NAMESPACE, b.ROOM_NAME, b.ROOM_UID)
    seen = await rig.match(b.connecting())
    assert (seen.room, "room" in rig.reads) == (Absent(b.at(9)), False)


async def test_a_room_that_the_server_knows_better_is_there(rig: Rig) -> None:
    rig.answers |= {"ledger": b.ledger("Connecting"), "room": b.a_room().manifest()}
    seen = await rig.match(b.connecting())
    assert isinstance(seen.room, Present)
    assert rig.rooms.get(b.NAMESPACE, b.ROOM_NAME) is not None


async def test_a_room_that_the_server_still_shows_is_unknown_until_the_server_says_that_it_is_gone(rig: Rig) -> None:
    rig.rooms.forget(b.NAMESPACE, b.ROOM_NAME, b.ROOM_UID)
    rig.answers |= {"ledger": b.ledger("Connecting"), "room": b.a_room().manifest()}
    assert isinstance((await rig.match(b.connecting())).room, Unknown)
    rig.answers["room"] = GONE
    assert (await rig.match(b.connecting())).room == Absent(b.at(9))


def unreadable_room(**metadata: Any) -> dict[str, Any]:
    """The Room of a call, as no version can read it."""
    body = b.an_active_room().manifest()
    body["spec"]["metadata"] = "none"
    body["metadata"] |= metadata
    return body


@pytest.mark.parametrize("is_cached", [True, False], ids=["from the cache", "after a restart"])
async def test_a_room_that_cannot_be_read_ends_no_call(rig: Rig, is_cached: bool) -> None:
    rig.answers |= {"ledger": b.ledger("Active"), "room": unreadable_room()}
    if is_cached:
        rig.rooms.offer(unreadable_room())
    rig.view.snapshot([b.a_livekit_room(people=2)], b.at(8))
    rig.view.saw_people(b.LIVEKIT_NAME, tuple(map(b.person, b.PEOPLE)), b.at(8))
    seen = await rig.match(b.active())
    assert isinstance(seen.room, Unknown)
    assert seen.room.why.startswith("Kubernetes: the Room cannot be read (spec.metadata: ")
    assert seen.livekit_name == b.LIVEKIT_NAME, "its name on LiveKit follows from the metadata"
    assert isinstance(seen.livekit_room, Present)
    case = MatchCase(b.active(), seen, b.at(100))
    assert case.cause is None
    assert plan_match(case).actions == ()
    assert match_status(case, None).phase == "Active"


async def test_a_room_that_cannot_be_read_is_deleted_with_its_match(rig: Rig) -> None:
    rig.rooms.offer(unreadable_room())
    rig.answers["ledger"] = b.ledger("Terminating", settled="Ended")
    seen = await rig.match(b.active())
    delete = only(plan_match(MatchCase(b.active(), seen, b.at(100))), a.DeleteRoom)
    assert (delete.room_name, delete.room_uid) == (b.ROOM_NAME, b.ROOM_UID)
    rig.rooms.offer(unreadable_room(resourceVersion="201", deletionTimestamp="2026-01-31T10:00:01Z"))
    seen = await rig.match(b.active())
    assert not any(
        isinstance(action, a.DeleteRoom) for action in plan_match(MatchCase(b.active(), seen, b.at(100))).actions
    )
    assert not MatchCase(b.active(), seen, b.at(100)).is_over


async def test_a_room_that_is_not_known_has_an_unknown_room_on_livekit(rig: Rig) -> None:
    rig.answers |= {"ledger": b.ledger("Connecting"), "room": API_AWAY}
    assert (await rig.match(b.connecting())).livekit_room == Unknown(b.at(9), "Kubernetes: no answer")


async def test_the_owner_of_a_room_that_cannot_be_read_is_not_gone(rig: Rig) -> None:
    owner = b.a_match().manifest()
    owner["spec"]["participants"] = 2
    rig.matches.offer(owner)
    seen = await rig.room(b.an_active_room())
    assert seen.owner == OwnerFacts(b.MATCH_UID, b.NAME, (), "")
    assert "match" not in rig.reads


@pytest.mark.parametrize("updated", ["", "soon", "-inf", "nan", "1e400", "-5"])
async def test_a_record_that_does_not_say_when_it_was_written_is_due(rig: Rig, updated: str) -> None:
    rig.answers["record"] = {"status": "active", "lastUpdated": updated}
    seen = await rig.room(b.an_active_room(owned=False))
    assert seen.record == Present(RecordFacts("active", 0), b.at(9))
    plan_room(RoomCase(b.an_active_room(owned=False), seen, b.at(9)))


async def test_a_server_that_does_not_answer_leaves_the_room_unknown(rig: Rig) -> None:
    rig.answers |= {"ledger": b.ledger("Connecting"), "room": API_AWAY}
    assert (await rig.match(b.connecting())).room == Unknown(b.at(9), "Kubernetes: no answer")


# A LiveKit server that is not configured

NOT_CONFIGURED = "the room is on LiveKit server 'eu-1', which is not configured; known are default"


async def test_the_room_of_a_match_is_unknown_on_a_server_that_is_not_configured(rig: Rig) -> None:
    rig.rooms.offer(b.an_active_room(status={"server": "eu-1"}).manifest())
    rig.view.snapshot((), b.at(5))
    rig.answers["ledger"] = b.ledger("Active")
    rig.seconds = 200
    seen = await rig.match(b.active(status={"room": {"name": b.ROOM_NAME, "url": b.URL}}))
    assert (seen.livekit_room, seen.people) == (Unknown(b.at(200), NOT_CONFIGURED), Unknown(b.at(200), NOT_CONFIGURED))
    # The URL is the one that the clients have.
    assert (seen.server.name, seen.server.trouble, seen.server.url) == ("eu-1", NOT_CONFIGURED, b.URL)


async def test_a_match_on_a_server_that_is_not_configured_still_releases_its_users(rig: Rig) -> None:
    rig.rooms.offer(b.an_active_room(status={"server": "eu-1"}).manifest())
    rig.answers["ledger"] = b.ledger("Active")
    match = b.active(deleted=True)
    seen = await rig.match(match)
    only(plan_match(MatchCase(match, seen, b.at(9))), a.RecordEnd)


async def test_a_room_on_a_server_that_is_not_configured_is_unknown_and_its_status_says_why(rig: Rig) -> None:
    rig.view.snapshot((), b.at(5))
    room = b.an_active_room(status={"server": "eu-1"}, deleted=True)
    seen = await rig.room(room)
    case = RoomCase(room, seen, b.at(9))
    assert (seen.livekit_room, seen.is_certainly_gone) == (Unknown(b.at(9), NOT_CONFIGURED), False)
    assert (plan_room(case).actions, plan_room(case).waits_for) == ((), NOT_CONFIGURED)
    status = room_status(case, None)
    degraded = next(one for one in status.conditions if one.type == "Degraded")
    assert (status.server, degraded.status, degraded.message.startswith(NOT_CONFIGURED)) == ("eu-1", "True", True)


async def test_a_room_that_was_made_and_names_no_server_may_be_alive(rig: Rig) -> None:
    """Another client has removed the server from the status of a standing Room, and this operator has just started."""
    rig.backends.servers.add(Server("eu-1", b.URL, ApiKeys(ApiKey("key", "secret")), cast("Any", None), LiveKitView()))
    made = b.a_room(owned=False, placed=False, status={"phase": "Active", "created_at": b.at(1), "sid": "RM_1"})
    seen = await rig.room(made)
    why = "it is not known on which LiveKit server the room is: its status no longer says so (status.server)"
    assert (seen.livekit_room, seen.people, seen.is_certainly_gone) == (
        Unknown(b.at(9), why),
        Unknown(b.at(9), why),
        False,
    )
    assert (plan_room(RoomCase(made, seen, b.at(9))).actions, seen.server.is_configured) == ((), False)
    new = await rig.room(b.a_room(owned=False, placed=False))
    assert (new.livekit_room, new.is_certainly_gone) == (Absent(b.at(9)), True)


# People


@pytest.mark.parametrize(
    ("case", "match", "now", "read_at", "asks"),
    [
        ("the window is open", b.connecting(), 25.9, 5, False),
        ("it is over, and they were read before", b.connecting(), 26, 25.9, True),
        ("it is over, and they were read since", b.connecting(), 27, 26, False),
        ("it is over, and they were never read", b.connecting(), 26, None, True),
        ("they met long ago", b.active(), 90, 5, False),
        ("not Ready yet", b.a_match(), 29, 5, False),
    ],
)
async def test_people_are_asked_for_again_once_a_deadline_has_passed(
    rig: Rig, case: str, match: Match, now: float, read_at: float | None, asks: bool
) -> None:
    rig.rooms.offer(b.a_room().manifest())
    rig.answers["people"] = ALICE
    rig.view.snapshot([b.a_livekit_room()], b.at(0))
    if read_at is not None:
        rig.view.saw_people(b.LIVEKIT_NAME, (), b.at(read_at))
    rig.seconds = now
    seen = await rig.match(match)
    assert ("people" in rig.reads) is asks, case
    if asks:
        assert seen.people == Present(ALICE, b.at(now)) == rig.view.people(b.LIVEKIT_NAME, b.at(now))


async def test_people_who_cannot_be_listed_after_the_deadline_are_unknown(rig: Rig) -> None:
    rig.rooms.offer(b.a_room().manifest())
    rig.view.snapshot([b.a_livekit_room()], b.at(0))
    rig.view.saw_people(b.LIVEKIT_NAME, (), b.at(5))
    rig.answers["people"] = BackendUnavailable(Backend.LIVEKIT, "ListParticipants", "no answer")
    rig.seconds = 27
    assert (await rig.match(b.connecting())).people == Unknown(b.at(27), "LiveKit: no answer")


@pytest.mark.parametrize("webhook_at", [None, 39])
async def test_no_window_is_over_after_a_restart_before_livekit_has_listed_its_rooms(
    rig: Rig, webhook_at: float | None
) -> None:
    """Only this list tells how long no replica asked, and so by how much the window moves."""
    rig.rooms.offer(b.a_room().manifest())
    rig.answers["ledger"] = b.ledger("Connecting")
    rig.view.succeed(b.at(3))
    if webhook_at is not None:
        rig.view.saw_people(b.LIVEKIT_NAME, (), b.at(webhook_at))
    rig.seconds = 40
    before = await rig.match(b.connecting())
    assert "people" not in rig.reads
    rig.view.snapshot([b.a_livekit_room()], b.at(40))
    rig.seconds = 41
    after = await rig.match(b.connecting())
    rig.seconds = 80
    later = await rig.match(b.connecting())
    ends = [
        MatchCase(b.connecting(), seen, b.at(second)).cause is not None
        for seen, second in ((before, 40), (after, 41), (later, 80))
    ]
    assert ends == [False, False, True]


# Tokens


async def test_tokens_that_this_process_delivered_are_remembered(rig: Rig) -> None:
    rig.tokens.delivered(b.MATCH_UID, b.tokens(), b.at(3))
    assert (await rig.match(b.a_match())).tokens == Present(b.tokens(), b.at(3))
    rig.tokens.revoked(b.MATCH_UID, b.at(5))
    assert (await rig.match(b.connecting())).tokens == Absent(b.at(5))


STATED = {"tokens": {"expires_at": b.at(700)}, "room": {"name": b.ROOM_NAME, "livekit_name": b.LIVEKIT_NAME}}


@pytest.mark.parametrize(
    ("case", "match", "ledger", "expected"),
    [
        ("the status tells", b.connecting(status=STATED), b.ledger(), Present(b.tokens(700), b.at(9))),
        ("claimed, before we started", b.connecting(), b.ledger(), Unknown),
        ("not claimed: none were made", b.a_match(status={"phase": "Pending"}), None, Absent(b.at(9))),
        ("over: taken away", b.active(status=b.OVER), b.ledger(settled="Ended"), Absent(b.at(9))),
        ("over, the status speaks of the room alone",
         b.active(status=b.OVER | {"room": STATED["room"]}), b.ledger(), Absent(b.at(9))),
    ],
)  # fmt: skip
async def test_after_a_restart_tokens_are_known_from_the_status_or_unknown(
    rig: Rig, case: str, match: Match, ledger: Any, expected: Any
) -> None:
    rig.answers["ledger"] = ledger
    found = (await rig.match(match)).tokens
    assert isinstance(found, Unknown) if expected is Unknown else found == expected, case


async def test_the_server_is_named_and_so_is_its_trouble(rig: Rig) -> None:
    rig.view.failed(b.at(8), "LiveKit: no answer")
    server = (await rig.match(b.connecting())).server
    assert (server.name, server.url, server.trouble) == ("default", b.URL, "LiveKit: no answer")
    assert server.silent_since == b.at(8)


async def test_the_silences_of_a_match_are_those_of_livekit_and_of_redis(rig: Rig) -> None:
    for second in (-60, -20, 0):
        rig.view.snapshot([], b.at(second))
    rig.view.failed(b.at(2), "no answer")
    rig.view.snapshot([], b.at(20))
    rig.silences.add(b.at(15), b.at(30))
    rig.seconds = 40.0
    match, room = await rig.match(b.connecting()), await rig.room(b.a_room())
    before = Silence(LONG_AGO, b.at(-60))
    assert match.server.silences.known == (before, Silence(b.at(0), b.at(30)))
    assert room.server.silences.known == (before, Silence(b.at(0), b.at(20)))


async def test_a_match_that_is_over_and_one_too_many_is_over_limit(rig: Rig) -> None:
    oldest, newest = (
        b.a_match(status={"phase": "Ended", "ended_at": b.at(second)}, uid=uid, name=uid)
        for uid, second in (("one", 4), ("two", 5))
    )
    for match in (newest, oldest):
        rig.finished.kept(match)
    assert [(await rig.match(match)).is_over_limit for match in (oldest, newest)] == [True, False]


# Rooms


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({}, Absent(b.at(9))),
        ({"status": "active", "lastUpdated": "1500"}, Present(RecordFacts("active", 1500), b.at(9))),
        ({"roomName": "x"}, Present(RecordFacts("", 0), b.at(9))),
        (AWAY, Unknown(b.at(9), "Redis: no answer")),
    ],
)
async def test_the_record_is_there_not_there_or_unknown(rig: Rig, answer: Any, expected: Any) -> None:
    rig.answers["record"] = answer
    assert (await rig.room(b.an_active_room())).record == expected


@pytest.mark.parametrize(
    ("case", "room", "learned", "reads"),
    [
        ("new: whatever is there is written over", b.a_room(), Learned(), []),
        ("new, and an answer left something open", b.a_room(), Learned(must_read=True), ["record"]),
        ("new and deleted", b.a_room(deleted=True), Learned(), ["record"]),
        ("has a status", b.an_active_room(), Learned(), ["record"]),
        ("just written", b.an_active_room(), Learned(record=b.a_record()), []),
    ],
)
async def test_a_record_is_read_only_where_it_is_not_known(
    rig: Rig, case: str, room: Room, learned: Learned, reads: list[str]
) -> None:
    rig.matches.offer(b.a_match().manifest())
    seen = await rig.room(room, learned)
    assert rig.reads == reads, case
    assert seen.record == (Present(b.a_record(), b.at(9)) if learned.record else Absent(b.at(9)))


async def test_the_owner_of_a_room_is_its_match(rig: Rig) -> None:
    rig.matches.offer(b.a_match(session_id="s-9").manifest())
    assert (await rig.room(b.a_room())).owner == OwnerFacts(b.MATCH_UID, b.NAME, b.PEOPLE, "s-9")
    assert (await rig.room(b.a_room(owned=False))).owner is None


SUCCESSOR = b.a_match(uid="of the next one").manifest()


@pytest.mark.parametrize(
    ("case", "cached", "answer", "is_gone"),
    [
        ("not there", None, GONE, True),
        ("not seen yet", None, b.a_match().manifest(), False),
        ("the API server is away", None, API_AWAY, False),
        ("another one has its name", SUCCESSOR, SUCCESSOR, True),
        ("another one had its name", SUCCESSOR, b.a_match().manifest(), False),
    ],
)
async def test_an_owner_that_is_not_in_the_cache_is_the_root_and_gone_only_if_the_server_says_so(
    rig: Rig, case: str, cached: Any, answer: Any, is_gone: bool
) -> None:
    if cached is not None:
        rig.matches.offer(cached)
    rig.answers["match"] = answer
    owner = (await rig.room(b.a_room(allowed_identities=["p-91", "bob", "carol"]))).owner
    assert owner == OwnerFacts(b.MATCH_UID, b.NAME, (), "", is_gone), case


async def test_a_record_that_lacks_the_call_is_due_once_its_match_is_known(rig: Rig) -> None:
    rig.answers["record"] = {"status": "active", "lastUpdated": "1500"}
    assert (await rig.room(b.an_active_room())).record == Present(RecordFacts("active", 1500), b.at(9))
    rig.matches.offer(b.a_match().manifest())
    assert (await rig.room(b.an_active_room())).record == Present(RecordFacts("active", 0), b.at(9))
    rig.answers["record"]["sessionID"] = "s-1"
    assert (await rig.room(b.an_active_room())).record == Present(RecordFacts("active", 1500), b.at(9))


async def test_the_match_of_a_room_that_is_being_deleted_is_not_read(rig: Rig) -> None:
    owner = (await rig.room(b.a_room(deleted=True))).owner
    assert owner is not None
    assert (owner.is_gone, "match" in rig.reads) == (False, False)


async def test_a_room_is_gone_for_certain_only_if_two_reads_agree(rig: Rig) -> None:
    rig.view.snapshot([], b.at(5))
    assert not (await rig.room(b.an_active_room())).is_certainly_gone
    rig.view.saw_gone(b.LIVEKIT_NAME, b.at(6))
    seen = await rig.room(b.an_active_room())
    assert (seen.is_certainly_gone, seen.livekit_room) == (True, Absent(b.at(6)))
