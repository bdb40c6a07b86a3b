"""Compares two schemas of a CRD: does the newer one accept, and keep, every object that the older one accepted? Pure.

A structural schema is a tree. The comparison walks both trees side by side and has one rule per keyword. A keyword
without a rule must not change. `crds.py` compares what is around the schemas.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeAlias

Schema: TypeAlias = Mapping[str, Any]

# They explain, and neither refuse nor change an object.
_FREE: Final = frozenset({"description", "title", "example", "externalDocs"})
# They have rules of their own below, as they belong together or contain schemas.
_OWN_RULES: Final = frozenset(
    {
        *("properties", "required", "additionalProperties", "items", "x-kubernetes-validations"),
        *("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"),
    }
)
_LOWER: Final = frozenset({"minLength", "minItems", "minProperties"})
_UPPER: Final = frozenset({"maxLength", "maxItems", "maxProperties"})


def refusals(before: Schema, after: Schema, loosened: Mapping[str, str] | None = None, path: str = "") -> Iterator[str]:
    """Say what of `after` may refuse, shorten or change an object that `before` accepts; nothing if it is compatible.

    Each sentence begins with the path of the field, like `.spec.participants[]`. `loosened` holds new patterns and CEL
    rules that accept at least what the old ones did, which no program can see; its values say why.
    """
    judged = loosened or {}
    where = path or "the object"
    for keyword in sorted((set(before) | set(after)) - _FREE - _OWN_RULES):
        told = _changed(keyword, before.get(keyword), after.get(keyword), judged)
        if told:
            yield f"{where}: {told}"
    yield from (f"{where}: {told}" for told in _range(before, after))
    yield from (f"{where}: {told}" for told in _validations(before, after, judged))
    yield from _properties(before, after, judged, path)
    yield from _additional(before, after, judged, path)
    yield from _items(before, after, judged, path)


def _changed(keyword: str, before: Any, after: Any, loosened: Mapping[str, str]) -> str:
    """What the change of one keyword breaks; empty if nothing."""
    if before == after:
        return ""
    rule = _RULES.get(keyword)
    if rule is not None and rule(before, after):
        return ""
    if keyword == "pattern" and after in loosened:
        return ""
    return f"`{keyword}` {_was_and_is(before, after)}"


def _was_and_is(before: Any, after: Any) -> str:
    if before is None:
        return f"is new: {after!r}"
    if after is None:
        return f"is gone; it was {before!r}"
    return f"was {before!r} and is {after!r}"


def _gone(_before: Any, after: Any) -> bool:
    return after is None


def _at_most_as_strict(before: Any, after: Any) -> bool:
    """A lower limit."""
    return after is None or after <= (before or 0)


def _at_least_as_wide(before: Any, after: Any) -> bool:
    """An upper limit."""
    return after is None or (before is not None and after >= before)


def _more_values(before: Any, after: Any) -> bool:
    return after is None or (before is not None and all(value in after for value in before))


def _only_became_true(before: Any, after: Any) -> bool:
    return not before and after is True


def _divides(before: Any, after: Any) -> bool:
    return after is None or (before is not None and isinstance(after, int) and before % after == 0)


_RULES: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    **dict.fromkeys(_LOWER, _at_most_as_strict),
    **dict.fromkeys(_UPPER, _at_least_as_wide),
    "enum": _more_values,
    "multipleOf": _divides,
    "nullable": _only_became_true,
    "pattern": _gone,
    "format": _gone,
    "uniqueItems": lambda _before, after: not after,
    "x-kubernetes-preserve-unknown-fields": _only_became_true,
}
"""When a changed keyword is compatible. All others (`type`, `default`, `x-kubernetes-list-type`, …) may not change."""


def _range(before: Schema, after: Schema) -> Iterator[str]:
    for bound, is_wider in (("minimum", float.__le__), ("maximum", float.__ge__)):
        exclusive = f"exclusive{bound.capitalize()}"
        was, now = before.get(bound), after.get(bound)
        if now is None:
            continue
        if was is None or not is_wider(float(now), float(was)):
            yield f"`{bound}` {_was_and_is(was, now)}"
        elif now == was and after.get(exclusive) and not before.get(exclusive):
            yield f"`{exclusive}` is new: {now!r} itself was accepted"


def _validations(before: Schema, after: Schema, loosened: Mapping[str, str]) -> Iterator[str]:
    def judged_on(rule: Schema) -> tuple[str, bool]:
        # Without the second one, a rule about changes says nothing about new objects.
        return rule["rule"], bool(rule.get("optionalOldSelf"))

    known = {judged_on(rule) for rule in before.get("x-kubernetes-validations", ())}
    for rule in after.get("x-kubernetes-validations", ()):
        if judged_on(rule) not in known and rule["rule"] not in loosened:
            yield f"a CEL rule is new: {rule['rule']}"


def _properties(before: Schema, after: Schema, loosened: Mapping[str, str], path: str) -> Iterator[str]:
    were, are = before.get("properties", {}), after.get("properties", {})
    for name in were:
        if name not in are:
            yield f"{path}.{name}: the field is gone"
        else:
            yield from refusals(were[name], are[name], loosened, f"{path}.{name}")
    if before.get("x-kubernetes-preserve-unknown-fields"):
        # A field of this name may be in an object already, with any value.
        yield from (f"{path}.{name}: the field is new where any field was kept" for name in are if name not in were)
    for name in sorted(set(after.get("required", ())) - set(before.get("required", ()))):
        # The API server fills in a default before it looks whether the field is there.
        if "default" not in are.get(name, {}):
            yield f"{path}.{name}: the field is required now"


def _additional(before: Schema, after: Schema, loosened: Mapping[str, str], path: str) -> Iterator[str]:
    was, now = before.get("additionalProperties"), after.get("additionalProperties")
    if was is None or was == now or now is True:
        return
    if isinstance(was, Mapping) and isinstance(now, Mapping):
        yield from refusals(was, now, loosened, f"{path}{{}}")
    elif was is not False:
        yield f"{path or 'the object'}: `additionalProperties` {_was_and_is(was, now)}"


def _items(before: Schema, after: Schema, loosened: Mapping[str, str], path: str) -> Iterator[str]:
    was, now = before.get("items"), after.get("items")
    if was == now or now is None:
        return
    if was is None:
        yield f"{path or 'the object'}: `items` is new"
    else:
        yield from refusals(was, now, loosened, f"{path}[]")
