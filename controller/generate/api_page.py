"""The reference of the API as a page of Markdown, made from the same models as the CRDs."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from controller.api.names import API_VERSION
from controller.generate.crds import DEFINITIONS, Definition, crd
from controller.generate.markdown import table

_INTRODUCTION: Final = f"""\
Group and version: `{API_VERSION}`. An asterisk marks required fields. `kubectl explain match.spec` prints the same
texts, and so on for every field. [../lifecycle.md](../lifecycle.md) explains the phases and the endings, and their
consequences."""

_BOUNDS: Final = {
    "minimum": "≥ {}",
    "maximum": "≤ {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "maxProperties": "at most {} entries",
    "pattern": "pattern `{}`",
}


def reference(header: str) -> str:
    """The whole page."""
    sections = [header, "# API reference", _INTRODUCTION]
    for definition in DEFINITIONS:
        sections += _resource(definition)
    return "\n\n".join(sections) + "\n"


def _resource(definition: Definition) -> Iterator[str]:
    made = crd(definition)["spec"]
    schema = made["versions"][0]["schema"]["openAPIV3Schema"]
    names = made["names"]
    yield f"## {names['kind']}"
    yield schema["description"]
    yield f"`kubectl get {names['plural']}`, or `{names['shortNames'][0]}` for short."
    for part in ("spec", "status"):
        block = schema["properties"][part]
        yield f"### {names['kind']}: {part}"
        yield table(("field", "type", "default", "description"), _fields(block, ""))
        if rules := list(_rules(block, part)):
            yield "Rules, beside the bounds of each field:"
            yield _grouped(rules)


def _fields(block: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, ...]]:
    required = block.get("required", ())
    for name, schema in block["properties"].items():
        path = f"{prefix}{name}"
        star = " \\*" if name in required else ""
        yield f"`{path}`{star}", _type(schema), _default(schema), schema.get("description", "")
        inner, suffix = (schema["items"], "[]") if "items" in schema else (schema, "")
        if "properties" in inner:
            yield from _fields(inner, f"{path}{suffix}.")


def _type(schema: Mapping[str, Any]) -> str:
    bounds = [text.format(schema[key]) for key, text in _BOUNDS.items() if key in schema]
    if "enum" in schema:
        return " ".join(f"`{value}`" for value in schema["enum"])
    if "items" in schema:
        name = f"list of ({_type(schema['items'])})"
    elif "additionalProperties" in schema:
        name = f"map of text to ({_type(schema['additionalProperties'])})"
    else:
        name = {"date-time": "time"}.get(schema.get("format", ""), schema["type"])
    return ", ".join((name, *bounds))


def _default(schema: Mapping[str, Any]) -> str:
    default = schema.get("default")
    if default is None or default in ({}, ""):
        return ""
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def _rules(block: Mapping[str, Any], path: str) -> Iterator[tuple[str, str]]:
    """Yield every rule: the field that the API server reports, and the sentence."""
    for rule in block.get("x-kubernetes-validations", ()):
        yield f"`{path}{rule.get('fieldPath', '')}`", rule["message"]
    for name, schema in block.get("properties", {}).items():
        yield from _rules(schema, f"{path}.{name}")
    if "items" in block:
        yield from _rules(block["items"], f"{path}[]")


def _grouped(rules: Iterable[tuple[str, str]]) -> str:
    fields_by_sentence: dict[str, list[str]] = {}
    for field, sentence in rules:
        fields_by_sentence.setdefault(sentence, []).append(field)
    lines = (f"- {', '.join(fields)}: {sentence}" for sentence, fields in fields_by_sentence.items())
    return "\n".join(lines)
