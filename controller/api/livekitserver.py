"""The resource LiveKitServer: one LiveKit server or cluster on which rooms can be placed."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from controller.api.cel import atomic, keyed_by, rule, validations
from controller.api.failures import LastError
from controller.api.fields import ShortText
from controller.api.meta import ApiModel, Condition, Resource, SpecModel, Timestamp

DEFAULT_SERVER = "default"
"""The name of the server that the operator's settings describe."""


class DrainType(StrEnum):
    """How a server is drained, that is, taken out of service."""

    GRACEFUL = "graceful"
    MAINTENANCE = "maintenance"
    EMERGENCY = "emergency"


OFF = "off"
"""What participants are told instead of a type, once a drain is over: the server stays in service."""

_URL = validations(
    rule(
        "self == '' || self.matches('^(ws|wss|http|https)://[^/[:space:]]+')",
        "must be an address such as wss://livekit.example.com or http://livekit:7880",
    )
)


class Drain(SpecModel):
    """Takes the server out of service. Remove this block to undo it."""

    model_config = ConfigDict(
        json_schema_extra=atomic(
            rule(
                "self.type != 'maintenance' || has(self.deadline)",
                "deadline is missing: a drain of type maintenance ends the calls at its deadline, set one such as "
                "2026-01-31T22:00:00Z",
                field=".deadline",
                reason="FieldValueRequired",
            )
        )
    )

    type: DrainType
    """When the calls on the server end. `graceful`: when the participants end them. `maintenance`: at `deadline`, at
    the latest. `emergency`: at once. No new rooms are placed on the server with any of these types. Required."""

    message: ShortText = Field(default_factory=str)
    """Message for the participants of the calls on this server, at most 256 bytes. Default: none."""

    expected_downtime_seconds: Annotated[int, Field(ge=0, le=7 * 24 * 3600)] = Field(default_factory=int)
    """Seconds that the server is expected to be down, 0 to 604800 (a week); the participants are notified of it.
    Default: 0, unknown."""

    deadline: Timestamp | None = None
    """Time at which a drain of type `maintenance` ends the calls that are left. Required with that type."""


class LiveKitServerSpec(SpecModel):
    """The address of the server, and which rooms may be placed on it."""

    url: Annotated[str, Field(min_length=1, max_length=2048, json_schema_extra=_URL)]
    """Address at which the operator reaches the server, for example http://livekit:7880. Immutable while rooms are on
    the server. Required."""

    public_url: Annotated[str, Field(max_length=2048, json_schema_extra=_URL)] = ""
    """Address to which clients connect, for example wss://livekit.example.com. Empty (the default): `url`."""

    credentials_secret_name: Annotated[str, Field(max_length=253, pattern=r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$")] = ""
    """Name of a Secret in the operator's namespace that holds the credentials under the keys `apiKey` and `apiSecret`.
    While they are being replaced, `oldApiKey` and `oldApiSecret` hold those of before: webhooks that are signed with
    them are accepted, too. `ca.crt` may hold the CAs that sign the certificate of the server. Empty (the default): the
    credentials of the operator's settings."""

    max_rooms: Annotated[int, Field(ge=0, le=1000000)] = 0
    """Largest number of rooms on the server at one time, at most 1000000. When it is reached, no new room is placed
    there. 0 (the default): no limit."""

    cordoned: bool = False
    """If true, no new rooms are placed on the server; calls on it continue. Default: false."""

    drain: Drain | None = None
    """Set this to take the server out of service; remove it to undo that. Default: not drained."""


class LiveKitServerStatus(ApiModel):
    """The state of the server. Roomkeeper writes it at most every 30 s."""

    model_config = ConfigDict(json_schema_extra=atomic())

    observed_generation: int | None = None
    """The generation of the spec that this status describes."""

    conditions: Annotated[
        tuple[Condition, ...],
        Field(json_schema_extra=keyed_by("type")),
    ] = ()
    """Ready: the server answers and accepts the credentials. Drained: none of Roomkeeper's calls is left on it."""

    url: str | None = None
    """Address at which the operator asks the server; it is written before a room is placed there. While it is not that
    of the spec, rooms are still looked for at the old address."""

    public_url: str | None = None
    """Address that the tokens for rooms on the server name."""

    latency_ms: int | None = None
    """Milliseconds that the server took to answer the latest check."""

    rooms: int | None = None
    """Number of Roomkeeper's rooms on the server."""

    participants: int | None = None
    """Number of participants in these rooms."""

    calls_left: int | None = None
    """Number of calls that are left on a server that is drained."""

    oldest_call_at: Timestamp | None = None
    """When the Match of the oldest of these calls was created."""

    version: str | None = None
    """Version of LiveKit that the server runs."""

    checked_at: Timestamp | None = None
    """When the operator last checked the server."""

    last_error: LastError | None = None
    """The current error, or else the latest one."""


_SERVER = validations(
    rule(
        "self.spec.url == oldSelf.spec.url || !has(oldSelf.status) || !has(oldSelf.status.rooms)"
        " || oldSelf.status.rooms == 0",
        "url is immutable while rooms are on the server (status.rooms): they would be looked for at the new address; "
        "create another LiveKitServer for it, and drain this one",
        field=".spec.url",
        reason="FieldValueForbidden",
    )
)


class LiveKitServer(Resource):
    """One LiveKit server or cluster on which rooms can be placed, in the operator's namespace.

    The server of the operator's settings is used beside them, under the name `default`; a LiveKitServer of that name
    replaces it, and has the same `url`.
    """

    model_config = ConfigDict(json_schema_extra=_SERVER)

    api_version: Literal["roomkeeper.dev/v1alpha1"] = "roomkeeper.dev/v1alpha1"
    kind: Literal["LiveKitServer"] = "LiveKitServer"
    spec: LiveKitServerSpec
    """The address of the server, and which rooms may be placed on it."""
    status: LiveKitServerStatus = Field(default_factory=LiveKitServerStatus)
    """The state of the server. Only Roomkeeper writes it."""
