"""The generator: its rules one by one, and what it makes of our models."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, create_model

from controller.api.endings import EndReason
from controller.generate.crds import DEFINITIONS, Definition, crd, schema_digests
from controller.generate.schema import SchemaError, structural_schema


class Inner(BaseModel):
    """About the type."""

    size: int = 3


def _schema(annotation: Any, default: Any = ..., *, defaults: bool = True) -> dict[str, Any]:
    model = create_model("Model", field=(annotation, default))
    field: dict[str, Any] = structural_schema(model, "x", defaults=defaults)["properties"]["field"]
    return field


def test_a_reference_is_inlined_and_its_siblings_win() -> None:
    field = _schema(Annotated[Inner, Field(description="About the field.")])
    assert field["description"] == "About the field."
    assert field["properties"] == {"size": {"type": "integer", "default": 3}}


def test_or_none_becomes_the_type_alone() -> None:
    assert _schema(int | None, None) == {"type": "integer"}


def test_a_union_is_refused() -> None:
    with pytest.raises(SchemaError, match=r"x\.field: a union of 2 types is not structural"):
        _schema(int | list[str])


def test_integer_or_text_has_a_form_of_its_own() -> None:
    assert _schema(int | str) == {"x-kubernetes-int-or-string": True}


def test_a_constant_becomes_an_enum_of_one() -> None:
    assert _schema(Literal["only"]) == {"type": "string", "enum": ["only"]}


def test_exclusive_bounds_take_the_old_form() -> None:
    bounded = _schema(Annotated[int, Field(gt=0, lt=9)])
    assert bounded == {
        "type": "integer",
        "minimum": 0,
        "exclusiveMinimum": True,
        "maximum": 9,
        "exclusiveMaximum": True,
    }


def test_a_block_defaults_to_nothing_and_its_fields_do_the_work() -> None:
    assert _schema(Inner, Inner())["default"] == {}


def test_a_block_whose_default_differs_from_its_fields_is_refused() -> None:
    with pytest.raises(SchemaError, match="the default 4 for size is not the default of that field"):
        _schema(Inner, Inner(size=4))


def test_a_status_has_no_defaults() -> None:
    assert "default" not in repr(_schema(Inner, Inner(), defaults=False))


@pytest.mark.parametrize(
    ("annotation", "keyword"),
    [
        (Annotated[int, Field(multiple_of=3)], "multipleOf"),
        (tuple[int, str], "prefixItems"),
        (set[int], "uniqueItems"),
        (dict[Annotated[str, Field(pattern="^a")], int], "patternProperties"),
        (Annotated[str, Field(json_schema_extra={"x-mine": 1})], "x-mine"),
        (bytes, "format"),
    ],
)
def test_a_keyword_that_is_not_known_to_work_is_refused(annotation: Any, keyword: str) -> None:
    with pytest.raises(SchemaError, match=rf"x\.field.*{keyword}"):
        _schema(annotation)


def test_a_field_of_any_type_is_refused() -> None:
    with pytest.raises(SchemaError, match="needs a type"):
        _schema(Any)


def test_a_pattern_that_re2_does_not_know_is_refused() -> None:
    with pytest.raises(SchemaError, match="RE2"):
        _schema(Annotated[str, Field(json_schema_extra={"pattern": "^(?=a)"})])


def test_the_key_of_a_list_map_is_required() -> None:
    extra: Any = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["size"]}
    with pytest.raises(SchemaError, match="the key size of a list-map must be a required field"):
        _schema(Annotated[list[Inner], Field(json_schema_extra=extra)])


def _version(definition: Definition) -> dict[str, Any]:
    version: dict[str, Any] = crd(definition)["spec"]["versions"][0]
    return version


def _walk(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from _walk(inner, f"{path}.{name}")
    for part, suffix in (("items", "[]"), ("additionalProperties", "{}")):
        if part in schema:
            yield from _walk(schema[part], path + suffix)


def _parts(definition: Definition, part: str) -> list[tuple[str, dict[str, Any]]]:
    schema = _version(definition)["schema"]["openAPIV3Schema"]["properties"][part]
    return list(_walk(schema, f"{definition.kind.singular}.{part}"))


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda d: d.kind.kind)
def test_every_field_is_described(definition: Definition) -> None:
    silent = [
        path
        for part in ("spec", "status")
        for path, schema in _parts(definition, part)
        if not path.endswith(("[]", "{}")) and len(schema.get("description", "")) < 10
    ]
    assert not silent


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda d: d.kind.kind)
def test_every_text_number_list_and_map_of_a_spec_is_bounded(definition: Definition) -> None:
    unbounded = [
        path
        for path, schema in _parts(definition, "spec")
        if (schema["type"] == "string" and not {"maxLength", "enum", "format"} & set(schema))
        or (schema["type"] in {"integer", "number"} and not {"minimum", "maximum"} <= set(schema))
        or (schema["type"] == "array" and "maxItems" not in schema)
        or ("additionalProperties" in schema and "maxProperties" not in schema)
    ]
    assert not unbounded


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda d: d.kind.kind)
def test_every_default_is_told_in_the_description(definition: Definition) -> None:
    for path, schema in _parts(definition, "spec"):
        default = schema.get("default")
        if default not in (None, {}, ""):
            assert "efault" in schema["description"], path
            assert str(default).lower() in schema["description"].lower(), path


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda d: d.kind.kind)
def test_a_status_is_one_atomic_map_without_defaults_in_it(definition: Definition) -> None:
    parts = _parts(definition, "status")
    assert parts[0][1]["x-kubernetes-map-type"] == "atomic"
    assert not [path for path, schema in parts[1:] if "default" in schema]
    unseen = {"observedGeneration": -1}
    assert parts[0][1].get("default") == unseen, "an object that the operator has not seen is in progress"


def test_the_blocks_of_a_match_are_atomic() -> None:
    spec = _parts(DEFINITIONS[0], "spec")[0][1]["properties"]
    blocks = ("placement", "room", "timeouts", "tokens", "requeue", "termination")
    assert all(spec[block]["x-kubernetes-map-type"] == "atomic" for block in blocks)


def test_the_reasons_of_an_end_are_those_of_the_table() -> None:
    status = dict(_parts(DEFINITIONS[0], "status"))
    assert status["match.status.end.reason"]["enum"] == [reason.value for reason in EndReason]


def test_columns_short_names_and_selectable_fields() -> None:
    made = {definition.kind.kind: crd(definition)["spec"] for definition in DEFINITIONS}
    assert {kind: spec["names"]["shortNames"] for kind, spec in made.items()} == {
        "Match": ["mt"],
        "Room": ["rm"],
        "LiveKitServer": ["lks"],
    }
    assert all(spec["names"]["categories"] == ["roomkeeper"] for spec in made.values())
    columns = [column["name"] for column in made["Match"]["versions"][0]["additionalPrinterColumns"]]
    wide = ["Room", "LiveKit-Room", "Degraded"]
    assert columns == ["Phase", "Ready", "Connected", "Participants", *wide, "Reason", "Age"]
    selectable = [field["jsonPath"] for field in made["Match"]["versions"][0]["selectableFields"]]
    of_room = [".status.room.server", ".status.room.name", ".status.room.liveKitName"]
    assert selectable == [".status.phase", ".status.reason", ".status.sessionID", *of_room]


def test_each_crd_tells_the_digest_of_its_schema() -> None:
    assert list(schema_digests()) == [definition.kind.crd for definition in DEFINITIONS]
    assert len(set(schema_digests().values())) == len(DEFINITIONS)
