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
    runbook_url: {{ trimSuffix "/" .Values.prometheusRule.runbookUrl }}/RoomkeeperNoLeader.md
- alert: RoomkeeperKubernetesDown
  expr: >-
    min by (backend) (roomkeeper_backend_up{backend="Kubernetes"}) < 1
  for: 1m
  labels:
    severity: critical
  annotations:
    summary: The API server does not answer Roomkeeper
    description: >-
      A replica gets no answer from the API server, or is refused by it. No call is made and none is ended. Calls that are up go on.
    runbook_url: {{ trimSuffix "/" .Values.prometheusRule.runbookUrl }}/RoomkeeperKubernetesDown.md
- alert: RoomkeeperLiveKitDown
  expr: >-
    min by (backend, server) (roomkeeper_backend_up{backend="LiveKit"} and on (instance) roomkeeper_leader == 1) < 1
  for: 1m
  labels:
    severity: critical
  annotations:
    summary: A LiveKit server does not answer Roomkeeper
    description: >-
      The replica that leads gets no answer from the server that the label names, or is refused by it. New calls go to other servers, if there are any, or wait. Calls that are up go on as far as LiveKit is up; none is ended because of this.
    runbook_url: {{ trimSuffix "/" .Values.prometheusRule.runbookUrl }}/RoomkeeperLiveKitDown.md
- alert: RoomkeeperRedisDown
  expr: >-
    min by (backend) (roomkeeper_backend_up{backend="Redis"}) < 1
  for: 1m
  labels:
    severity: critical
  annotations:
    summary: Redis does not answer Roomkeeper
    description: >-
      A replica gets no answer from Redis, or is refused by it. No one can enter the queue and no call is made. Calls that are up go on.
    runbook_url: {{ trimSuffix "/" .Values.prometheusRule.runbookUrl }}/RoomkeeperRedisDown.md
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
    runbook_url: {{ trimSuffix "/" .Values.prometheusRule.runbookUrl }}/RoomkeeperWebhooksMissing.md
- alert: RoomkeeperWatchStale
  expr: >-
    max by (loop) (roomkeeper_loop_age_seconds{loop=~"watch|resync"}) > {{ .Values.prometheusRule.thresholds.watchSeconds }}
  for: 0m
  labels:
    severity: critical
  annotations:
    summary: Roomkeeper no longer sees the objects change
    description: >-
      The watch of Matches and Rooms has heard nothing for more seconds than the limit, not even a bookmark. New Matches are noticed late, or not at all. Calls that are up go on.
    runbook_url: {{ trimSuffix "/" .Values.prometheusRule.runbookUrl }}/RoomkeeperWatchStale.md
- alert: RoomkeeperLoopStalled
  expr: >-
    max by (loop) (roomkeeper_loop_age_seconds{loop!~"credentials|resync|search|sweep|watch"}) > {{ .Values.prometheusRule.thresholds.loopSeconds }} or sum by (loop) (increase(roomkeeper_loop_failures_total[15m])) > 3
  for: 0m
  labels:
    severity: critical
  annotations:
    summary: A background loop of Roomkeeper stands still
    description: >-
      A loop, such as the reader of Redis, has not come round for more seconds than the limit, or fails again and again. What it watches is noticed late, or not at all. The pod is restarted where the loop counts as dead.
    runbook_url: {{ trimSuffix "/" .Values.prometheusRule.runbookUrl }}/RoomkeeperLoopStalled.md
- alert: RoomkeeperSweepFailing
  expr: >-
    time() - max by (sweep) (roomkeeper_sweep_last_success_timestamp_seconds > 0) > {{ .Values.prometheusRule.thresholds.sweepSeconds }} or max by (sweep) (roomkeeper_sweep_failing) > 0
  for: 15m
  labels:
    severity: warning
  annotations:
    summary: A sweep has not succeeded for long
    description: >-
      The last sweep without an error is longer ago than the limit (seconds), or Redis refuses what it needs. What crashes have left over stays in Redis and on LiveKit.
    runbook_url: {{ trimSuffix "/" .Values.prometheusRule.runbookUrl }}/RoomkeeperSweepFailing.md
- alert: RoomkeeperCertificateEnds
  expr: >-
    min by (backend, use) (roomkeeper_certificate_expiry_timestamp_seconds) - time() < {{ .Values.prometheusRule.thresholds.certificateSeconds }}
  for: 15m
  labels:
    severity: warning
  annotations:
    summary: A certificate is about to end
    description: >-
      In fewer seconds than the limit, a certificate ends that Roomkeeper uses with the backend that the label names: that of the CA which it trusts (`ca`), or its own (`client`). From then on there is no connection to that backend: the alert about it follows.
    runbook_url: {{ trimSuffix "/" .Values.prometheusRule.runbookUrl }}/RoomkeeperCertificateEnds.md
- alert: RoomkeeperErrors
  expr: >-
    sum by (type) (increase(roomkeeper_errors_total{severity=~"Critical|High"}[10m])) > {{ .Values.prometheusRule.thresholds.errors }}
  for: 5m
  labels:
    severity: warning
  annotations:
    summary: Steps of Roomkeeper fail again and again
    description: >-
      More errors than the limit, of a severity that an administrator should know, have stopped steps in the last ten minutes. Some calls are not made or not cleaned up.
    runbook_url: {{ trimSuffix "/" .Values.prometheusRule.runbookUrl }}/RoomkeeperErrors.md
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
    runbook_url: {{ trimSuffix "/" .Values.prometheusRule.runbookUrl }}/RoomkeeperPeopleDoNotConnect.md
- alert: RoomkeeperRoomLost
  expr: >-
    sum(increase(roomkeeper_matches_finished_total{reason="RoomLost"}[10m])) > {{ .Values.prometheusRule.thresholds.roomsLost }}
  for: 0m
  labels:
    severity: warning
  annotations:
    summary: Calls have ended because LiveKit lost their rooms
    description: >-
      More Matches than the limit have ended as RoomLost in the last ten minutes: their rooms went away, and could not be made again, or were lost again and again. The users of these calls were cut off. They have their places in the queue again.
    runbook_url: {{ trimSuffix "/" .Values.prometheusRule.runbookUrl }}/RoomkeeperRoomLost.md
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
    runbook_url: {{ trimSuffix "/" .Values.prometheusRule.runbookUrl }}/RoomkeeperSlowToReady.md
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
    runbook_url: {{ trimSuffix "/" .Values.prometheusRule.runbookUrl }}/RoomkeeperOldestWaiter.md
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
    runbook_url: {{ trimSuffix "/" .Values.prometheusRule.runbookUrl }}/RoomkeeperMatchStuck.md
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
    runbook_url: {{ trimSuffix "/" .Values.prometheusRule.runbookUrl }}/RoomkeeperDeletionStuck.md
{{- end }}
