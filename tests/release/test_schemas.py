"""Which changes of a schema are compatible: a table of all keywords, and a property that objects themselves decide."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from jsonschema import Draft4Validator

from release.schemas import refusals

STRING = {"type": "string"}
RULE = {"rule": "self > 0", "message": "must be positive"}


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(STRING, STRING | {"description": "Words."}, id="words"),
        pytest.param(_object(), _object(a=STRING), id="a new optional field"),
        pytest.param(_object(), _object(a=STRING | {"default": "x"}), id="a new field with a default"),
        pytest.param(
            _object(a=STRING),
            _object(a=STRING, b=STRING | {"default": "x"}) | {"required": ["b"]},
            id="required, but defaulted",
        ),
        pytest.param(_object(a=STRING) | {"required": ["a"]}, _object(a=STRING), id="no longer required"),
        pytest.param(STRING | {"maxLength": 5}, STRING | {"maxLength": 6}, id="longer"),
        pytest.param(STRING | {"maxLength": 5}, STRING, id="any length"),
        pytest.param(STRING | {"minLength": 5}, STRING | {"minLength": 4}, id="shorter"),
        pytest.param({"type": "integer", "minimum": 5}, {"type": "integer", "minimum": 4}, id="less"),
        pytest.param({"type": "integer", "maximum": 5}, {"type": "integer"}, id="any number"),
        pytest.param(
            {"maximum": 5, "exclusiveMaximum": True}, {"maximum": 6, "exclusiveMaximum": True}, id="a wider open bound"
        ),
        pytest.param({"maximum": 5, "exclusiveMaximum": True}, {"maximum": 5}, id="the bound itself too"),
        pytest.param({"multipleOf": 4}, {"multipleOf": 2}, id="more multiples"),
        pytest.param(STRING | {"enum": ["a"]}, STRING | {"enum": ["b", "a"]}, id="one more value"),
        pytest.param(STRING | {"enum": ["a"]}, STRING, id="any value"),
        pytest.param(STRING | {"pattern": "^a"}, STRING, id="no pattern"),
        pytest.param(STRING | {"format": "date-time"}, STRING, id="no format"),
        pytest.param(STRING, STRING | {"nullable": True}, id="null too"),
        pytest.param({"x-kubernetes-validations": [RULE]}, {}, id="no rule"),
        pytest.param(
            {"x-kubernetes-validations": [RULE]},
            {"x-kubernetes-validations": [RULE | {"message": "say it better"}]},
            id="another message",
        ),
        pytest.param({"additionalProperties": STRING}, {"additionalProperties": True}, id="any value in a map"),
        pytest.param({}, {"x-kubernetes-preserve-unknown-fields": True}, id="unknown fields are kept"),
    ],
)
def test_what_accepts_every_older_object_is_compatible(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert list(refusals(before, after)) == []


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (STRING, {"type": "integer"}, "the object: `type` was 'string' and is 'integer'"),
        (_object(a=STRING), _object(), ".a: the field is gone"),
        (_object(a=STRING), _object(a=STRING) | {"required": ["a"]}, ".a: the field is required now"),
        (_object(), _object(a=STRING) | {"required": ["a"]}, ".a: the field is required now"),
        (_object(a=STRING), _object(a=STRING | {"maxLength": 5}), ".a: `maxLength` is new: 5"),
        (STRING | {"maxLength": 5}, STRING | {"maxLength": 4}, "the object: `maxLength` was 5 and is 4"),
        (STRING, STRING | {"minLength": 1}, "the object: `minLength` is new: 1"),
        ({"minItems": 1}, {"minItems": 2}, "the object: `minItems` was 1 and is 2"),
        ({"minimum": 1}, {"minimum": 2}, "the object: `minimum` was 1 and is 2"),
        ({}, {"maximum": 2}, "the object: `maximum` is new: 2"),
        (
            {"maximum": 2},
            {"maximum": 2, "exclusiveMaximum": True},
            "the object: `exclusiveMaximum` is new: 2 itself was accepted",
        ),
        (
            {"maximum": 2},
            {"maximum": 3, "exclusiveMaximum": True},
            None,
        ),
        ({"multipleOf": 2}, {"multipleOf": 4}, "the object: `multipleOf` was 2 and is 4"),
        (STRING | {"enum": ["a", "b"]}, STRING | {"enum": ["a"]}, "the object: `enum` was ['a', 'b'] and is ['a']"),
        (STRING, STRING | {"enum": ["a"]}, "the object: `enum` is new: ['a']"),
        (STRING, STRING | {"pattern": "^a"}, "the object: `pattern` is new: '^a'"),
        (STRING | {"pattern": "^a"}, STRING | {"pattern": "a"}, "the object: `pattern` was '^a' and is 'a'"),
        (STRING, STRING | {"format": "uri"}, "the object: `format` is new: 'uri'"),
        (STRING | {"nullable": True}, STRING, "the object: `nullable` is gone; it was True"),
        (STRING | {"default": "a"}, STRING | {"default": "b"}, "the object: `default` was 'a' and is 'b'"),
        (STRING, STRING | {"default": "b"}, "the object: `default` is new: 'b'"),
        ({}, {"x-kubernetes-validations": [RULE]}, "the object: a CEL rule is new: self > 0"),
        (
            {"x-kubernetes-validations": [RULE]},
            {"x-kubernetes-validations": [RULE | {"optionalOldSelf": True}]},
            "the object: a CEL rule is new: self > 0",
        ),
        (
            {"type": "array", "items": STRING, "x-kubernetes-list-type": "atomic"},
            {"type": "array", "items": STRING, "x-kubernetes-list-type": "set"},
            "the object: `x-kubernetes-list-type` was 'atomic' and is 'set'",
        ),
        (
            _object(list={"type": "array", "items": STRING}),
            _object(list={"type": "array", "items": STRING | {"maxLength": 1}}),
            ".list[]: `maxLength` is new: 1",
        ),
        (
            _object(map={"additionalProperties": STRING}),
            _object(map={"additionalProperties": STRING | {"maxLength": 1}}),
            ".map{}: `maxLength` is new: 1",
        ),
        ({"additionalProperties": STRING}, {}, "the object: `additionalProperties` is gone; it was {'type': 'string'}"),
        (
            {"x-kubernetes-preserve-unknown-fields": True},
            {},
            "the object: `x-kubernetes-preserve-unknown-fields` is gone; it was True",
        ),
        (
            {"x-kubernetes-preserve-unknown-fields": True},
            {"x-kubernetes-preserve-unknown-fields": True, "properties": {"a": STRING}},
            ".a: the field is new where any field was kept",
        ),
        ({}, {"oneOf": [STRING]}, "the object: `oneOf` is new: [{'type': 'string'}]"),
        ({}, {"x-kubernetes-something-new": 1}, "the object: `x-kubernetes-something-new` is new: 1"),
    ],
)
def test_what_may_refuse_or_shorten_an_older_object_is_named_with_its_field(
    before: dict[str, Any], after: dict[str, Any], told: str | None
) -> None:
    assert list(refusals(before, after)) == ([] if told is None else [told])


def test_a_rule_that_a_person_has_judged_to_be_looser_is_accepted() -> None:
    before = {"pattern": "^ab", "x-kubernetes-validations": [RULE]}
    after = {"pattern": "^a", "x-kubernetes-validations": [{"rule": "self >= 0"}]}
    judged = {"^a": "every text that begins with ab begins with a", "self >= 0": "zero is allowed too"}
    assert len(list(refusals(before, after))) == 2
    assert list(refusals(before, after, judged)) == []


# ---- the property: two schemas of one shape, and an object that the older one accepts

_NAMES = ("a", "b", "c")


def _maybe(draw: st.DrawFn, **keywords: st.SearchStrategy[Any]) -> dict[str, Any]:
    return {name: draw(values) for name, values in keywords.items() if draw(st.integers(0, 3)) == 0}


def _schema(draw: st.DrawFn, shape: Any) -> dict[str, Any]:
    small = st.integers(0, 3)
    match shape:
        case "string":
            values = st.lists(st.sampled_from(["", "x", "xy", "xyz"]), min_size=1, unique=True)
            return STRING | _maybe(draw, minLength=small, maxLength=small, enum=values, pattern=st.just("^x"))
        case "integer":
            bound, flag = st.integers(-3, 3), st.just(True)
            found = _maybe(draw, minimum=bound, maximum=bound, exclusiveMinimum=flag, exclusiveMaximum=flag)
            for side in ("Minimum", "Maximum"):
                if side.lower() not in found:
                    found.pop(f"exclusive{side}", None)
            return {"type": "integer"} | found | _maybe(draw, multipleOf=st.integers(1, 3))
        case ["array", items]:
            return {"type": "array", "items": _schema(draw, items)} | _maybe(draw, minItems=small, maxItems=small)
        case ["map", values]:
            found = {"type": "object", "additionalProperties": _schema(draw, values)}
            return found | _maybe(draw, minProperties=small, maxProperties=small)
        case _:
            names = [name for name in shape if draw(st.integers(0, 5))]
            required = draw(st.lists(st.sampled_from(names), unique=True, max_size=1)) if names else []
            found = _object(**{name: _schema(draw, shape[name]) for name in names})
            return found | ({"required": required} if required else {})


_SHAPES: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from(["string", "integer"]),
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(["array", "map"]), inner).map(list),
        st.dictionaries(st.sampled_from(_NAMES), inner, min_size=1),
    ),
    max_leaves=4,
)


def _mixed(draw: st.DrawFn, before: dict[str, Any], fresh: dict[str, Any]) -> dict[str, Any]:
    """Mostly `before`: a keyword here and there is as in `fresh`, or not there if `fresh` has none."""
    found: dict[str, Any] = {}
    for keyword in {**before, **fresh}:
        source = before if draw(st.integers(0, 3)) else fresh
        match before.get(keyword), fresh.get(keyword):
            case dict() as was, dict() as now if keyword == "properties":
                found[keyword] = {
                    name: _mixed(draw, was[name], now[name]) if name in was and name in now else source[keyword][name]
                    for name in source[keyword]
                }
            case dict() as was, dict() as now:
                found[keyword] = _mixed(draw, was, now)
            case _ if keyword in source:
                found[keyword] = source[keyword]
    for side in ("Minimum", "Maximum"):
        if side.lower() not in found:
            found.pop(f"exclusive{side}", None)
    if "required" in found:
        found["required"] = [name for name in found["required"] if name in found["properties"]] or [
            *found["properties"]
        ]
    return {keyword: value for keyword, value in found.items() if value != [] or keyword != "required"}


def _instance(draw: st.DrawFn, schema: dict[str, Any]) -> Any:
    """An object of the right types; whether it keeps all limits is not sure."""
    match schema:
        case {"type": "string"}:
            return draw(st.sampled_from(schema.get("enum", ["", "x", "xy", "xyz"])))
        case {"type": "integer"}:
            return draw(st.integers(-4, 4))
        case {"type": "array", "items": items}:
            return [_instance(draw, items) for _ in range(draw(st.integers(0, 3)))]
        case {"additionalProperties": values}:
            return {name: _instance(draw, values) for name in draw(st.sets(st.sampled_from(_NAMES)))}
        case {"properties": properties}:
            needed = schema.get("required", [])
            return {
                name: _instance(draw, properties[name]) for name in properties if name in needed or draw(st.booleans())
            }
    raise AssertionError(schema)


@st.composite
def _cases(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any], Any]:
    shape = draw(_SHAPES)
    before = _schema(draw, shape)
    return before, _mixed(draw, before, _schema(draw, shape)), _instance(draw, before)


def _pruned(value: Any, schema: dict[str, Any]) -> Any:
    """What the API server keeps of it."""
    match schema:
        case {"items": items}:
            return [_pruned(item, items) for item in value]
        case {"additionalProperties": values}:
            return {name: _pruned(item, values) for name, item in value.items()}
        case {"properties": properties}:
            return {name: _pruned(item, properties[name]) for name, item in value.items() if name in properties}
    return value


@settings(max_examples=500, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow], deadline=None)
@given(_cases())
def test_a_compatible_schema_accepts_and_keeps_every_object_of_the_older_one(
    case: tuple[dict[str, Any], dict[str, Any], Any],
) -> None:
    before, after, instance = case
    assume(Draft4Validator(before).is_valid(instance))
    if not list(refusals(before, after)):
        assert Draft4Validator(after).is_valid(instance)
        assert _pruned(instance, after) == instance
