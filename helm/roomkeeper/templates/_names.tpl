{{/* The names and labels of all objects. Every name follows from the fullname; `roomkeeper uninstall` relies on them. */}}

{{- define "roomkeeper.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" }}
{{- end }}

{{/* At most 50 characters, so that the longest suffix fits into the 63 of a Service. */}}
{{- define "roomkeeper.fullname" -}}
{{- $name := include "roomkeeper.name" . -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "roomkeeper.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride }}
{{- end }}

{{- define "roomkeeper.serviceAccountName" -}}
{{- default (include "roomkeeper.fullname" .) .Values.serviceAccount.name }}
{{- end }}

{{- define "roomkeeper.uninstallAccountName" -}}
{{- default (printf "%s-uninstall" (include "roomkeeper.fullname" .)) .Values.uninstall.serviceAccountName }}
{{- end }}

{{- define "roomkeeper.leaseName" -}}
{{- include "roomkeeper.fullname" . }}-shard-0
{{- end }}

{{/* The digest names one image; a tag beside it would only seem to matter. */}}
{{- define "roomkeeper.image" -}}
{{- if .Values.image.digest }}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}

{{/* The address for LiveKit's configuration, as seen from inside the cluster. */}}
{{- define "roomkeeper.webhookURL" -}}
{{- printf "http://%s-webhook.%s.svc:%d/livekit/webhook" (include "roomkeeper.fullname" .) (include "roomkeeper.namespace" .) (int64 .Values.webhook.service.port) }}
{{- end }}

{{/* What selects the pods of the operator; the pods of hook and test have another component. */}}
{{- define "roomkeeper.selectorLabels" -}}
app.kubernetes.io/name: {{ include "roomkeeper.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{/* Labels of an object: a list of the root, the component, and further labels. Those of the chart win. */}}
{{- define "roomkeeper.labels" -}}
{{- $root := index . 0 -}}
{{- $own := dict
  "app.kubernetes.io/name" (include "roomkeeper.name" $root)
  "app.kubernetes.io/instance" $root.Release.Name
  "app.kubernetes.io/component" (index . 1)
  "app.kubernetes.io/part-of" "roomkeeper"
  "app.kubernetes.io/version" $root.Chart.AppVersion
  "app.kubernetes.io/managed-by" $root.Release.Service
  "helm.sh/chart" (printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_")
-}}
{{- range $more := rest (rest .) }}{{- $own = merge $own $more }}{{- end }}
{{- toYaml (merge $own $root.Values.commonLabels) }}
{{- end }}

{{/* Labels of a pod: as above. Without the version of the chart, so that a new chart alone replaces no pod. */}}
{{- define "roomkeeper.podLabels" -}}
{{- toYaml (omit (include "roomkeeper.labels" . | fromYaml) "helm.sh/chart" "app.kubernetes.io/managed-by") }}
{{- end }}

{{/* The metadata of an object: a dict of root, name, component; and if wanted of namespace ("" for none), labels, annotations. */}}
{{- define "roomkeeper.metadata" -}}
{{- $root := .root -}}
name: {{ .name }}
{{- $namespace := hasKey . "namespace" | ternary (default "" .namespace) (include "roomkeeper.namespace" $root) }}
{{- with $namespace }}
namespace: {{ . }}
{{- end }}
labels:
  {{- include "roomkeeper.labels" (list $root .component (default dict .labels)) | nindent 2 }}
{{- with merge dict (default dict .annotations) $root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* A number from the values as text. Helm reads numbers as floats and would print a million as 1e+06. */}}
{{- define "roomkeeper.text" -}}
{{- if and (kindIs "float64" .) (eq . (floor .)) }}{{ int64 . }}{{ else }}{{ . }}{{ end }}
{{- end }}

{{/* Whether the API server has a kind: a list of the root and `group/version/Kind`. Not empty means yes. */}}
{{- define "roomkeeper.serves" -}}
{{- if (index . 0).Capabilities.APIVersions.Has (index . 1) }}yes{{ end }}
{{- end }}

{{/* Whether an object of the Prometheus Operator is rendered: a dict of root, the values of the object, kind. */}}
{{- define "roomkeeper.rendersMonitoring" -}}
{{- if .values.enabled }}
{{- if or (eq .values.renderMode "alwaysRender") (include "roomkeeper.serves" (list .root (printf "monitoring.coreos.com/v1/%s" .kind))) }}yes{{ end }}
{{- end }}
{{- end }}

{{/*
The version of MutatingAdmissionPolicies that the API server has; empty for none. `helm template` asks no server: then the version
of Kubernetes says it.
*/}}
{{- define "roomkeeper.policyVersion" -}}
{{- if include "roomkeeper.serves" (list . "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy") -}}
v1
{{- else if include "roomkeeper.serves" (list . "admissionregistration.k8s.io/v1beta1/MutatingAdmissionPolicy") -}}
v1beta1
{{- else if and (not (include "roomkeeper.serves" (list . "v1/Pod"))) (semverCompare ">=1.36.0-0" .Capabilities.KubeVersion.Version) -}}
v1
{{- end }}
{{- end }}
