"""The resource LiveKitServer: one LiveKit server or cluster that rooms can be placed on."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from controller.api.cel import atomic, keyed_by, rule, validations
from controller.api.failures import LastError
from controller.api.fields import ShortText
from controller.api.meta import ApiModel, Condition, Resource, SpecModel, Timestamp

DEFAULT_SERVER = "default"
"""The server of the operator's settings, used where there is no LiveKitServer."""


class DrainType(StrEnum):
    """How a server is taken out of service."""

    GRACEFUL = "graceful"
    MAINTENANCE = "maintenance"
    EMERGENCY = "emergency"


_URL = validations(
    rule(
        "self == '' || self.matches('^(ws|wss|http|https)://[^/[:space:]]+')",
        "must be an address such as wss://livekit.example.com or http://livekit:7880",
    )
)


class Drain(SpecModel):
    """Taking the server out of service. It can be undone by removing this block."""

    model_config = ConfigDict(
        json_schema_extra=atomic(
            rule(
                "self.type != 'maintenance' || has(self.deadline)",
                "deadline is missing: maintenance ends the calls at a time that has to be given, for example "
                "2026-01-31T22:00:00Z",
                field=".deadline",
                reason="FieldValueRequired",
            )
        )
    )

    type: DrainType
    """How. `graceful` waits until the calls end by themselves, `maintenance` ends them at the deadline,
    `emergency` ends them at once. No type places new rooms on the server."""

    message: ShortText = Field(default_factory=str)
    """What the people in the calls are told."""

    expected_downtime_seconds: Annotated[int, Field(ge=0, le=7 * 24 * 3600)] = Field(default_factory=int)
    """Seconds for which the server will be away, as the people are told. Default: 0, unknown."""

    deadline: Timestamp | None = None
    """When `maintenance` ends the calls that are still going on. Required with it."""


class LiveKitServerSpec(SpecModel):
    """Where the server is, and what may be placed on it."""

    url: Annotated[str, Field(min_length=1, max_length=2048, json_schema_extra=_URL)]
    """Address at which the operator reaches the server, for example http://livekit:7880."""

    public_url: Annotated[str, Field(max_length=2048, json_schema_extra=_URL)] = ""
    """Address that clients are given, for example wss://livekit.example.com. Empty (the default): `url`."""

    credentials_secret_name: Annotated[str, Field(max_length=253, pattern=r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$")] = ""
    """Name of the Secret in the operator's namespace with the keys `apiKey` and `apiSecret`. Empty (the
    default): the ones of the operator's settings."""

    max_rooms: Annotated[int, Field(ge=0, le=1000000)] = 0
    """How many rooms may be on the server at once; beyond that none is placed there. 0 (the default): no
    limit."""

    cordoned: bool = False
    """Whether no new rooms are placed on the server; calls that are on go on. Default: false."""

    drain: Drain | None = None
    """Set this to take the server out of service; remove it to undo that."""


class LiveKitServerStatus(ApiModel):
    """How the server is; written every 30 s at most."""

    model_config = ConfigDict(json_schema_extra=atomic())

    observed_generation: int | None = None
    """The generation of the spec that this status speaks of."""

    conditions: Annotated[
        tuple[Condition, ...],
        Field(json_schema_extra=keyed_by("type")),
    ] = ()
    """Ready (it answers and accepts the credentials) and Drained (no call of ours is left on it)."""

    latency_ms: int | None = None
    """Milliseconds that it took to answer."""

    rooms: int | None = None
    """How many rooms of ours it has."""

    participants: int | None = None
    """How many people are in them."""

    version: str | None = None
    """Version of LiveKit."""

    checked_at: Timestamp | None = None
    """When it was last asked for this status."""

    last_error: LastError | None = None
    """The error that stands in the way at present, or did last."""


class LiveKitServer(Resource):
    """One LiveKit server or cluster on which rooms can be placed, in the operator's namespace.

    Not served yet: the operator ignores LiveKitServers and uses the server of its settings.
    """

    api_version: Literal["roomkeeper.dev/v1alpha1"] = "roomkeeper.dev/v1alpha1"
    kind: Literal["LiveKitServer"] = "LiveKitServer"
    spec: LiveKitServerSpec
    """Where the server is, and what may be placed on it."""
    status: LiveKitServerStatus = Field(default_factory=LiveKitServerStatus)
    """How the server is; written by Roomkeeper."""
