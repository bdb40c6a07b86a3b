{{- /* Made by `python -m controller.generate` from controller/generate/alerts.py; edit that instead. */}}
{{- define "roomkeeper.alerts" -}}
- alert: RoomkeeperNoLeader
  expr: >-
    absent(roomkeeper_leader == 1)
  for: 1m
  labels:
    severity: critical
  annotations:
    summary: No replica of Roomkeeper leads
    description: >-
      No replica holds the lease, or Prometheus reaches none of them. No call is made and none is ended. Calls that are up go on.
    runbook_url: {{ .Values.prometheusRule.runbookUrl }}#roomkeepernoleader
- alert: RoomkeeperBackendDown
  expr: >-
    max by (backend, server) (roomkeeper_breaker_state) > 0
  for: 1m
  labels:
    severity: critical
  annotations:
    summary: A backend does not answer
    description: >-
      Kubernetes, LiveKit or Redis has not answered for a minute: no requests are sent to it but probes. What needs it waits. Calls that are up go on, as far as LiveKit itself is up.
    runbook_url: {{ .Values.prometheusRule.runbookUrl }}#roomkeeperbackenddown
- alert: RoomkeeperPeopleDoNotConnect
  expr: >-
    sum(rate(roomkeeper_matches_finished_total{reason=~"NoShow|RoomLost|Failed|TooLate|User.+"}[10m])) / sum(rate(roomkeeper_matches_finished_total[10m])) > {{ .Values.prometheusRule.thresholds.shareNotConnected }}
  for: 5m
  labels:
    severity: critical
  annotations:
    summary: Too many Matches end before both users are connected
    description: >-
      The share of Matches that end as NoShow, RoomLost or Failed, the codes of Failed too, is above the limit. Users wait for calls that do not come about.
    runbook_url: {{ .Values.prometheusRule.runbookUrl }}#roomkeeperpeopledonotconnect
- alert: RoomkeeperSlowToReady
  expr: >-
    histogram_quantile(0.99, sum by (le) (rate(roomkeeper_match_ready_seconds_bucket[10m]))) > {{ .Values.prometheusRule.thresholds.readySeconds }}
  for: 10m
  labels:
    severity: warning
  annotations:
    summary: Matches become Ready late
    description: >-
      One of a hundred Matches takes longer than the limit (seconds) until it is Ready. Users wait longer for their call.
    runbook_url: {{ .Values.prometheusRule.runbookUrl }}#roomkeeperslowtoready
- alert: RoomkeeperOldestWaiter
  expr: >-
    max(roomkeeper_oldest_waiter_seconds) > {{ .Values.prometheusRule.thresholds.oldestWaiterSeconds }}
  for: 5m
  labels:
    severity: warning
  annotations:
    summary: A user waits for very long
    description: >-
      The user who waits longest has been in the queue for more seconds than the limit. Users are not matched. The matchmaker may be down, or may never choose this user.
    runbook_url: {{ .Values.prometheusRule.runbookUrl }}#roomkeeperoldestwaiter
- alert: RoomkeeperMatchStuck
  expr: >-
    max by (kind, phase) (roomkeeper_oldest_object_seconds{phase=~"Creating|Terminating"}) > {{ .Values.prometheusRule.thresholds.phaseSeconds }}
  for: 5m
  labels:
    severity: warning
  annotations:
    summary: A Match or a Room stays in a phase that is short
    description: >-
      An object has been Creating or Terminating for more seconds than the limit. The users of a Match that is Terminating are not free for their next one.
    runbook_url: {{ .Values.prometheusRule.runbookUrl }}#roomkeepermatchstuck
- alert: RoomkeeperDeletionStuck
  expr: >-
    max by (kind) (roomkeeper_oldest_deletion_seconds) > {{ .Values.prometheusRule.thresholds.deletionSeconds }}
  for: 5m
  labels:
    severity: warning
  annotations:
    summary: A deleted object keeps its finalizer
    description: >-
      An object was deleted longer ago than the limit (seconds), and is still there. Its namespace cannot go away.
    runbook_url: {{ .Values.prometheusRule.runbookUrl }}#roomkeeperdeletionstuck
- alert: RoomkeeperWebhooksMissing
  expr: >-
    sum(rate(roomkeeper_webhooks_missed_total[10m])) > 0 unless sum(rate(roomkeeper_webhooks_total{result="accepted"}[10m])) > 0
  for: 10m
  labels:
    severity: warning
  annotations:
    summary: No webhook of LiveKit arrives
    description: >-
      Polling finds participants who came or left, and no webhook has reported one of them. Roomkeeper notices participants seconds later than it could. No call is lost.
    runbook_url: {{ .Values.prometheusRule.runbookUrl }}#roomkeeperwebhooksmissing
- alert: RoomkeeperLoopStalled
  expr: >-
    max by (loop) (roomkeeper_loop_age_seconds{loop!~"credentials|search|sweep"}) > {{ .Values.prometheusRule.thresholds.loopSeconds }} or sum by (loop) (increase(roomkeeper_loop_failures_total[15m])) > 3
  for: 0m
  labels:
    severity: critical
  annotations:
    summary: A background loop of Roomkeeper stands still
    description: >-
      A loop, such as the watch or the reader of Redis, has not come round for more seconds than the limit, or fails again and again. What it watches is noticed late, or not at all. The pod is restarted where the loop counts as dead.
    runbook_url: {{ .Values.prometheusRule.runbookUrl }}#roomkeeperloopstalled
- alert: RoomkeeperSweepFailing
  expr: >-
    time() - max by (sweep) (roomkeeper_sweep_last_success_timestamp_seconds > 0) > {{ .Values.prometheusRule.thresholds.sweepSeconds }}
  for: 15m
  labels:
    severity: warning
  annotations:
    summary: A sweep has not succeeded for long
    description: >-
      The last sweep without an error is longer ago than the limit (seconds). What crashes have left over stays in Redis and on LiveKit.
    runbook_url: {{ .Values.prometheusRule.runbookUrl }}#roomkeepersweepfailing
{{- end }}
