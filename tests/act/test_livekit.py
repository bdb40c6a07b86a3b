"""What is asked of LiveKit, and in which order: making, adopting, and deleting where LiveKit contradicts itself."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from controller.act.livekit import create_room, delete_room, tell_of_drain
from controller.api.livekitserver import DrainType
from controller.backends.bundle import Backends
from controller.errors import Backend, BackendError, BackendUnavailable, NotFound, Overloaded
from controller.facts.drain import DrainFacts
from controller.facts.livekit import LiveKitParticipant, LiveKitRoom, Mark, metadata_digest
from controller.facts.observation import Absent, Present
from controller.plan import actions as a
from controller.plan.room import plan_room
from controller.rules.room_case import RoomCase
from controller.views.livekit import LiveKitView
from tests import values as b
from tests.plan.world import only

UNKNOWN = NotFound(Backend.LIVEKIT, "DeleteRoom", "room or participant does not exist")
GHOST = Overloaded(Backend.LIVEKIT, "DeleteRoom", "HTTP 503 (unavailable)", may_have_run=True)
METADATA = {"topic": "go"}
CREATE = only(plan_room(RoomCase(b.a_room(metadata=METADATA), b.room_seen(), b.at(2))), a.CreateLiveKitRoom)
OURS, OTHERS = b.a_livekit_room(), b.a_livekit_room(mark=b.a_mark(room_uid="of-another-room"))
OF_A_CLIENT = b.a_livekit_room(foreign=True, sid="RM_of_a_client")
BOTH = (b.person("alice"), b.person("bob"))


class Rig:
    """A LiveKit that answers as told, one answer per DeleteRoom, and remembers what it was asked."""

    def __init__(self, *deletions: BackendError | None, makes: LiveKitRoom = OURS, lists: bool = False) -> None:
        self.asked: list[str] = []
        self.metadata: Any = None
        self.written: dict[str, object] | BackendError | None = None
        self.people: tuple[LiveKitParticipant, ...] = BOTH
        self._deletions = list(deletions)
        self._makes = makes
        self._lists = lists
        self.view = LiveKitView()
        self.room = b.a_room()
        self.creation: BackendError | None = None
        fake = SimpleNamespace(
            clock=SimpleNamespace(now=lambda: b.at(9)),
            leadership=SimpleNamespace(require=lambda _seconds: None),
            servers=b.servers(self.view, self),
            rooms=SimpleNamespace(get=lambda _namespace, _name: self.room),
        )
        self.backends = cast("Backends", fake)

    deadline_seconds = 4.0

    async def create_room(self, _request: Any) -> LiveKitRoom:
        self.asked.append("create")
        if self.creation is not None:
            raise self.creation
        return self._makes

    async def delete_room(self, _name: str) -> None:
        self.asked.append("delete")
        if (answer := self._deletions.pop(0)) is not None:
            raise answer

    async def list_rooms(self, _names: tuple[str, ...]) -> tuple[LiveKitRoom, ...]:
        self.asked.append("list")
        return (self._makes,) if self._lists else ()

    async def list_participants(self, _name: str) -> tuple[LiveKitParticipant, ...]:
        self.asked.append("people")
        return self.people

    async def metadata_of(self, _name: str) -> dict[str, object] | None:
        self.asked.append("read")
        if isinstance(self.written, BackendError):
            raise self.written
        return self.written

    async def send_data(self, _name: str, topic: str, message: dict[str, object]) -> None:
        self.asked.append(f"send {message['type']}")
        assert topic == "roomkeeper.dev/drain"

    async def update_metadata(self, _name: str, metadata: Any) -> None:
        self.asked.append("mark")
        self.metadata = metadata

    @property
    def mark(self) -> Mark | None:
        """The mark of the room, as it was last seen."""
        seen = self.view.room(b.LIVEKIT_NAME, b.at(9))
        assert isinstance(seen, Present)
        return seen.value.mark

    async def delete(self, *, may_have_people: bool = False) -> bool:
        """Carry out a deletion; whether the room is gone for certain."""
        action = a.DeleteLiveKitRoom(CREATE.target, CREATE.request, may_have_people)
        await delete_room(action, self.backends)
        return self.view.is_gone(b.LIVEKIT_NAME)


async def test_a_room_that_is_deleted_is_gone() -> None:
    rig = Rig(None)
    assert await rig.delete(may_have_people=True)
    assert rig.asked == ["delete"]


async def test_a_ghost_whose_node_is_dead_is_taken_over_and_then_deleted() -> None:
    rig = Rig(GHOST, None)
    assert await rig.delete()
    assert rig.asked == ["delete", "create", "delete"]


async def test_a_ghost_that_stays_one_is_not_gone() -> None:
    rig = Rig(GHOST, GHOST)
    with pytest.raises(Overloaded):
        await rig.delete()
    assert not rig.view.is_gone(b.LIVEKIT_NAME)


async def test_an_unknown_room_in_which_people_may_be_is_taken_over_and_then_deleted() -> None:
    rig = Rig(UNKNOWN, None)
    assert await rig.delete(may_have_people=True)
    assert rig.asked == ["delete", "create", "delete"]


async def test_an_unknown_and_empty_room_is_gone_if_it_is_not_listed() -> None:
    rig = Rig(UNKNOWN)
    assert await rig.delete()
    assert rig.asked == ["delete", "list"]


@pytest.mark.parametrize(
    ("rig", "may_have_people", "words"),
    [
        (Rig(UNKNOWN, lists=True), False, "lists room"),
        (Rig(UNKNOWN, UNKNOWN), True, "makes room"),
        (Rig(UNKNOWN, makes=OTHERS), True, "the mark of another Room"),
        (Rig(GHOST, makes=OTHERS), False, "the mark of another Room"),
    ],
)
async def test_a_room_of_which_livekit_contradicts_itself_is_not_gone(
    rig: Rig, may_have_people: bool, words: str
) -> None:
    with pytest.raises(BackendUnavailable, match=words):
        await rig.delete(may_have_people=may_have_people)
    assert not rig.view.is_gone(b.LIVEKIT_NAME)


DRAIN = DrainFacts("eu-1-a", DrainType.GRACEFUL, "We move soon.")
TOLD = replace(CREATE.request, mark=replace(CREATE.request.mark, drain=DRAIN.id), drain=DRAIN)
TELL = a.TellRoomOfDrain(CREATE.target, TOLD, "", has_people=True)


async def test_the_drain_is_added_to_what_others_wrote_into_the_metadata() -> None:
    rig = Rig()
    rig.view.saw_room(replace(OURS, mark=CREATE.request.mark), b.at(8))
    rig.written = {"poll": [1, 2], **CREATE.request.marked_metadata, "more": "of others"}
    rig.written["topic"] = "changed by another client"
    await tell_of_drain(TELL, rig.backends)
    assert rig.asked == ["send graceful", "read", "mark"]
    mark = TOLD.mark.to_json() | {"drain": DRAIN.to_json()}
    assert rig.metadata == {**rig.written, "roomkeeper.dev": mark}
    assert rig.mark == TOLD.mark


async def test_metadata_of_the_room_that_changed_as_well_are_written_with_the_drain() -> None:
    rig = Rig()
    rig.written = {"topic": "of before", "roomkeeper.dev": replace(CREATE.request.mark, digest="of-before").to_json()}
    await tell_of_drain(TELL, rig.backends)
    assert rig.metadata == TOLD.marked_metadata


@pytest.mark.parametrize("written", [None, {}, {"roomkeeper.dev": "no mark"}, {"topic": "of another client"}])
async def test_metadata_without_our_mark_stay_as_they_are(written: dict[str, object] | None) -> None:
    rig = Rig()
    rig.view.saw_room(OURS, b.at(8))
    rig.written = written
    await tell_of_drain(TELL, rig.backends)
    assert (rig.asked, rig.mark) == (["send graceful", "read"], None)


async def test_a_room_that_is_gone_is_told_no_second_time() -> None:
    rig = Rig()
    rig.view.saw_room(OURS, b.at(8))
    rig.written = UNKNOWN
    await tell_of_drain(TELL, rig.backends)
    assert (rig.asked, rig.mark) == (["send graceful", "read"], TOLD.mark)


async def test_a_room_that_is_alive_and_that_livekit_cannot_find_is_deleted_as_soon_as_it_can() -> None:
    """As a LiveKit whose Redis came back empty answers, until a participant comes or goes."""
    rig = Rig(UNKNOWN, UNKNOWN, UNKNOWN, None)
    with pytest.raises(BackendUnavailable, match="makes room"):
        await rig.delete(may_have_people=True)
    assert await rig.delete(may_have_people=True)
    assert rig.asked == ["delete", "create", "delete"] * 2


async def test_a_room_that_another_rooms_mark_is_on_is_not_deleted() -> None:
    rig = Rig(GHOST, makes=OTHERS)
    with pytest.raises(BackendUnavailable):
        await rig.delete()
    assert rig.asked == ["delete", "create"]


async def test_a_room_that_is_made_is_asked_for_once() -> None:
    rig = Rig()
    await create_room(CREATE, rig.backends)
    assert rig.asked == ["create"]
    assert rig.view.room(b.LIVEKIT_NAME, b.at(9)) == Present(OURS, b.at(9))


async def test_a_room_that_a_client_has_made_gets_our_mark_and_its_people_are_read() -> None:
    rig = Rig(makes=OF_A_CLIENT)
    # A list has shown the one before, and its people.
    rig.view.snapshot([b.a_livekit_room()], b.at(5))
    await create_room(CREATE, rig.backends)
    assert rig.asked == ["create", "mark", "people"]
    mark = b.a_mark(digest=metadata_digest(METADATA))
    assert rig.metadata == {"topic": "go", "roomkeeper.dev": mark.to_json()}
    marked = b.a_livekit_room(sid="RM_of_a_client", mark=mark)
    assert rig.view.room(b.LIVEKIT_NAME, b.at(9)) == Present(marked, b.at(9))
    assert rig.view.people(b.LIVEKIT_NAME, b.at(9)) == Present(BOTH, b.at(9))


async def test_a_room_that_was_merely_unlisted_comes_back_with_the_people_in_it() -> None:
    rig = Rig(makes=b.a_livekit_room(people=2))
    await create_room(CREATE, rig.backends)
    assert rig.asked == ["create", "people"]
    assert rig.view.people(b.LIVEKIT_NAME, b.at(9)) == Present(BOTH, b.at(9))


async def test_the_people_in_a_room_that_an_operator_before_us_made_are_read() -> None:
    rig = Rig()
    rig.room = b.an_active_room()
    rig.people = ()
    await create_room(CREATE, rig.backends)
    assert rig.asked == ["create", "people"]
    assert rig.view.people(b.LIVEKIT_NAME, b.at(9)) == Present((), b.at(9))


async def test_a_room_is_not_shown_before_it_is_known_who_is_in_it() -> None:
    rig, shown = Rig(makes=b.a_livekit_room(sid="RM_2", people=2)), list[object]()
    rig.view.snapshot([b.a_livekit_room()], b.at(5))
    rig.view.follow(changed=lambda _names: shown.append(rig.asked.copy()))
    await create_room(CREATE, rig.backends)
    assert shown
    assert all(asked == ["create", "people"] for asked in shown)


async def test_a_room_with_the_mark_of_another_room_is_left_as_it_is() -> None:
    rig = Rig(makes=OTHERS)
    await create_room(CREATE, rig.backends)
    assert rig.asked == ["create"]
    assert rig.view.room(b.LIVEKIT_NAME, b.at(9)) == Present(OTHERS, b.at(9))


async def test_before_anything_was_listed_a_deleted_room_is_absent() -> None:
    rig = Rig(None)
    await rig.delete()
    assert rig.view.room(b.LIVEKIT_NAME, b.at(9)) == Absent(b.at(9))


async def test_a_room_whose_creation_was_not_answered_is_deleted_after_a_list_that_was_asked_for_later() -> None:
    """A frozen server would carry out both side by side, and leave a room that lives and is not listed."""
    rig = Rig(None)
    rig.creation = BackendUnavailable(Backend.LIVEKIT, "CreateRoom", "no answer", may_have_run=True)
    with pytest.raises(BackendUnavailable):
        await create_room(CREATE, rig.backends)
    rig.view.snapshot([], b.at(8))
    with pytest.raises(BackendUnavailable, match="may still be being made"):
        await rig.delete()
    rig.view.snapshot([], b.at(10))
    assert await rig.delete()
    assert rig.asked == ["create", "delete"]
