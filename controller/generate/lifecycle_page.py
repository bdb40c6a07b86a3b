"""The page on the life of a call.

Its words are in `lifecycle.md` beside this file. The phases, states, endings and timeouts come from the tables that the
operator itself uses.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from controller.api.endings import ENDINGS, RELEASE_DETAILS, Ending, EndReason, RequeuePolicy, Rollback, Subject
from controller.api.names import MATCH, ROOM
from controller.api.phases import MATCH_PHASES, ROOM_PHASES
from controller.api.states import PARTICIPANT_STATES, USER_STATES
from controller.generate.crds import DEFINITIONS, crd
from controller.generate.markdown import diagram, stages, table

TEMPLATE: Final = Path(__file__).with_name("lifecycle.md")

_GAP: Final = re.compile(r"\{\{([\w.]+)\}\}")
_DEFAULT: Final = re.compile(r" ?Default: [^.]*\.")
_TIMES: Final = (
    (MATCH.kind, "timeouts"),
    (MATCH.kind, "room.emptyTimeoutSeconds"),
    (MATCH.kind, "room.departureTimeoutSeconds"),
    (MATCH.kind, "tokens.ttlSeconds"),
    (MATCH.kind, "ttlSecondsAfterFinished"),
    (ROOM.kind, "maxAgeSeconds"),
)


def lifecycle(header: str) -> str:
    """The whole page."""
    return f"{header}\n\n{fill(TEMPLATE.read_text(encoding='utf-8'), _contents())}"


def fill(template: str, contents: Mapping[str, str]) -> str:
    """Return the template with each `{{gap}}` filled. Raises KeyError for a gap without contents."""
    return _GAP.sub(lambda gap: contents[gap[1]], template)


def place(ending: Ending) -> str:
    """Return the place in the queue of users after this ending, in the words that the page explains."""
    if ending.rollback is Rollback.ALWAYS:
        return "as before"
    if ending.requeue is RequeuePolicy.NONE:
        return "as usual, if requeued"
    # A user who skips goes to the end of the queue, with or without a call.
    usual = "the initiator at the end, the other as usual" if ending.reason is EndReason.SKIPPED else "as usual"
    return f"as before; once Ready, {usual}" if ending.rollback is Rollback.BEFORE_READY else usual


def _contents() -> dict[str, str]:
    return {
        "match.diagram": diagram(MATCH_PHASES),
        "match.table": stages("phase", MATCH_PHASES),
        "user.diagram": diagram(USER_STATES),
        "user.table": stages("state", USER_STATES),
        "participant.diagram": diagram(PARTICIPANT_STATES),
        "participant.table": stages("state", PARTICIPANT_STATES),
        "room.diagram": diagram(ROOM_PHASES),
        "room.table": stages("phase", ROOM_PHASES),
        "endings": _endings(),
        "sentences": _sentences(),
        "superseded": _superseded(),
        "details": table(("detail", "meaning"), ((f"`{word}`", meaning) for word, meaning in RELEASE_DETAILS.items())),
        "timeouts": _timeouts(),
        **{path.rpartition(".")[2]: str(field["default"]) for kind, path, field in _times() if kind == MATCH.kind},
    }


def _endings() -> str:
    rows = ((f"`{row.reason}`", row.cause, _requeued(row), place(row)) for row in ENDINGS.values())
    return table(("reason", "cause", "requeued by default", "place in the queue"), rows)


def _requeued(ending: Ending) -> str:
    others = ending.requeue is RequeuePolicy.OTHERS and ending.subject is not Subject.NONE
    return f"`{ending.requeue}` than {ending.subject}" if others else f"`{ending.requeue}`"


def _sentences() -> str:
    rows = (
        (
            f"`{row.reason}`",
            row.message.format(who="*who*", was="was", seconds="*n*"),
            row.notice,
            row.own_notice or ("" if row.subject is Subject.NONE else row.notice),
        )
        for row in ENDINGS.values()
    )
    return table(("reason", "`status.end.message`", "to the participants", "to the participant who caused it"), rows)


def _superseded() -> str:
    return "; ".join(
        f"`{row.reason}` gives way to "
        + " or ".join(f"`{reason}`" for reason in EndReason if reason in row.superseded_by)
        for row in ENDINGS.values()
        if row.superseded_by
    )


def _timeouts() -> str:
    rows = (
        (
            f"{kind} `{path}`",
            "none" if field["default"] == 0 else f"{field['default']} s",
            _DEFAULT.sub("", field["description"]),
        )
        for kind, path, field in _times()
    )
    return table(("setting in the spec", "default", "what it bounds"), rows)


def _times() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every time that bounds a part of the call: its kind, its path in the spec, its schema."""
    specs = {definition.kind.kind: _spec(definition.kind.kind) for definition in DEFINITIONS}
    for kind, path in _TIMES:
        field = specs[kind]
        for name in path.split("."):
            field = field["properties"][name]
        if "properties" in field:
            yield from ((kind, f"{path}.{name}", inner) for name, inner in field["properties"].items())
        else:
            yield kind, path, field


def _spec(kind: str) -> dict[str, Any]:
    definition = next(definition for definition in DEFINITIONS if definition.kind.kind == kind)
    schema: dict[str, Any] = crd(definition)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    spec: dict[str, Any] = schema["properties"]["spec"]
    return spec
