"""Turn a pydantic model into the structural schema of a CRD, or fail.

Without strict validation an API server silently drops the keywords it does not know, and the constraint is
lost. So every keyword is either known to work, translated, or an error here.
"""

from typing import Any, Final

from pydantic import BaseModel

Schema = dict[str, Any]

_KEPT: Final = frozenset(
    {
        "type",
        "enum",
        "pattern",
        "minLength",
        "maxLength",
        "minimum",
        "maximum",
        "minItems",
        "maxItems",
        "minProperties",
        "maxProperties",
        "required",
        "x-kubernetes-int-or-string",
        "x-kubernetes-list-map-keys",
        "x-kubernetes-list-type",
        "x-kubernetes-map-type",
        "x-kubernetes-validations",
    }
)
_DROPPED: Final = frozenset({"title", "examples", "deprecated", "readOnly", "writeOnly", "$defs"})
_FORMATS: Final = frozenset({"date-time"})
_NO_RE2: Final = ("(?=", "(?!", "(?<=", "(?<!", "\\1")
_EXCLUSIVE: Final = {"exclusiveMinimum": "minimum", "exclusiveMaximum": "maximum"}
_INT_OR_STRING: Final = ({"type": "integer"}, {"type": "string"})
_NO_DEFAULT: Final = object()


class SchemaError(ValueError):
    """A model has a constraint that a structural schema cannot express."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")


def structural_schema(model: type[BaseModel], path: str, *, defaults: bool) -> Schema:
    """The structural schema of a model.

    `path` names the model in errors. Without `defaults` none are emitted: those of a status would come back
    on each write.
    """
    source = model.model_json_schema(by_alias=True, mode="validation")
    return _Translation(source.get("$defs", {}), defaults=defaults).node(source, path)


class _Translation:
    """One run over one model's JSON schema; `defs` are its shared definitions."""

    def __init__(self, defs: dict[str, Schema], *, defaults: bool) -> None:
        self._defs = defs
        self._defaults = defaults

    def node(self, source: Schema, path: str) -> Schema:
        flat = self._flatten(source, path)
        if "const" in flat:
            flat["enum"] = [flat.pop("const")]
        default = flat.pop("default", _NO_DEFAULT)
        out: Schema = {}
        for keyword, value in flat.items():
            out |= self._keyword(keyword, value, path)
        self._check(out, path)
        if self._defaults and default is not _NO_DEFAULT:
            out["default"] = self._default(default, out, path)
        return _ordered(out)

    def _flatten(self, source: Schema, path: str) -> Schema:
        """Follow `$ref`, and resolve the unions that mean "or nothing"; the keywords beside them win."""
        flat = dict(source)
        while "$ref" in flat or "anyOf" in flat:
            if "$ref" in flat:
                target = self._defs[flat.pop("$ref").removeprefix("#/$defs/")]
            else:
                target = _only_choice(flat.pop("anyOf"), path)
                if flat.get("default", _NO_DEFAULT) is None:
                    del flat["default"]
            flat = target | flat
        return flat

    def _keyword(self, keyword: str, value: Any, path: str) -> Schema:
        # Unknown fields need no keyword: the server prunes them, or refuses them if the request asks for strictness.
        if keyword in _DROPPED or (keyword, value) == ("additionalProperties", False):
            return {}
        if keyword in _EXCLUSIVE:
            return {_EXCLUSIVE[keyword]: value, keyword: True}
        return {keyword: self._value(keyword, value, path)}

    def _value(self, keyword: str, value: Any, path: str) -> Any:
        match keyword:
            case "description":
                return " ".join(value.split())
            case "properties":
                return {name: self.node(inner, f"{path}.{name}") for name, inner in value.items()}
            case "items":
                return self.node(value, f"{path}[]")
            case "additionalProperties" if isinstance(value, dict):
                return self.node(value, f"{path}{{}}")
            case _ if keyword in _KEPT or (keyword == "format" and value in _FORMATS):
                return value
        raise SchemaError(path, f"{keyword}: {value!r} is not known to work in a structural schema")

    def _default(self, default: Any, schema: Schema, path: str) -> Any:
        """A block's default is `{}`: the defaults inside it do the work, and must therefore say the same."""
        inner = schema.get("properties")
        if inner is None:
            return default
        for name, value in default.items():
            if not _fills_in(inner[name], value):
                raise SchemaError(path, f"the default {value!r} for {name} is not the default of that field itself")
        return {}

    @staticmethod
    def _check(schema: Schema, path: str) -> None:
        if "type" not in schema and "x-kubernetes-int-or-string" not in schema:
            raise SchemaError(path, "a structural schema needs a type")
        if "properties" in schema and "additionalProperties" in schema:
            raise SchemaError(path, "properties and additionalProperties exclude each other")
        pattern = schema.get("pattern", "")
        if unknown := [part for part in _NO_RE2 if part in pattern]:
            raise SchemaError(path, f"RE2 has no {unknown[0]}, in the pattern {pattern}")
        properties = schema.get("items", {}).get("properties", {})
        required = schema.get("items", {}).get("required", ())
        for key in schema.get("x-kubernetes-list-map-keys", ()):
            if key not in properties or key not in required:
                raise SchemaError(path, f"the key {key} of a list-map must be a required field of its items")


def _only_choice(choices: list[Schema], path: str) -> Schema:
    """Return the only choice of a union besides null. Raises SchemaError if there are several."""
    real = [choice for choice in choices if choice != {"type": "null"}]
    if len(real) == 1:
        return real[0]
    if all(choice in real for choice in _INT_OR_STRING) and len(real) == len(_INT_OR_STRING):
        return {"x-kubernetes-int-or-string": True}
    raise SchemaError(path, f"a union of {len(real)} types is not structural; give the field one type")


def _fills_in(schema: Schema, value: Any) -> bool:
    """Whether leaving a field out comes to the same as this value."""
    if "default" in schema:
        return bool(schema["default"] == value or (schema["default"] == {} and isinstance(value, dict)))
    return value in ({}, [], "", None)


_ORDER: Final = ("description", "type", "format", "enum", "default")


def _ordered(schema: Schema) -> Schema:
    """Return the schema with the texts for people first and long nested parts last."""
    nested = ("required", "x-kubernetes-validations", "items", "additionalProperties", "properties")
    first = [key for key in _ORDER if key in schema]
    last = [key for key in nested if key in schema]
    middle = [key for key in schema if key not in {*first, *last}]
    return {key: schema[key] for key in (*first, *middle, *last)}
