{{/* Values that contradict each other. All problems are said at once, each with what would be right. */}}

{{- define "roomkeeper.check" -}}
{{- $problems := concat
  (include "roomkeeper.problems.scope" . | fromJsonArray)
  (include "roomkeeper.problems.accounts" . | fromJsonArray)
  (include "roomkeeper.problems.objects" . | fromJsonArray)
  (include "roomkeeper.problems.names" . | fromJsonArray)
-}}
{{- if $problems }}
{{- fail (printf "\n\nroomkeeper: the values contradict each other:\n  - %s\n" (join "\n  - " $problems)) }}
{{- end }}
{{- end }}

{{- define "roomkeeper.problems.scope" -}}
{{- $problems := list -}}
{{- if and .Values.watchAnyNamespace .Values.watchNamespaces }}
{{- $problems = append $problems (printf "watchNamespaces lists %s, but watchAnyNamespace is true: set watchAnyNamespace to false to serve only these namespaces" (join ", " .Values.watchNamespaces)) }}
{{- end }}
{{- if eq .Values.rbac.scope "Namespaces" }}
{{- $why := "rbac.scope is Namespaces, which allows no cluster-scoped object" -}}
{{- if .Values.watchAnyNamespace }}
{{- $problems = append $problems (printf "%s: set watchAnyNamespace to false, and list the namespaces in watchNamespaces (empty: the operator's own)" $why) }}
{{- end }}
{{- if .Values.crds.enabled }}
{{- $problems = append $problems (printf "%s: set crds.enabled to false, and let an administrator install the CRDs (kubectl apply --server-side -f crds/)" $why) }}
{{- end }}
{{- if .Values.createGlobalResources }}
{{- $problems = append $problems (printf "%s: set createGlobalResources to false" $why) }}
{{- end }}
{{- if .Values.finalizerPolicy.enabled }}
{{- $problems = append $problems (printf "%s: set finalizerPolicy.enabled to false" $why) }}
{{- end }}
{{- end }}
{{- if and .Values.finalizerPolicy.enabled (not (include "roomkeeper.policyVersion" .)) }}
{{- $problems = append $problems (printf "finalizerPolicy.enabled needs MutatingAdmissionPolicies, which Kubernetes has since 1.36 (and before as a beta that is off by default). This one is %s and has none: set it to false, the operator then adds the finalizers itself" .Capabilities.KubeVersion.Version) }}
{{- end }}
{{- toJson $problems }}
{{- end }}

{{- define "roomkeeper.problems.accounts" -}}
{{- $problems := list -}}
{{- if not (or .Values.serviceAccount.create .Values.serviceAccount.name) }}
{{- $problems = append $problems "serviceAccount.create is false: name the ServiceAccount of the operator in serviceAccount.name" }}
{{- end }}
{{- if and .Values.uninstall.enabled (not .Values.rbac.create) (not .Values.uninstall.serviceAccountName) }}
{{- $problems = append $problems "rbac.create is false, so the hook of the uninstallation gets no rights: name a ServiceAccount that has them in uninstall.serviceAccountName, or set uninstall.enabled to false" }}
{{- end }}
{{- if ne (empty .Values.livekit.secretKeys.oldApiKey) (empty .Values.livekit.secretKeys.oldApiSecret) }}
{{- $problems = append $problems "livekit.secretKeys names only one of oldApiKey and oldApiSecret: name both, or neither" }}
{{- end }}
{{- if ne (empty .Values.livekit.tls.secretKeys.cert) (empty .Values.livekit.tls.secretKeys.key) }}
{{- $problems = append $problems "livekit.tls.secretKeys names only one of cert and key: name both, or neither" }}
{{- end }}
{{- if and .Values.livekit.tls.existingSecret (not (or .Values.livekit.tls.secretKeys.ca .Values.livekit.tls.secretKeys.cert)) }}
{{- $problems = append $problems (printf "livekit.tls.existingSecret is %s, but livekit.tls.secretKeys names none of its keys: name ca, or cert and key" .Values.livekit.tls.existingSecret) }}
{{- end }}
{{- if ne (empty .Values.redis.tls.secretKeys.cert) (empty .Values.redis.tls.secretKeys.key) }}
{{- $problems = append $problems "redis.tls.secretKeys names only one of cert and key: name both, or neither" }}
{{- end }}
{{- if and .Values.redis.tls.existingSecret (not (or .Values.redis.tls.secretKeys.ca .Values.redis.tls.secretKeys.cert)) }}
{{- $problems = append $problems (printf "redis.tls.existingSecret is %s, but redis.tls.secretKeys names none of its keys: name ca, or cert and key" .Values.redis.tls.existingSecret) }}
{{- end }}
{{- $seen := dict -}}
{{- range $value, $place := include "roomkeeper.credentials" . | fromJson }}
{{- $name := printf "%s/%s" $place.secret $place.key -}}
{{- if hasKey $seen $name }}
{{- $problems = append $problems (printf "livekit.secretKeys and redis.secretKeys take %s and %s from the same key %s of the Secret %s: give one of them another key" (get $seen $name) $value $place.key $place.secret) }}
{{- end }}
{{- $_ := set $seen $name $value }}
{{- end }}
{{- toJson $problems }}
{{- end }}

