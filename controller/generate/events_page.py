"""docs/events.md, made from the tables in `api.notices` and `api.cloudevents`.

The text of the page is in `events.md` beside this file; each gap in it gets the tables of its types, with examples.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from controller.api.cloudevents import EVENT_PREFIX, EVENTS
from controller.api.notices import DISCONNECT, NOTICES, REFUSALS, Field, Json, Row
from controller.generate.events_schema import entry_example, event_example
from controller.generate.lifecycle_page import fill
from controller.generate.markdown import table

TEMPLATE: Final = Path(__file__).with_name("events.md")


def page(header: str) -> str:
    """The whole page."""
    return f"{header}\n\n{fill(TEMPLATE.read_text(encoding='utf-8'), _contents())}"


def _contents() -> dict[str, str]:
    kinds = ("match", "user", "room")
    return {
        "notices": "\n\n".join(_notice(row) for row in NOTICES),
        "refusals": table(("why", "notice"), ((f"`{why}`", sentence) for why, sentence in REFUSALS.items())),
        "disconnect": _described(DISCONNECT, entry_example(DISCONNECT)),
        "event": _block(event_example(next(row for row in EVENTS if row.type == "match.active"))),
        **{f"events.{kind}": "\n\n".join(_events(kind)) for kind in kinds},
    }


def _notice(row: Row) -> str:
    return f"### {row.title}\n\n{_described(row, entry_example(row))}"


def _described(row: Row, example: Mapping[str, str]) -> str:
    fields = table(("field", "form", "meaning"), (_field(field) for field in row.fields))
    return f"{_sentence(row.when)}\n\n{fields}\n\n{_block(example)}"


def _events(kind: str) -> Iterator[str]:
    """Yield one table of the common fields, then each type with its own fields and an example of its data."""
    rows = [row for row in EVENTS if row.type.startswith(f"{kind}.")]
    common = [field for field in rows[0].fields if all(field.name in {f.name for f in row.fields} for row in rows)]
    shared = [field for field in common if field.name != "users"]
    yield table(("field", "form", "meaning"), (_field(field, any_value=True) for field in shared))
    for row in rows:
        own = [field for field in row.fields if field.name not in {other.name for other in shared}]
        yield f"#### {EVENT_PREFIX}{row.type}"
        yield _sentence(row.when)
        if own:
            yield table(("field", "form", "meaning"), (line for field in own for line in _lines(field)))
        yield _block({field.name: field.example for field in row.fields})


def _lines(field: Field) -> Iterator[tuple[str, str, str]]:
    yield _field(field)
    for item in field.items:
        name, form, meaning = _field(item)
        yield f"`{field.name}[].{name.strip('`')}`", form, meaning


def _field(field: Field, *, any_value: bool = False) -> tuple[str, str, str]:
    values = field.values if not any_value or len(field.values) != 1 else ()
    form = " ".join(f"`{value}`" for value in values) or field.form.value
    return f"`{field.name}`", f"{form}, or empty" if field.may_be_empty else form, field.meaning


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _block(value: Mapping[str, Json] | Mapping[str, str]) -> str:
    return f"```json\n{json.dumps(value, ensure_ascii=False)}\n```"
