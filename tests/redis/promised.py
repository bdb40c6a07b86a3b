"""Holds what was told against what is promised: the tables in `api.notices` and `api.cloudevents`, and the schema."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator

from controller.api.cloudevents import EVENT_PREFIX, EVENTS
from controller.api.notices import DISCONNECT, NOTICES, Row
from controller.generate.events_schema import entry_schema, event_schema
from tests.redis.world import Told


def check(told: Told) -> None:
    """Raise unless every entry is one that is promised, with all of its fields and no other."""
    for _, notice in told.notices:
        row = notice_row(notice)
        assert notice.keys() == {"type", "at", *names(row)}
        validator(row.title).validate(notice)
    for entry in told.disconnects:
        assert entry.keys() == names(DISCONNECT)
        validator(DISCONNECT.title).validate(entry)
    for event in told.events:
        row = event_row(event)
        assert event["data"].keys() == names(row)
        validator(row.title).validate(event)


def titles(told: Told) -> set[str]:
    """The types that occur, as the tables call them."""
    return {notice_row(notice).title for _, notice in told.notices} | {event_row(event).title for event in told.events}


def notice_row(notice: Mapping[str, str]) -> Row:
    """The row of a notice; one that has none was never promised."""
    return next(row for row in NOTICES if row.type == notice["type"] and row.variant == notice.get("code", ""))


def event_row(event: Mapping[str, Any]) -> Row:
    """The row of an event."""
    return next(row for row in EVENTS if EVENT_PREFIX + row.type == event["type"])


def names(row: Row) -> set[str]:
    """The names of the fields of a row."""
    return {field.name for field in row.fields}


@cache
def validator(title: str) -> Draft202012Validator:
    """The schema of one type."""
    schemas = {row.title: entry_schema(row) for row in (*NOTICES, DISCONNECT)}
    schemas.update((row.title, event_schema(row)) for row in EVENTS)
    Draft202012Validator.check_schema(schemas[title])
    return Draft202012Validator(schemas[title])
