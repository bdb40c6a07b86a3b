"""What all resources share: the base models, metadata, conditions, and the format of times.

Neighbors: every other module of `api` builds on these models.
"""

from collections.abc import Set
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Final, Protocol

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, PlainSerializer
from pydantic.alias_generators import to_camel

# Names with capitals that plain camel case would not produce.
_ALIASES: Final = {"session_id": "sessionID", "livekit_name": "liveKitName"}


def api_name(field: str) -> str:
    """The name of a field in YAML and JSON: `session_id` → `sessionID`, `ready_at` → `readyAt`."""
    return _ALIASES.get(field) or to_camel(field)


def format_milliseconds(time: datetime) -> str:
    """RFC 3339 in UTC with milliseconds: 2026-01-31T10:15:00.250Z."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def format_seconds(time: datetime) -> str:
    """RFC 3339 in UTC with whole seconds, as Kubernetes writes metadata and conditions."""
    return time.astimezone(UTC).isoformat(timespec="seconds").removesuffix("+00:00") + "Z"


Timestamp = Annotated[AwareDatetime, PlainSerializer(format_milliseconds, return_type=str)]
"""A time that Roomkeeper writes: with milliseconds."""

TimestampSeconds = Annotated[AwareDatetime, PlainSerializer(format_seconds, return_type=str)]
"""A time in the format of Kubernetes: with whole seconds."""


class ApiModel(BaseModel):
    """A frozen part of a resource. It ignores unknown fields, since a newer operator may have written them.

    Field names are snake_case in Python and camelCase in the API; validation accepts both.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        alias_generator=api_name,
        validate_by_alias=True,
        validate_by_name=True,
        serialize_by_alias=True,
        use_attribute_docstrings=True,
    )

    def manifest(self) -> dict[str, Any]:
        """This part as the API server receives it: JSON types, camelCase names, no unset fields."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    def part(self, fields: Set[str]) -> dict[str, Any]:
        """The fields of these names, as `manifest` has them."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True, include=set(fields))


class SpecModel(ApiModel):
    """A part of a spec. It refuses unknown fields, since the author of the spec expects every field to have an
    effect."""

    model_config = ConfigDict(extra="forbid")


def unstored(default: SpecModel) -> Any:
    """A default that the models fill in and the API server does not store.

    So a later change of the default applies to existing objects as well. All objects share the one frozen value.
    """
    return Field(default_factory=lambda: default)


class OwnerReference(ApiModel):
    """The owner of an object: Kubernetes deletes the object after its owner."""

    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool | None = None
    block_owner_deletion: bool | None = None


class ObjectMeta(ApiModel):
    """The part of an object's metadata that Roomkeeper uses."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: TimestampSeconds | None = None
    deletion_timestamp: TimestampSeconds | None = None
    finalizers: tuple[str, ...] = ()
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    owner_references: tuple[OwnerReference, ...] = ()

    def manifest(self) -> dict[str, Any]:
        """The metadata as the API server receives it: only fields with a value, since the server fills in the rest."""
        return self.model_dump(mode="json", by_alias=True, exclude_defaults=True)


class HasMetadata(Protocol):
    """Anything that Kubernetes has metadata of, readable or not."""

    @property
    def metadata(self) -> ObjectMeta:
        """Its metadata."""
        ...


class Resource(ApiModel):
    """A whole object; each kind adds its `spec` and `status`."""

    api_version: str
    kind: str
    metadata: ObjectMeta

    def manifest(self) -> dict[str, Any]:
        return super().manifest() | {"metadata": self.metadata.manifest()}


class ConditionStatus(StrEnum):
    """Whether a condition holds."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(ApiModel):
    """One aspect of the object's state, for users and for `kubectl wait --for=condition=…`."""

    type: Annotated[str, Field(max_length=316, pattern=r"^[A-Za-z][A-Za-z0-9]*$")]
    """Name of the condition, for example Ready."""

    status: ConditionStatus
    """Whether the condition holds: True, False or Unknown."""

    reason: Annotated[str, Field(max_length=1024, pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$")]
    """Why the condition has this status, as one word for programs, for example TokensDelivered."""

    message: Annotated[str, Field(max_length=32768)] = ""
    """Why the condition has this status, as a sentence for users."""

    last_transition_time: TimestampSeconds
    """When the status of this condition last changed."""

    observed_generation: int | None = None
    """The generation of the spec that this condition describes."""
