"""What Kubernetes adds to JSON schema: validation rules in CEL, and how lists and maps are merged.

A rule stands beside the model or field that it guards, and the CRD contains it unchanged. The API server checks the
rules before it stores an object. The message of a rule says what is wrong, in which field, and what would be right.
Neighbors: `api.fields`, `api.match_spec`, `api.room` and `api.livekitserver` declare rules; `generate.schema` copies
them.
"""

from typing import Any, Literal

# FieldValueDuplicate is left out: with that reason, the API server does not show the message.
Refusal = Literal["FieldValueInvalid", "FieldValueForbidden", "FieldValueRequired"]


def rule(
    expression: str,
    message: str,
    *,
    computed: str = "",
    field: str = "",
    reason: Refusal = "FieldValueInvalid",
) -> dict[str, str]:
    """A rule: where `expression` is false, the API server refuses the object with `message`.

    `computed` is a CEL expression that builds a better message; `message` remains the fallback. `field` is the path
    that the refusal names, such as `.path.to.field`.
    """
    made = {"rule": expression, "message": message, "reason": reason}
    if computed:
        made["messageExpression"] = computed
    if field:
        made["fieldPath"] = field
    return made


def immutable(field: str, why: str, *, optional: bool = False) -> dict[str, str]:
    """A rule that refuses every change of a field, given as `.path.to.field`, after the object was created."""
    new, old = f"self{field}", f"oldSelf{field}"
    same = f"{new} == {old}"
    if optional:
        same = f"has({new}) == has({old}) && (!has({new}) || {same})"
    name = field.rpartition(".")[2]
    return rule(same, f"{name} is immutable: {why}", field=field, reason="FieldValueForbidden")


def validations(*rules: dict[str, str]) -> dict[str, Any]:
    """The rules, as keys to add to a JSON schema."""
    return {"x-kubernetes-validations": list(rules)}


def atomic(*rules: dict[str, str]) -> dict[str, Any]:
    """A block that one field manager owns and replaces as a whole, which keeps managedFields small."""
    return {"x-kubernetes-map-type": "atomic"} | (validations(*rules) if rules else {})


def keyed_by(key: str) -> dict[str, Any]:
    """A list whose items are identified by the field `key`, which must be unique in the list."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}


def distinct() -> dict[str, Any]:
    """A list that holds each value at most once."""
    return {"x-kubernetes-list-type": "set"}


def ordered() -> dict[str, Any]:
    """A list that one field manager owns and replaces as a whole."""
    return {"x-kubernetes-list-type": "atomic"}
