{{/* What the pods of the operator, of the hook and of the test share. */}}

{{/* The token and the namespace at the usual place, by a projected volume: it works where no token is mounted by default. */}}
{{- define "roomkeeper.tokenVolume" -}}
- name: token
  projected:
    sources:
      - serviceAccountToken:
          path: token
          expirationSeconds: {{ int64 .Values.serviceAccount.tokenExpirationSeconds }}
      - configMap:
          name: kube-root-ca.crt
          items:
            - key: ca.crt
              path: ca.crt
      - downwardAPI:
          items:
            - path: namespace
              fieldRef:
                fieldPath: metadata.namespace
{{- end }}

{{- define "roomkeeper.tokenMount" -}}
- name: token
  mountPath: /var/run/secrets/kubernetes.io/serviceaccount
  readOnly: true
{{- end }}

{{/* Where each credential is, as JSON: by its setting, the Secret and the key. */}}
{{- define "roomkeeper.credentials" -}}
{{- $livekit := .Values.livekit.existingSecret -}}
{{- $places := dict
  "LIVEKIT_API_KEY" (dict "secret" $livekit "key" .Values.livekit.secretKeys.apiKey)
  "LIVEKIT_API_SECRET" (dict "secret" $livekit "key" .Values.livekit.secretKeys.apiSecret)
  "REDIS_URL" (dict "secret" .Values.redis.existingSecret "key" .Values.redis.secretKeys.url)
-}}
{{- with .Values.livekit.secretKeys.oldApiKey }}
{{- $_ := set $places "LIVEKIT_OLD_API_KEY" (dict "secret" $livekit "key" .) }}
{{- end }}
{{- with .Values.livekit.secretKeys.oldApiSecret }}
{{- $_ := set $places "LIVEKIT_OLD_API_SECRET" (dict "secret" $livekit "key" .) }}
{{- end }}
{{- $tls := default $livekit .Values.livekit.tls.existingSecret -}}
{{- with .Values.livekit.tls.secretKeys.ca }}
{{- $_ := set $places "LIVEKIT_CA" (dict "secret" $tls "key" .) }}
{{- end }}
{{- with .Values.livekit.tls.secretKeys.cert }}
{{- $_ := set $places "LIVEKIT_CERT" (dict "secret" $tls "key" .) }}
{{- end }}
{{- with .Values.livekit.tls.secretKeys.key }}
{{- $_ := set $places "LIVEKIT_KEY" (dict "secret" $tls "key" .) }}
{{- end }}
{{- $tls = default .Values.redis.existingSecret .Values.redis.tls.existingSecret }}
{{- with .Values.redis.tls.secretKeys.ca }}
{{- $_ := set $places "REDIS_CA" (dict "secret" $tls "key" .) }}
{{- end }}
{{- with .Values.redis.tls.secretKeys.cert }}
{{- $_ := set $places "REDIS_CERT" (dict "secret" $tls "key" .) }}
{{- end }}
{{- with .Values.redis.tls.secretKeys.key }}
{{- $_ := set $places "REDIS_KEY" (dict "secret" $tls "key" .) }}
{{- end }}
{{- if not .Values.livekit.url }}
{{- $_ := set $places "LIVEKIT_URL" (dict "secret" $livekit "key" .Values.livekit.secretKeys.url) }}
{{- end }}
{{- toJson $places }}
{{- end }}

{{/* The keys that are mounted, by the name of the Secret, as JSON. One Secret may hold everything. */}}
{{- define "roomkeeper.secretKeys" -}}
{{- $secrets := dict -}}
{{- range include "roomkeeper.credentials" . | fromJson }}
{{- $_ := set $secrets .secret (append (default list (get $secrets .secret)) .key) }}
{{- end }}
{{- toJson $secrets }}
{{- end }}

{{/* Every Secret is optional here, so that the operator itself can say which one is missing. */}}
{{- define "roomkeeper.secretVolumes" -}}
{{- range $name, $keys := include "roomkeeper.secretKeys" . | fromJson }}
- name: secret-{{ $name | trunc 50 | replace "." "-" | trimSuffix "-" }}
  secret:
    secretName: {{ $name }}
    optional: true
    items:
      {{- range $keys }}
      - key: {{ . }}
        path: {{ . }}
      {{- end }}
{{- end }}
{{- end }}

{{- define "roomkeeper.secretMounts" -}}
{{- range $name, $keys := include "roomkeeper.secretKeys" . | fromJson }}
- name: secret-{{ $name | trunc 50 | replace "." "-" | trimSuffix "-" }}
  mountPath: /etc/roomkeeper/secrets/{{ $name }}
  readOnly: true
{{- end }}
{{- end }}

{{/* All variables that the chart sets, as a YAML list. */}}
{{- define "roomkeeper.env" -}}
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: POD_UID
  valueFrom:
    fieldRef:
      fieldPath: metadata.uid
