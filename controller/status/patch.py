"""The smallest merge patch from one status to another (RFC 7386); an empty one is not sent. Pure."""

from __future__ import annotations

from typing import Any

from controller.api.meta import ApiModel


def changes(before: ApiModel, after: ApiModel) -> dict[str, Any]:
    """The merge patch that turns one status into another of the same kind.

    Fields that are equal are not dumped: to dump both statuses costs as much as to decide.
    """
    changed = {name for name in type(after).model_fields if getattr(before, name) != getattr(after, name)}
    return merge_patch(before.part(changed), after.part(changed)) if changed else {}


def merge_patch(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """The merge patch that turns `before` into `after`: the changed fields, and null for those that are gone."""
    patch: dict[str, Any] = {key: None for key in before if key not in after}
    for key, value in after.items():
        old = before.get(key)
        if old == value:
            continue
        if isinstance(old, dict) and isinstance(value, dict):
            patch[key] = merge_patch(old, value)
        else:
            patch[key] = value
    return patch
