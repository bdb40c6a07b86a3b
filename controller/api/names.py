"""Names: the API group, kinds, annotations, and the names of the objects that a Match or a Room creates.

The names of these objects follow from the parent's UID. So a retry finds what the first attempt created, and a Match
that is deleted and created again under the same name gets objects of its own.
"""

import hashlib
import re
from dataclasses import dataclass
from typing import Final

_LIVEKIT_NAME: Final = re.compile(r"rk-[0-9a-f]{20}")

GROUP: Final = "roomkeeper.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
CATEGORY: Final = "roomkeeper"

FINALIZER: Final = f"{GROUP}/cleanup"
FIELD_MANAGER: Final = "roomkeeper"
MARK_KEY: Final = GROUP
"""The key in a LiveKit room's metadata that names the Room to which the LiveKit room belongs."""

DRAIN_TOPIC: Final = f"{GROUP}/drain"
"""The topic of LiveKit's data messages about the drain of a server."""

PAUSED: Final = f"{GROUP}/paused"
"""Annotation: with the value "true", the operator does not touch this object."""

TRACEPARENT: Final = f"{GROUP}/traceparent"
"""Annotation of a Match: the W3C `traceparent` of the matchmaker's span that made it. Its trace links to that span."""

MANAGED_LABEL: Final = f"{GROUP}/managed"
"""Label of a namespace: with the value "true", the optional policy adds the finalizer to its new Matches."""

SCHEMA_DIGEST: Final = f"{GROUP}/schema-digest"
"""Annotation of our CRDs: shows whether the installed CRDs fit this version of the operator."""

PLACED_ON: Final = f"{GROUP}/server"
"""Annotation of a Room that a Match has made: the name of the LiveKit server that was chosen for it."""

MATCH_LABEL: Final = f"{GROUP}/match"
"""Label of a Room that a Match has made: the name of the Match, as a label can have it."""

_USER_LABEL: Final = f"user.{GROUP}"
_LONGEST_LABEL: Final = 63

SYSTEM_NAMESPACE: Final = "roomkeeper-system"
SERVICE_ACCOUNT: Final = "roomkeeper"

TOKENS_KEY: Final = "tokens.json"
"""The one key of a tokens Secret. Identities such as alice@example.com are not valid as keys of a Secret."""


@dataclass(frozen=True, slots=True, eq=False)
class ResourceKind:
    """The names under which Kubernetes knows one of our kinds. There is one value per kind, compared by identity."""

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
    """The name of the Room that the Match with this UID owns."""
    return f"rk-{_digest(match_uid)}"


def token_secret_name(match_uid: str) -> str:
    """The name of the Secret that holds the tokens of the Match with this UID."""
    return f"{room_name(match_uid)}-tokens"


def livekit_room_name(cluster_id: str, namespace: str, room_uid: str) -> str:
    """The name of a Room on LiveKit: no other Room ever has it, and a lost room is restored under it."""
    return f"rk-{_digest(cluster_id, namespace, room_uid)}"


def user_label(identity: str) -> str:
    """The label of the Matches and Rooms of a user. An identity can have characters and a length that no label has.

    `printf %s alice | sha256sum | cut -c1-20` makes the same digest.
    """
    return f"{_USER_LABEL}/{_digest(identity)}"


def label_value(name: str) -> str:
    """The name of an object as the value of a label: one that is too long is cut, with a digest of all of it."""
    if len(name) <= _LONGEST_LABEL:
        return name
    return f"{name[: _LONGEST_LABEL - 21]}-{_digest(name)}"


def may_be_livekit_room_name(name: str) -> bool:
    """Whether the name has the form of those that `livekit_room_name` gives."""
    return _LIVEKIT_NAME.fullmatch(name) is not None


def _digest(*parts: str) -> str:
    # No part contains NUL, so ("a", "bc") and ("ab", "c") give different digests.
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:20]
