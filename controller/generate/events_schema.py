"""contract/events.schema.json: the JSON Schema of notices, disconnects and events, made from the tables.

It also makes an example of each type, for the page and for tests.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from controller.api.cloudevents import EVENT_PREFIX, EVENTS
from controller.api.notices import DISCONNECT, MS, NOTICES, Field, Form, Row

_TIME: Final = Field("at", "when it happened", MS, Form.TIME)
_DIGITS: Final = "[0-9]+"
_SUBJECTS: Final = {
    "match": "match/match-7f3a",
    "user": "user/alice",
    "room": "room/rk-1b2c9d5e",
}
_IDS: Final = {
    "match": "match/6f1c0c4e-6f0f-4d0a-9a52-0e9f5ac2f1aa/3",
    "user": "user/alice/1795456034267-5",
    "room": "room/rk-1b2c9d5e/1795456034267-active",
}


def schema() -> dict[str, Any]:
    """Return the JSON Schemas of the entries of each stream; for `events`, the schema of its field `event`."""
    notices = {_name("notice", row): entry_schema(row) for row in NOTICES}
    events = {_name("event", row): event_schema(row) for row in EVENTS}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "What Roomkeeper tells others of a call",
        "description": "An entry of notify:<id> or disconnects, or the JSON of an entry of events. Fields may come.",
        "anyOf": [{"$ref": f"#/$defs/{name}"} for name in ("notice", "disconnect", "event")],
        "$defs": {
            "notice": {"oneOf": [{"$ref": f"#/$defs/{name}"} for name in notices]},
            "disconnect": entry_schema(DISCONNECT),
            "event": {"oneOf": [{"$ref": f"#/$defs/{name}"} for name in events]},
            **notices,
            **events,
        },
    }


def schema_text() -> str:
    """Return the schema as the text of a file."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def entry_schema(row: Row) -> dict[str, Any]:
    """Return the schema of an entry of a stream, whose values are all text."""
    fields = {field.name: _text_schema(field) for field in _entry_fields(row)}
    if row is not DISCONNECT:
        fields = {"type": {"const": row.type}, **fields}
    return _object(row.when, fields)


def event_schema(row: Row) -> dict[str, Any]:
    """Return the schema of a CloudEvent with its data."""
    kind = row.type.partition(".")[0]
    schema = _object(
        row.when,
        {
            "specversion": {"const": "1.0"},
            "id": {"type": "string", "pattern": f"^{kind}/"},
            "source": {"type": "string", "pattern": "^/roomkeeper/[^/]+/[^/]+$"},
            "type": {"const": EVENT_PREFIX + row.type},
            "subject": {"type": "string", "pattern": f"^{kind}/"},
            "time": {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$"},
            "datacontenttype": {"const": "application/json"},
            "data": _data_schema(row.fields),
        },
    )
    # Only where the operator makes traces, and only of what belongs to a Match.
    schema["properties"]["traceparent"] = {"type": "string", "pattern": "^00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]$"}
    return schema


def entry_example(row: Row) -> dict[str, str]:
    """Return an example of an entry, as Redis clients return it."""
    values = {field.name: "" if field.example is None else str(field.example) for field in _entry_fields(row)}
    return values if row is DISCONNECT else {"type": row.type, **values}


def event_example(row: Row) -> dict[str, Any]:
    """Return an example of an event."""
    kind = row.type.partition(".")[0]
    return {
        "specversion": "1.0",
        "id": _IDS[kind],
        "source": "/roomkeeper/default/calls",
        "type": EVENT_PREFIX + row.type,
        "subject": _SUBJECTS[kind],
        "time": "2026-11-23T17:47:14.267Z",
        "datacontenttype": "application/json",
        "data": {field.name: field.example for field in row.fields},
    }


def _name(kind: str, row: Row) -> str:
    return ".".join(part for part in (kind, row.type, row.variant) if part)


def _entry_fields(row: Row) -> tuple[Field, ...]:
    return row.fields if row is DISCONNECT else (_TIME, *row.fields)


def _object(description: str, properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "description": description,
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
    }


def _text_schema(field: Field) -> dict[str, Any]:
    if field.values:
        return {"enum": [*field.values, *([""] if field.may_be_empty else [])]}
    if field.form in {Form.TIME, Form.NUMBER}:
        return {"type": "string", "pattern": f"^({_DIGITS})?$" if field.may_be_empty else f"^{_DIGITS}$"}
    return {"type": "string"} if field.may_be_empty else {"type": "string", "minLength": 1}


def _data_schema(fields: Iterable[Field]) -> dict[str, Any]:
    properties = {field.name: {"description": field.meaning, **_json_schema(field)} for field in fields}
    return {"type": "object", "properties": properties, "required": list(properties)}


def _json_schema(field: Field) -> dict[str, Any]:
    if field.form is Form.LIST:
        inner = _data_schema(field.items) if field.items else {"type": "string"}
        return {"type": "array", "items": inner}
    if field.form in {Form.TIME, Form.NUMBER}:
        return {"type": ["integer", "null"] if field.may_be_empty else "integer"}
    return _text_schema(field)
