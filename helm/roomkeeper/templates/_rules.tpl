{{/* All rights, once. Each verb is for a request that is really sent, and there are no others. */}}

{{/* What the operator does in the namespaces that it serves. */}}
{{- define "roomkeeper.rules.operator" -}}
# Applications create Matches. The operator adds and removes its finalizer, and deletes a Match some time after its end.
- apiGroups: [roomkeeper.dev]
  resources: [matches]
  verbs: [get, list, watch, patch, delete]
- apiGroups: [roomkeeper.dev]
  resources: [rooms]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [roomkeeper.dev]
  resources: [matches/status, rooms/status]
  verbs: [patch]
# Kubernetes requires this for owner references with blockOwnerDeletion if the admission plugin
# OwnerReferencesPermissionEnforcement is on.
- apiGroups: [roomkeeper.dev]
  resources: [matches/finalizers]
  verbs: [update]
# The operator writes and deletes the Secrets with tokens. It cannot read any Secret.
- apiGroups: [""]
  resources: [secrets]
  verbs: [create, update, delete]
- apiGroups: [""]
  resources: [events]
  verbs: [create, patch]
{{- end }}

{{/* What the operator reads of the cluster. Without it, it checks neither the schema of the CRDs nor whether the
     namespace of a pool exists. */}}
{{- define "roomkeeper.rules.crds" -}}
# Two operators that serve the same namespace find each other by their leases.
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [list]
# A gateway names a pool: the operator serves it if its namespace exists.
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get]
# At its start, the operator checks that the installed CRDs fit its version.
- apiGroups: [apiextensions.k8s.io]
  resources: [customresourcedefinitions]
  resourceNames: [matches.roomkeeper.dev, rooms.roomkeeper.dev, livekitservers.roomkeeper.dev]
  verbs: [get]
{{- end }}

{{/* The lease decides which replica works; it is in the operator's own namespace. */}}
{{- define "roomkeeper.rules.lease" -}}
# The lease decides which replica works. Kubernetes cannot restrict a creation to one name. The leases of other operators
# in this namespace say what they serve.
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create, list]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [{{ include "roomkeeper.leaseName" . }}]
  verbs: [get, update]
{{- end }}

{{/* LiveKitServers, and the Secrets with their credentials, are in the operator's own namespace. */}}
{{- define "roomkeeper.rules.servers" -}}
# LiveKit servers that rooms are placed on. The operator adds its finalizer, and removes it when no room is on one.
- apiGroups: [roomkeeper.dev]
  resources: [livekitservers]
  verbs: [list, watch, patch]
- apiGroups: [roomkeeper.dev]
  resources: [livekitservers/status]
  verbs: [patch]
{{- with .Values.livekitServers.secretNames }}
# The credentials of these servers: each Secret by its name, and no other.
- apiGroups: [""]
  resources: [secrets]
  resourceNames: {{ toJson . }}
  verbs: [get]
{{- end }}
{{- end }}

{{/* What people and matchmakers may do. */}}
{{- define "roomkeeper.rules.edit" -}}
- apiGroups: [roomkeeper.dev]
  resources: [matches, rooms]
  verbs: [get, list, watch, create, update, patch, delete, deletecollection]
- apiGroups: [roomkeeper.dev]
  resources: [matches/status, rooms/status]
  verbs: [get]
- apiGroups: [roomkeeper.dev]
  resources: [livekitservers]
  verbs: [get, list, watch, create, update, patch, delete, deletecollection]
- apiGroups: [roomkeeper.dev]
  resources: [livekitservers/status]
  verbs: [get]
{{- end }}

{{- define "roomkeeper.rules.view" -}}
- apiGroups: [roomkeeper.dev]
  resources: [matches, matches/status, rooms, rooms/status, livekitservers, livekitservers/status]
  verbs: [get, list, watch]
{{- end }}

{{/* What `roomkeeper uninstall --hook` does in the namespaces that the operator serves. */}}
{{- define "roomkeeper.rules.uninstall" -}}
# It deletes Matches and Rooms, waits until they are gone, and takes our finalizer off what is left.
- apiGroups: [roomkeeper.dev]
  resources: [matches, rooms]
  verbs: [list, patch, delete]
{{- end }}

{{/* What it does in the cluster. */}}
{{- define "roomkeeper.rules.uninstallPolicy" -}}
# The policy goes first: it would put a finalizer on new Matches that no operator removes. It may have been applied by hand.
- apiGroups: [admissionregistration.k8s.io]
  resources: [mutatingadmissionpolicies, mutatingadmissionpolicybindings]
  resourceNames: [{{ include "roomkeeper.fullname" . }}-finalizer]
  verbs: [get, delete]
{{- end }}

{{/* What it does in the operator's own namespace. */}}
{{- define "roomkeeper.rules.uninstallOperator" -}}
# It stops the operator before it takes finalizers off, and waits until the pods are gone.
- apiGroups: [apps]
  resources: [deployments]
  resourceNames: [{{ include "roomkeeper.fullname" . }}]
  verbs: [get]
# It takes our finalizer off LiveKitServers.
- apiGroups: [roomkeeper.dev]
  resources: [livekitservers]
  verbs: [list, patch]
- apiGroups: [apps]
  resources: [deployments/scale]
  resourceNames: [{{ include "roomkeeper.fullname" . }}]
  verbs: [patch]
- apiGroups: [""]
  resources: [pods]
  verbs: [list]
# The operator made the lease, so Helm does not know it.
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [{{ include "roomkeeper.leaseName" . }}]
  verbs: [get, delete]
{{- end }}
