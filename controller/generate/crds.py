"""The CustomResourceDefinitions: schemas of the models, with columns, short names, selectable fields."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Final

from controller.api import names
from controller.api.conditions import ConditionType
from controller.api.livekitserver import LiveKitServer, LiveKitServerSpec, LiveKitServerStatus
from controller.api.match import Match, MatchSpec, MatchStatus
from controller.api.meta import ApiModel, Resource, SpecModel
from controller.api.names import ResourceKind
from controller.api.room import Room, RoomSpec, RoomStatus
from controller.generate.schema import Schema, structural_schema

_READY_REASON: Final = f'.status.conditions[?(@.type=="{ConditionType.READY}")].reason'
_READY: Final = f'.status.conditions[?(@.type=="{ConditionType.READY}")].status'
_HEALTHY: Final = f'.status.conditions[?(@.type=="{ConditionType.HEALTHY}")].status'
_DEGRADED_REASON: Final = f'.status.conditions[?(@.type=="{ConditionType.DEGRADED}")].reason'
_OWNER: Final = f'.metadata.ownerReferences[?(@.kind=="{names.MATCH.kind}")].name'


@dataclass(frozen=True, slots=True)
class Column:
    """A column of `kubectl get`; a wide one appears with `-o wide` only."""

    name: str
    path: str
    description: str
    type: str = "string"
    wide: bool = False

    def manifest(self) -> dict[str, Any]:
        column = {
            "name": self.name,
            "type": self.type,
            "jsonPath": self.path,
            "description": self.description,
        }
        return column | ({"priority": 1} if self.wide else {})


_REASON_OF_MATCH: Final = "What interrupts the call, why it ended or failed, or why Roomkeeper does not go on."

# The status of an object that the operator has not seen: tools that compare generations wait for it.
_UNSEEN: Final = {"default": {"observedGeneration": -1}}

_AGE: Final = Column("Age", ".metadata.creationTimestamp", "Time since the creation of the object.", "date")


@dataclass(frozen=True, slots=True)
class Definition:
    """What a CRD needs to know about a resource besides its schema."""

    kind: ResourceKind
    model: type[Resource]
    spec: type[SpecModel]
    status: type[ApiModel]
    columns: tuple[Column, ...]
    selectable: tuple[str, ...] = ()


DEFINITIONS: Final = (
    Definition(
        names.MATCH,
        Match,
        MatchSpec,
        MatchStatus,
        (
            Column("Phase", ".status.phase", "The phase of the Match."),
            Column("Ready", _READY, "Whether the participants can join: the room exists and the tokens are delivered."),
            Column("Connected", ".status.connected", "How many of the participants are in the room."),
            Column("Participants", ".status.participantsSummary", "The identities of both participants."),
            Column("Room", ".status.room.name", "The Room of the Match.", wide=True),
            Column("LiveKit-Room", ".status.room.liveKitName", "Name of the room on LiveKit.", wide=True),
            Column("Degraded", _DEGRADED_REASON, "Whether a backend keeps Roomkeeper from going on.", wide=True),
            Column("Reason", ".status.reason", _REASON_OF_MATCH),
            _AGE,
        ),
        (
            ".status.phase",
            ".status.reason",
            ".status.sessionID",
            ".status.room.server",
            ".status.room.name",
            ".status.room.liveKitName",
        ),
    ),
    Definition(
        names.ROOM,
        Room,
        RoomSpec,
        RoomStatus,
        (
            Column("Phase", ".status.phase", "The phase of the room."),
            Column("Ready", _READY, "Whether LiveKit has the room."),
            Column("Occupancy", ".status.occupancy", "Whether participants are in the room."),
            Column("Participants", ".status.numParticipants", "Number of participants in the room.", "integer"),
            Column("Match", _OWNER, "The Match that the Room belongs to; empty for a standing room."),
            Column("Server", ".status.server", "The LiveKit server that has the room."),
            Column("Healthy", _HEALTHY, "Whether the room has no issues.", wide=True),
            Column("LiveKit-Room", ".status.liveKitName", "Name of the room on LiveKit.", wide=True),
            Column("Degraded", _DEGRADED_REASON, "Whether a backend keeps Roomkeeper from going on.", wide=True),
            Column("Reason", ".status.reason", "Why the room is closed."),
            _AGE,
        ),
        (".status.phase", ".status.reason", ".status.server", ".status.liveKitName"),
    ),
    Definition(
        names.LIVEKIT_SERVER,
        LiveKitServer,
        LiveKitServerSpec,
        LiveKitServerStatus,
        (
            Column("Ready", _READY, "Whether the server answers and accepts the credentials."),
            Column("Reason", _READY_REASON, "Why it is Ready or not: the reason of the condition."),
            Column("Rooms", ".status.rooms", "Number of Roomkeeper's rooms on the server.", "integer"),
            Column("Max", ".spec.maxRooms", "Largest number of rooms on the server; 0: no limit.", "integer"),
            Column("Participants", ".status.participants", "Number of participants in these rooms.", "integer"),
            Column("Cordoned", ".spec.cordoned", "Whether no new rooms are placed on the server.", "boolean"),
            Column("Drain", ".spec.drain.type", "The type of the drain, if the server is being drained."),
            Column("Left", ".status.callsLeft", "Number of calls that are left on a drained server.", "integer"),
            Column("Latency", ".status.latencyMs", "Milliseconds that the latest list took.", "integer", wide=True),
            Column("URL", ".spec.url", "Address at which the operator reaches the server.", wide=True),
            Column("Version", ".status.version", "Version of LiveKit that the server runs.", wide=True),
            _AGE,
        ),
    ),
)


def crd(definition: Definition) -> dict[str, Any]:
    """The CustomResourceDefinition of one resource."""
    kind = definition.kind
    version = {
        "name": names.VERSION,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "additionalPrinterColumns": [column.manifest() for column in definition.columns],
        "selectableFields": [{"jsonPath": path} for path in definition.selectable],
        "schema": {"openAPIV3Schema": _object_schema(definition)},
    }
    if not definition.selectable:
        del version["selectableFields"]
    spec = {
        "group": names.GROUP,
        "scope": "Namespaced",
        "names": {
            "kind": kind.kind,
            "listKind": f"{kind.kind}List",
            "plural": kind.plural,
            "singular": kind.singular,
            "shortNames": [kind.short],
            "categories": [names.CATEGORY],
        },
        "versions": [version],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": kind.crd,
            "labels": {"app.kubernetes.io/name": "roomkeeper", "app.kubernetes.io/part-of": "roomkeeper"},
            "annotations": {names.SCHEMA_DIGEST: _digest(spec)},
        },
        "spec": spec,
    }


def schema_digests() -> dict[str, str]:
    """Return by name of each CRD the digest in its annotation, if the CRD fits this version of Roomkeeper."""
    crds = (crd(definition) for definition in DEFINITIONS)
    return {made["metadata"]["name"]: made["metadata"]["annotations"][names.SCHEMA_DIGEST] for made in crds}


def _object_schema(definition: Definition) -> Schema:
    path = definition.kind.singular
    rules = definition.model.model_config.get("json_schema_extra")
    return {
        **(rules if isinstance(rules, dict) else {}),
        "description": " ".join((definition.model.__doc__ or "").split()),
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": structural_schema(definition.spec, f"{path}.spec", defaults=True),
            "status": structural_schema(definition.status, f"{path}.status", defaults=False) | _UNSEEN,
        },
    }


def _digest(spec: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:16]
