"""The rows of a ListRooms: an answer is divided into rows, and only those that changed are decoded.

LiveKit answers with all rooms of a server, some 500 bytes each, and between two lists hardly a room changes. A row that
is byte for byte as it was in the latest list stands for the same value, so a list of rooms at rest costs a comparison
per room. The rows hold `turn_password`, so nothing but values leaves this module. Neighbor: `clients.livekit` asks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass
from livekit import api
from livekit.protocol.models import Room as RoomMessage

from controller.clients.reading import reading
from controller.errors import Backend
from controller.facts.livekit import LiveKitRoom, parse_mark

_AT_ONCE = 500


def _rows_message() -> Any:
    """A message that reads ListRoomsResponse, with each room as the bytes that were sent."""
    number = api.ListRoomsResponse.DESCRIPTOR.fields_by_name["rooms"].number
    file = FileDescriptorProto(name="roomkeeper/rows.proto", package="roomkeeper", syntax="proto3")
    kind, label = FieldDescriptorProto.TYPE_BYTES, FieldDescriptorProto.LABEL_REPEATED
    file.message_type.add(name="Rows").field.add(name="rows", number=number, type=kind, label=label)
    pool = DescriptorPool()
    pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName("roomkeeper.Rows"))


RoomRows = _rows_message()
"""The class of an answer; its `rows` are the bytes of one room each."""


def room_of(message: RoomMessage) -> LiveKitRoom:
    """The value of a room, without its secrets."""
    return LiveKitRoom(message.name, message.sid, message.num_participants, parse_mark(message.metadata))


class RoomReader:
    """Reads the rows of one server, and remembers those of the latest complete list."""

    def __init__(self) -> None:
        self._latest: dict[bytes, LiveKitRoom] = {}

    async def read(self, rows: Sequence[bytes], *, is_complete: bool) -> tuple[LiveKitRoom, ...]:
        """The rooms of an answer. One whose row was in the latest complete list is the same object.

        A long answer is read in slices, and the rest of the program goes on between them. Raises BackendRefused.
        """
        rooms: dict[bytes, LiveKitRoom] = {}
        for start in range(0, len(rows), _AT_ONCE):
            if start:
                await asyncio.sleep(0)
            with reading(Backend.LIVEKIT, "ListRooms"):
                for row in rows[start : start + _AT_ONCE]:
                    rooms[row] = self._latest.get(row) or _decoded(row)
        if is_complete:
            self._latest = rooms
        return tuple(rooms.values())


def _decoded(row: bytes) -> LiveKitRoom:
    """The room of a row. Raises ValueError for one that is no room."""
    try:
        return room_of(RoomMessage.FromString(row))
    except DecodeError as error:
        raise ValueError("the row is no room") from error
