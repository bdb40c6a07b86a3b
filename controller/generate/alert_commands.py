"""The commands that the pages of several alerts name.

Neighbors: `generate.alerts_of_calls` and `generate.alerts_of_parts` put them into their pages.
"""

from __future__ import annotations

from typing import Final

IN_POD: Final = "kubectl -n roomkeeper-system exec deploy/roomkeeper -- roomkeeper"
LOG: Final = "kubectl -n roomkeeper-system logs -l app.kubernetes.io/name=roomkeeper --prefix --tail=200"
# An outage has one line, which calls on other servers push out of the last lines within a minute.
BACKENDS: Final = (
    "kubectl -n roomkeeper-system logs -l app.kubernetes.io/name=roomkeeper --prefix --tail=-1 --since=1h "
    "| grep 'a backend'"
)
DOCTOR: Final = f"{IN_POD} doctor"
ERRORS: Final = f"{IN_POD} errors"
PODS: Final = "kubectl -n roomkeeper-system get pods"
LEASE: Final = (
    "kubectl -n roomkeeper-system get lease roomkeeper-shard-0 "
    "-o 'custom-columns=HOLDER:.spec.holderIdentity,RENEWED:.spec.renewTime'"
)
MATCHES: Final = "kubectl get matches -A -o wide"
RESTORES: Final = (
    "kubectl get rooms -A -o 'custom-columns=NAMESPACE:.metadata.namespace,NAME:.metadata.name,"
    "MATCH:.metadata.ownerReferences[0].name,SERVER:.status.server,RESTORES:.status.restores,LOST:.status.lostAt'"
)
SERVERS: Final = "kubectl -n roomkeeper-system get livekitservers -o wide"
WHY: Final = (
    "kubectl get matches,rooms -A -o 'custom-columns=KIND:.kind,NAMESPACE:.metadata.namespace,NAME:.metadata.name,"
    'DELETED:.metadata.deletionTimestamp,PAUSED:.status.conditions[?(@.type=="Paused")].message,'
    'WHY:.status.conditions[?(@.type=="Degraded")].message\''
)
DELETED: Final = (
    "kubectl get matches,rooms -A -o 'custom-columns=KIND:.kind,NAMESPACE:.metadata.namespace,NAME:.metadata.name,"
    "DELETED:.metadata.deletionTimestamp,FINALIZERS:.metadata.finalizers'"
)
ENDS: Final = (
    "kubectl get matches -A -o 'custom-columns=NAMESPACE:.metadata.namespace,NAME:.metadata.name,"
    "SERVER:.status.room.server,REASON:.status.reason,MESSAGE:.status.end.message'"
)