- name: ROOMKEEPER_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
- name: ROOMKEEPER_LEASE_NAME
  value: {{ include "roomkeeper.leaseName" . }}
{{- if not .Values.watchAnyNamespace }}
- name: ROOMKEEPER_WATCH_NAMESPACES
  {{- if .Values.watchNamespaces }}
  value: {{ .Values.watchNamespaces | uniq | join "," | quote }}
  {{- else }}
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
  {{- end }}
{{- end }}
{{- with .Values.livekit.url }}
- name: ROOMKEEPER_LIVEKIT_URL
  value: {{ . | quote }}
{{- end }}
{{- with .Values.livekit.publicUrl }}
- name: ROOMKEEPER_LIVEKIT_PUBLIC_URL
  value: {{ . | quote }}
{{- end }}
{{- range $setting, $place := include "roomkeeper.credentials" . | fromJson }}
- name: ROOMKEEPER_{{ $setting }}_FILE
  value: /etc/roomkeeper/secrets/{{ $place.secret }}/{{ $place.key }}
{{- end }}
- name: ROOMKEEPER_WEBHOOK_PORT
  value: {{ int64 .Values.webhook.port | quote }}
- name: ROOMKEEPER_METRICS_PORT
  value: {{ int64 .Values.metrics.port | quote }}
{{- if .Values.recording.enabled }}
- name: ROOMKEEPER_RECORD_DIR
  value: /var/lib/roomkeeper/record
{{- end }}
{{- range $name, $value := .Values.settings }}
- name: ROOMKEEPER_{{ $name | snakecase | upper }}
  value: {{ include "roomkeeper.text" $value | quote }}
{{- end }}
{{- end }}

{{/* Fields of every pod: a dict of root and account. */}}
{{- define "roomkeeper.podFields" -}}
{{- $values := .root.Values -}}
serviceAccountName: {{ .account }}
# The token comes from a projected volume.
automountServiceAccountToken: false
enableServiceLinks: {{ $values.enableServiceLinks }}
{{- with $values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.podSecurityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $values.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- with $values.schedulerName }}
schedulerName: {{ . }}
{{- end }}
{{- if not (kindIs "invalid" $values.hostUsers) }}
hostUsers: {{ $values.hostUsers }}
{{- end }}
{{- if $values.hostNetwork }}
hostNetwork: true
{{- end }}
{{- with $values.dnsPolicy }}
dnsPolicy: {{ . }}
{{- end }}
{{- with $values.dnsConfig }}
dnsConfig:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.hostAliases }}
hostAliases:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Fields of every container of ours: the root. */}}
{{- define "roomkeeper.containerFields" -}}
image: {{ include "roomkeeper.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- with .Values.securityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Environment and mounts of the operator's container, and of the one that tests it. */}}
{{- define "roomkeeper.containerData" -}}
env:
  {{- include "roomkeeper.env" . | nindent 2 }}
  {{- with .Values.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
volumeMounts:
  {{- include "roomkeeper.mounts" . | nindent 2 }}
  {{- with .Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{- define "roomkeeper.mounts" -}}
{{ include "roomkeeper.tokenMount" . }}
{{ include "roomkeeper.secretMounts" . | trim }}
{{- if .Values.recording.enabled }}
- name: record
  mountPath: /var/lib/roomkeeper/record
{{- end }}
{{- end }}

{{- define "roomkeeper.volumes" -}}
{{ include "roomkeeper.tokenVolume" . }}
{{ include "roomkeeper.secretVolumes" . | trim }}
{{- if .Values.recording.enabled }}
- name: record
  {{- if .Values.recording.existingClaim }}
  persistentVolumeClaim:
    claimName: {{ .Values.recording.existingClaim }}
  {{- else }}
  emptyDir:
    sizeLimit: {{ .Values.recording.sizeLimit }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "roomkeeper.podVolumes" -}}
volumes:
  {{- include "roomkeeper.volumes" . | nindent 2 }}
  {{- with .Values.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{/* One probe from its known keys: a dict of the probe's values and the path. */}}
{{- define "roomkeeper.probe" -}}
httpGet:
  path: {{ .path }}
  port: metrics
{{- range $key := list "initialDelaySeconds" "periodSeconds" "timeoutSeconds" "successThreshold" "failureThreshold" }}
{{- if hasKey $.probe $key }}
{{ $key }}: {{ int64 (get $.probe $key) }}
{{- end }}
{{- end }}
{{- end }}

{{/* Constraints with their labelSelector: without one, Kubernetes counts no pod. */}}
{{- define "roomkeeper.topologySpreadConstraints" -}}
{{- $own := dict "labelSelector" (dict "matchLabels" (include "roomkeeper.selectorLabels" . | fromYaml)) -}}
{{- $constraints := list -}}
{{- range .Values.topologySpreadConstraints }}
{{- if hasKey . "labelSelector" }}
{{- $constraints = append $constraints . }}
{{- else }}
{{- $constraints = append $constraints (merge dict . $own) }}
{{- end }}
{{- end }}
{{- toYaml $constraints }}
{{- end }}

{{/* 10 s more than the operator takes: the setting's default is 30 s. */}}
{{- define "roomkeeper.gracePeriod" -}}
{{- if kindIs "invalid" .Values.terminationGracePeriodSeconds }}
{{- add 10 (ceil (dig "stopSeconds" 30 .Values.settings) | int64) }}
{{- else }}
{{- int64 .Values.terminationGracePeriodSeconds }}
{{- end }}
{{- end }}
