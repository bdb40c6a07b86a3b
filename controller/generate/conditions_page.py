"""The page on conditions for users of `kubectl wait`, made from the table `api.conditions`."""

from collections.abc import Iterator
from typing import Final

from controller.api.conditions import (
    CONDITIONS,
    INTERRUPTIONS,
    MATCH_ENDINGS,
    ROOM_ENDINGS,
    ROOM_ENDINGS_TABLE,
    ConditionRow,
    Endings,
)
from controller.api.endings import END_CODES, ENDINGS
from controller.api.meta import ConditionStatus
from controller.api.names import KINDS, ResourceKind
from controller.generate.markdown import table

_INTRODUCTION: Final = """\
Each object says in `status.conditions` how it is: a type, the status `True`, `False` or `Unknown`, a reason (one word
for programs) and a message (a sentence for people). A reason or a type never changes its meaning. The messages may
change.

`kubectl wait` returns when a condition has the status that you ask for. It ignores a condition that speaks of an older
generation of the spec than the present one.

`Reconciling` and `Stalled` are for tools that wait for objects of any kind by the rules of kstatus: Flux, and
`helm --wait`. For them an object is in progress while `Reconciling` is True or before Roomkeeper has seen it, failed
while `Stalled` is True, and otherwise current. So a call that is over is current, and one that could not be made is
failed."""

_LINKS: Final = {
    MATCH_ENDINGS: "[the endings of a Match](#the-endings-of-a-match)",
    ROOM_ENDINGS_TABLE: "[the endings of a Room](#the-endings-of-a-room)",
}
_EXAMPLES: Final = {kind.kind: f"{kind.singular}/{kind.singular}-7f3a" for kind in KINDS}


def conditions_page(header: str) -> str:
    """The whole page."""
    sections = [header, "# Conditions", _INTRODUCTION]
    for kind in KINDS:
        sections += _kind(kind)
    sections += _endings_of_a_match()
    sections += _endings_of_a_room()
    return "\n\n".join(sections) + "\n"


def _kind(kind: ResourceKind) -> Iterator[str]:
    yield f"## {kind.kind}"
    for row in CONDITIONS.values():
        if row.kind is kind:
            yield from _condition(row)


def _condition(row: ConditionRow) -> Iterator[str]:
    yield f"### {row.kind.kind}: {row.type}"
    if not row.served:
        yield "Not served yet: no version of Roomkeeper sets this condition so far."
    yield "\n".join(
        f"- {status}: {meaning}."
        for status, meaning in (
            ("`True`", row.true),
            ("`False`", row.false),
            ("`Unknown`", "Roomkeeper cannot tell at the moment" if row.may_be_unknown else ""),
            ("absent", row.absent),
        )
        if meaning
    )
    if reasons := list(_reasons(row)):
        yield table(("status", "reason", "meaning"), reasons)
    if row.served:
        yield f"```sh\nkubectl wait --for=condition={row.type} {_EXAMPLES[row.kind.kind]}\n```"


def _reasons(row: ConditionRow) -> Iterator[tuple[str, str, str]]:
    for because in row.because:
        yield f"`{because.status}`", f"`{because.reason}`", because.meaning
    if row.endings is not None:
        yield f"`{row.endings.status}`", _words(row.endings), f"{_what(row.endings)}: {_LINKS[row.endings.table]}"


def _words(endings: Endings) -> str:
    """The words themselves where they are few, else the first of them."""
    shown = endings.reasons[:6]
    return ", ".join(f"`{word}`" for word in shown) + (", …" if len(shown) < len(endings.reasons) else "")


def _what(endings: Endings) -> str:
    return "it is over" if endings.status is ConditionStatus.TRUE else "it is ending, or is over"


def _endings_of_a_match() -> Iterator[str]:
    yield "## The endings of a Match"
    yield (
        "The reason of the condition `Finished` is always one of these, as is `status.end.reason`. What follows from "
        "each ending: [lifecycle.md](../lifecycle.md#endings)."
    )
    yield table(("reason", "cause"), ((f"`{row.reason}`", row.cause) for row in ENDINGS.values()))
    yield "Some endings have a finer word. The other conditions, `status.reason` and the history show it instead:"
    rows = ((f"`{row.code}`", f"`{row.reason}`", row.meaning) for row in END_CODES.values())
    yield table(("word", "reason of the ending", "meaning"), rows)
    yield "While a call is interrupted, `status.reason` and the condition `Connected` show one of these words:"
    yield table(("word", "meaning"), ((f"`{word}`", meaning) for word, meaning in INTERRUPTIONS.items()))


def _endings_of_a_room() -> Iterator[str]:
    yield "## The endings of a Room"
    yield "These are also the words of `status.reason`."
    yield table(("reason", "meaning"), ((f"`{reason}`", meaning) for reason, meaning in ROOM_ENDINGS.items()))
