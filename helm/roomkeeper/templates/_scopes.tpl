{{/* Which namespaces the operator serves. */}}

{{/* The namespaces that are served, as a JSON list; empty for all of the cluster. */}}
{{- define "roomkeeper.namespaces" -}}
{{- if .Values.watchAnyNamespace }}
{{- list | toJson }}
{{- else }}
{{- default (list (include "roomkeeper.namespace" .)) .Values.watchNamespaces | uniq | toJson }}
{{- end }}
{{- end }}

{{/*
The binding of the operator's rules, or of those of the uninstallation, in every place that the scope names: a dict of root,
name, component, account, rules, and annotations. The rules are in a ClusterRole, or in a Role of each namespace.
*/}}
{{- define "roomkeeper.scopedRules" -}}
{{- $root := .root -}}
{{- $namespaces := include "roomkeeper.namespaces" $root | fromJsonArray -}}
{{- $isCluster := eq $root.Values.rbac.scope "Cluster" -}}
{{- if $isCluster }}
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  {{- include "roomkeeper.metadata" (dict "root" $root "name" .name "namespace" "" "component" .component "annotations" .annotations) | nindent 2 }}
rules:
  {{- .rules | trim | nindent 2 }}
{{- if not $namespaces }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  {{- include "roomkeeper.metadata" (dict "root" $root "name" .name "namespace" "" "component" .component "annotations" .annotations) | nindent 2 }}
{{ include "roomkeeper.binding" (dict "root" $root "kind" "ClusterRole" "role" .name "account" .account) }}
{{- end }}
{{- end }}
{{- range $namespace := $namespaces }}
{{- $metadata := dict "root" $root "name" $.name "namespace" $namespace "component" $.component "annotations" $.annotations }}
{{- if not $isCluster }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  {{- include "roomkeeper.metadata" $metadata | nindent 2 }}
rules:
  {{- $.rules | trim | nindent 2 }}
{{- end }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  {{- include "roomkeeper.metadata" $metadata | nindent 2 }}
{{ include "roomkeeper.binding" (dict "root" $root "kind" ($isCluster | ternary "ClusterRole" "Role") "role" $.name "account" $.account) }}
{{- end }}
{{- end }}

{{/* The rest of a binding: a dict of root, kind and role, account. */}}
{{- define "roomkeeper.binding" -}}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ .kind }}
  name: {{ .role }}
subjects:
  - kind: ServiceAccount
    name: {{ .account }}
    namespace: {{ include "roomkeeper.namespace" .root }}
{{- end }}
