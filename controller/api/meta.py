"""What all resources share: the base models, metadata, conditions, and how times are written."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, PlainSerializer
from pydantic.alias_generators import to_camel

# Names whose capitals camel case does not find.
_ALIASES: Final = {"session_id": "sessionID", "livekit_name": "liveKitName"}


def api_name(field: str) -> str:
    """The name of a field in YAML and JSON: `session_id` → `sessionID`, `ready_at` → `readyAt`."""
    return _ALIASES.get(field) or to_camel(field)


def format_milliseconds(time: datetime) -> str:
    """RFC 3339 in UTC with milliseconds: 2026-01-31T10:15:00.250Z."""
    return f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.{time.microsecond // 1000:03d}Z"


def format_seconds(time: datetime) -> str:
    """RFC 3339 in UTC with whole seconds, as Kubernetes writes metadata and conditions."""
    return f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


Timestamp = Annotated[AwareDatetime, PlainSerializer(format_milliseconds, return_type=str)]
"""A moment of ours: written with milliseconds."""

TimestampSeconds = Annotated[AwareDatetime, PlainSerializer(format_seconds, return_type=str)]
"""A moment of Kubernetes': written with whole seconds."""


class ApiModel(BaseModel):
    """A frozen part of a resource; unknown fields are ignored, as a newer operator may have written them.

    Fields are snake_case in Python and camelCase outside; both are accepted.
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
        """This part as it is sent to the API server: JSON types, camelCase, nothing that is unset."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class SpecModel(ApiModel):
    """A part of a spec: unknown fields are refused, since whoever wrote them expects them to do something."""

    model_config = ConfigDict(extra="forbid")


def unstored(default: SpecModel) -> Any:
    """A default that the models know and the server does not store: a change of it applies to what exists.

    All objects share the one value, which is frozen.
    """
    return Field(default_factory=lambda: default)


class OwnerReference(ApiModel):
    """Who owns an object: with the owner gone, Kubernetes collects the object."""

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
        """The metadata as it is sent: only what has a value, since the server fills in the rest."""
        return self.model_dump(mode="json", by_alias=True, exclude_defaults=True)


class Resource(ApiModel):
    """A whole object; its kind adds `spec` and `status`."""

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
    """One aspect of the object's state, for people and for `kubectl wait --for=condition=…`."""

    type: Annotated[str, Field(max_length=316, pattern=r"^[A-Za-z][A-Za-z0-9]*$")]
    """Name of the condition, for example Ready."""

    status: ConditionStatus
    """Whether it holds: True, False or Unknown."""

    reason: Annotated[str, Field(max_length=1024, pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$")]
    """Why, as one word for programs, for example TokensDelivered."""

    message: Annotated[str, Field(max_length=32768)] = ""
    """Why, as a sentence for people."""

    last_transition_time: TimestampSeconds
    """When the status last changed from one value to another."""

    observed_generation: int | None = None
    """The generation of the spec that this condition speaks of."""
