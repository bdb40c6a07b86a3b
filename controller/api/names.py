"""Names: the API group, kinds, annotations, and the names of what a Match or a Room brings into being.

Names of children are deterministic, made from the parent's UID: a retry finds what the first attempt made,
and a Match that is deleted and created again under the same name gets children of its own.
"""

import hashlib
from dataclasses import dataclass
from typing import Final

GROUP: Final = "roomkeeper.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
CATEGORY: Final = "roomkeeper"

FINALIZER: Final = f"{GROUP}/cleanup"
FIELD_MANAGER: Final = "roomkeeper"
MARK_KEY: Final = GROUP
"""The key of a LiveKit room's metadata that says whose room it is."""

PAUSED: Final = f"{GROUP}/paused"
"""Annotation: with the value "true" the operator leaves this one object alone."""

MANAGED_LABEL: Final = f"{GROUP}/managed"
"""Label of a namespace: with the value "true" its Matches get the finalizer at creation."""

SCHEMA_DIGEST: Final = f"{GROUP}/schema-digest"
"""Annotation of our CRDs: tells whether what is installed fits this version."""

SYSTEM_NAMESPACE: Final = "roomkeeper-system"
SERVICE_ACCOUNT: Final = "roomkeeper"

TOKENS_KEY: Final = "tokens.json"
"""The one key of a tokens Secret. Identities such as alice@example.com are no legal keys of a Secret."""


@dataclass(frozen=True, slots=True, eq=False)
class ResourceKind:
    """How Kubernetes calls one of our kinds. There is one value per kind, compared by identity."""

    kind: str
    plural: str
    singular: str
    short: str

    def __lt__(self, other: "ResourceKind") -> bool:
        return self.kind < other.kind

    def __str__(self) -> str:
        return self.kind

    @property
    def crd(self) -> str:
        return f"{self.plural}.{GROUP}"


MATCH: Final = ResourceKind("Match", "matches", "match", "mt")
ROOM: Final = ResourceKind("Room", "rooms", "room", "rm")
LIVEKIT_SERVER: Final = ResourceKind("LiveKitServer", "livekitservers", "livekitserver", "lks")
KINDS: Final = (MATCH, ROOM, LIVEKIT_SERVER)


def room_name(match_uid: str) -> str:
    """The name of the Room that a Match owns."""
    return f"rk-{_digest(match_uid)}"


def token_secret_name(match_uid: str) -> str:
    """The name of the Secret that holds the tokens of a Match."""
    return f"{room_name(match_uid)}-tokens"


def livekit_room_name(cluster_id: str, namespace: str, room_uid: str) -> str:
    """The name of a Room on LiveKit: never used again, and the same when a lost room is restored."""
    return f"rk-{_digest(cluster_id, namespace, room_uid)}"


def _digest(*parts: str) -> str:
    # NUL cannot occur in a part, so that ("a", "bc") and ("ab", "c") differ.
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:20]
