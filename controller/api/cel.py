"""What Kubernetes adds to JSON schema: validation rules in CEL, and how lists and maps are merged.

Rules stand beside the model or field that they guard and go into the CRD as they are. What the API server can
check it checks, before anything is stored; the sentence of a rule names what would be right.
"""

from typing import Any, Literal

# FieldValueDuplicate is left out: with it the API server keeps the sentence to itself.
Refusal = Literal["FieldValueInvalid", "FieldValueForbidden", "FieldValueRequired"]


def rule(
    expression: str,
    message: str,
    *,
    computed: str = "",
    field: str = "",
    reason: Refusal = "FieldValueInvalid",
) -> dict[str, str]:
    """One rule: `expression` must hold, else the API server answers `message`, or `computed` where CEL can
    build it."""
    made = {"rule": expression, "message": message, "reason": reason}
    if computed:
        made["messageExpression"] = computed
    if field:
        made["fieldPath"] = field
    return made


def immutable(field: str, why: str, *, optional: bool = False) -> dict[str, str]:
    """A rule for a field, given as `.path.to.field`, that keeps the value which it was created with."""
    new, old = f"self{field}", f"oldSelf{field}"
    same = f"{new} == {old}"
    if optional:
        same = f"has({new}) == has({old}) && (!has({new}) || {same})"
    name = field.rpartition(".")[2]
    return rule(same, f"{name} is immutable: {why}", field=field, reason="FieldValueForbidden")


def validations(*rules: dict[str, str]) -> dict[str, Any]:
    """The rules as an addition to a JSON schema."""
    return {"x-kubernetes-validations": list(rules)}


def atomic(*rules: dict[str, str]) -> dict[str, Any]:
    """A block that is owned and replaced as a whole: far less bookkeeping in managedFields."""
    return {"x-kubernetes-map-type": "atomic"} | (validations(*rules) if rules else {})


def keyed_by(key: str) -> dict[str, Any]:
    """A list whose items are told apart by one of their fields, which must differ between them."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}


def distinct() -> dict[str, Any]:
    """A list in which nothing occurs twice."""
    return {"x-kubernetes-list-type": "set"}


def ordered() -> dict[str, Any]:
    """A list that is owned and replaced as a whole."""
    return {"x-kubernetes-list-type": "atomic"}