{{- define "roomkeeper.problems.objects" -}}
{{- $problems := list -}}
{{- $has := dict "min" (not (kindIs "invalid" .Values.podDisruptionBudget.minAvailable)) "max" (not (kindIs "invalid" .Values.podDisruptionBudget.maxUnavailable)) -}}
{{- if and $has.min $has.max }}
{{- $problems = append $problems "podDisruptionBudget has both minAvailable and maxUnavailable: set one of them to null" }}
{{- end }}
{{- if and .Values.webhook.ingress.enabled (not .Values.webhook.ingress.hosts) }}
{{- $problems = append $problems "webhook.ingress.enabled needs a host name in webhook.ingress.hosts" }}
{{- end }}
{{- if and .Values.webhook.httpRoute.enabled (not .Values.webhook.httpRoute.parentRefs) }}
{{- $problems = append $problems "webhook.httpRoute.enabled needs a Gateway in webhook.httpRoute.parentRefs, such as {name: public, namespace: gateways}" }}
{{- end }}
{{- if eq (int64 .Values.webhook.port) (int64 .Values.metrics.port) }}
{{- $problems = append $problems (printf "webhook.port and metrics.port are both %d: they need different ports" (int64 .Values.webhook.port)) }}
{{- end }}
{{- if and .Values.webhook.service.nodePort (eq .Values.webhook.service.type "ClusterIP") }}
{{- $problems = append $problems "webhook.service.nodePort needs webhook.service.type NodePort or LoadBalancer" }}
{{- end }}
{{- if and .Values.serviceMonitor.enabled (not .Values.metrics.service.enabled) }}
{{- $problems = append $problems "serviceMonitor.enabled needs metrics.service.enabled" }}
{{- end }}
{{- if and .Values.prometheusRule.enabled (not .Values.prometheusRule.alerts) (not .Values.prometheusRule.groups) }}
{{- $problems = append $problems "prometheusRule.enabled needs rules: prometheusRule.alerts or prometheusRule.groups" }}
{{- end }}
{{- range $kind, $object := dict "ServiceMonitor" .Values.serviceMonitor "PrometheusRule" .Values.prometheusRule }}
{{- if and $object.enabled (eq $object.renderMode "failIfMissing") (not (include "roomkeeper.serves" (list $ (printf "monitoring.coreos.com/v1/%s" $kind)))) }}
{{- $problems = append $problems (printf "%s.renderMode is failIfMissing, and the cluster has no kind %s: install the Prometheus Operator first" (untitle $kind) $kind) }}
{{- end }}
{{- end }}
{{- $stop := dig "stopSeconds" 30 .Values.settings -}}
{{- if and (not (kindIs "invalid" .Values.terminationGracePeriodSeconds)) (le (float64 .Values.terminationGracePeriodSeconds) (float64 $stop)) }}
{{- $problems = append $problems (printf "terminationGracePeriodSeconds is %d, and the operator takes up to %s s to stop (settings.stopSeconds): set it to more, or to null" (int64 .Values.terminationGracePeriodSeconds) (include "roomkeeper.text" $stop)) }}
{{- end }}
{{- toJson $problems }}
{{- end }}

{{/* Kubernetes merges such lists by name, and Helm 4 lets the API server refuse a name that is there twice. */}}
{{- define "roomkeeper.problems.names" -}}
{{- $problems := list -}}
{{- $env := list -}}
{{- range include "roomkeeper.env" . | fromYamlArray }}
{{- /* A setting has its value in NAME, or in the file that NAME_FILE names. */ -}}
{{- $stem := trimSuffix "_FILE" .name }}
{{- $env = concat $env (list (dict "name" $stem) (dict "name" (printf "%s_FILE" $stem))) }}
{{- end }}
{{- $lists := list
  (dict "value" "extraEnv" "key" "name" "own" $env "extra" .Values.extraEnv)
  (dict "value" "extraVolumes" "key" "name" "own" (include "roomkeeper.volumes" . | fromYamlArray) "extra" .Values.extraVolumes)
  (dict "value" "extraVolumeMounts" "key" "mountPath" "own" (include "roomkeeper.mounts" . | fromYamlArray) "extra" .Values.extraVolumeMounts)
  (dict "value" "extraContainers or extraInitContainers" "key" "name" "own" (list (dict "name" "roomkeeper")) "extra" (concat .Values.extraContainers .Values.extraInitContainers))
-}}
{{- range $list := $lists }}
{{- $own := list -}}
{{- range $list.own }}{{- $own = append $own (get . $list.key) }}{{- end }}
{{- $seen := list -}}
{{- range $list.extra }}
{{- $name := get . $list.key -}}
{{- if has $name $own }}
{{- $problems = append $problems (printf "%s has %s, which the chart sets itself: remove it, and change the chart's own value instead" $list.value $name) }}
{{- else if has $name $seen }}
{{- $problems = append $problems (printf "%s has %s twice: keep one of them" $list.value $name) }}
{{- end }}
{{- $seen = append $seen $name }}
{{- end }}
{{- end }}
{{- toJson $problems }}
{{- end }}
