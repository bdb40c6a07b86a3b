{{- /* Made by `python -m controller.generate` from controller/generate/alerts.py; edit that instead. */}}
{{- define "roomkeeper.alerts" -}}
{{- $ours := include "roomkeeper.namespace" . | printf "namespace=%q" }}
{{- $ours = default $ours .Values.prometheusRule.selector }}
{{- $pages := trimSuffix "/" .Values.prometheusRule.runbookUrl }}
- alert: RoomkeeperNoLeader
  expr: >-
    absent(roomkeeper_leader{ {{- $ours }}} == 1)
  for: 1m
  labels:
    severity: critical
  annotations:
    summary: No replica of Roomkeeper leads
    description: >-
      No replica holds the lease, or Prometheus reaches none of them. No call is made and none is ended. Calls that are up go on.
    runbook_url: {{ printf "%s/RoomkeeperNoLeader.md" $pages | quote }}
- alert: RoomkeeperKubernetesDown
  expr: >-
    min by (backend) (roomkeeper_backend_up{ {{- $ours }}, backend="Kubernetes"}) < 1
  for: 1m
  labels:
    severity: critical
  annotations:
    summary: The API server does not answer Roomkeeper
    description: >-
      A replica gets no answer from the API server, or is refused by it. As long as no replica reaches it, no call is made and none is ended; if only one does not reach it, another one leads. Calls that are up go on.
    runbook_url: {{ printf "%s/RoomkeeperKubernetesDown.md" $pages | quote }}
- alert: RoomkeeperLiveKitDown
  expr: >-
    min by (backend, server) (roomkeeper_backend_up{ {{- $ours }}, backend="LiveKit"} and on (instance) roomkeeper_leader{ {{- $ours }}} == 1) < 1
  for: 1m
  labels:
    severity: critical
  annotations:
    summary: A LiveKit server does not answer Roomkeeper
    description: >-
      The replica that leads gets no answer from the server that the label names, or is refused by it. New calls go to other servers, if there are any, or wait. Calls that are up go on as far as LiveKit is up; none is ended because of this.
    runbook_url: {{ printf "%s/RoomkeeperLiveKitDown.md" $pages | quote }}
- alert: RoomkeeperRedisDown
  expr: >-
    min by (backend) (roomkeeper_backend_up{ {{- $ours }}, backend="Redis"}) < 1
  for: 1m
  labels:
    severity: critical
  annotations:
    summary: Redis does not answer Roomkeeper
    description: >-
      A replica gets no answer from Redis, or is refused by it. No one can enter the queue and no call is made. Calls that are up go on.
    runbook_url: {{ printf "%s/RoomkeeperRedisDown.md" $pages | quote }}
- alert: RoomkeeperWebhooksMissing
  expr: >-
    sum by (server) (rate(roomkeeper_webhooks_missed_total{ {{- $ours }}}[10m])) > 0 unless sum by (server) (rate(roomkeeper_webhooks_total{ {{- $ours }}, result="accepted"}[10m])) > 0
  for: 10m
  labels:
    severity: warning
  annotations:
    summary: No webhook of a LiveKit server arrives
    description: >-
      Polling finds participants who came to the server that the label names or left it, and no webhook of that server has reported one of them for ten minutes. Roomkeeper notices participants seconds later than it could. No call is lost.
    runbook_url: {{ printf "%s/RoomkeeperWebhooksMissing.md" $pages | quote }}
- alert: RoomkeeperWatchStale
  expr: >-
    max by (loop) (roomkeeper_loop_overdue_seconds{ {{- $ours }}, loop=~"watch|resync"}) > {{ .Values.prometheusRule.thresholds.watchSeconds }}
  for: 0m
  labels:
    severity: critical
  annotations:
    summary: Roomkeeper no longer sees the objects change
    description: >-
      The watch of Matches and Rooms has heard nothing for longer than it may, not even a bookmark, or the list beside it has not come, and that by more seconds than the limit. New Matches are noticed late, or not at all. Calls that are up go on.
    runbook_url: {{ printf "%s/RoomkeeperWatchStale.md" $pages | quote }}
- alert: RoomkeeperLoopStalled
  expr: >-
    max by (loop) (roomkeeper_loop_overdue_seconds{ {{- $ours }}, loop!~"resync|watch"}) > {{ .Values.prometheusRule.thresholds.loopSeconds }} or sum by (loop) (increase(roomkeeper_loop_failures_total{ {{- $ours }}}[15m])) > 3
  for: 0m
  labels:
    severity: critical
  annotations:
    summary: A background loop of Roomkeeper stands still
    description: >-
      A loop, such as the reader of Redis, comes round later than it may by more seconds than the limit, or has failed more than three times in 15 minutes. The label `loop` names it. What it watches is noticed late, or not at all. The pod is restarted where the loop counts as dead.
    runbook_url: {{ printf "%s/RoomkeeperLoopStalled.md" $pages | quote }}
- alert: RoomkeeperSweepFailing
  expr: >-
    time() - max by (sweep) (roomkeeper_sweep_last_success_timestamp_seconds{ {{- $ours }}} > 0) > {{ .Values.prometheusRule.thresholds.sweepIntervals }} * max by (sweep) (roomkeeper_sweep_interval_seconds{ {{- $ours }}}) or max by (sweep) (roomkeeper_sweep_failing{ {{- $ours }}}) > 0
  for: 15m
  labels:
    severity: warning
  annotations:
    summary: A sweep has not succeeded for long
    description: >-
      The last sweep without an error is more intervals ago than the limit, or Redis refuses what it needs. Before the first sweep, the intervals count from the moment at which the replica began to lead. What crashes have left over stays in Redis and on LiveKit.
    runbook_url: {{ printf "%s/RoomkeeperSweepFailing.md" $pages | quote }}
- alert: RoomkeeperCertificateEnds
  expr: >-
    min by (backend, use) (roomkeeper_certificate_expiry_timestamp_seconds{ {{- $ours }}} - time() < {{ .Values.prometheusRule.thresholds.certificateSeconds }} and roomkeeper_certificate_expiry_timestamp_seconds{ {{- $ours }}} - time() < {{ .Values.prometheusRule.thresholds.certificateShare }} * roomkeeper_certificate_lifetime_seconds{ {{- $ours }}})
  for: 15m
  labels:
    severity: warning
  annotations:
    summary: A certificate is about to end
    description: >-
      A certificate ends soon that Roomkeeper uses with the backend that the label names: that of the CA which it trusts (`ca`), or its own (`client`). Two things are true: fewer seconds are left than the first limit, and a smaller share of its lifetime than the second one (0.2 is a fifth). So the alert about a certificate that holds for a day fires in its last hours, not always. From then on there is no connection to that backend: the alert about it follows.
    runbook_url: {{ printf "%s/RoomkeeperCertificateEnds.md" $pages | quote }}
- alert: RoomkeeperErrors
  expr: >-
    sum by (type) (increase(roomkeeper_errors_total{ {{- $ours }}, severity=~"Critical|High"}[10m])) > {{ .Values.prometheusRule.thresholds.errors }}
  for: 5m
  labels:
    severity: warning
  annotations:
    summary: Steps of Roomkeeper fail again and again
    description: >-
      More errors of the type that the label names than the limit have stopped steps in the last ten minutes; only those of the severities Critical and High count. Some calls are not made or not cleaned up.
    runbook_url: {{ printf "%s/RoomkeeperErrors.md" $pages | quote }}
- alert: RoomkeeperPeopleDoNotConnect
  expr: >-
    sum(rate(roomkeeper_matches_finished_total{ {{- $ours }}, reason=~"NoShow|Failed|UserBusy|UserReserved|UserNotQueued|UserBlocked|AttributesTooLarge|TooLate"}[10m])) / sum(rate(roomkeeper_matches_finished_total{ {{- $ours }}}[10m])) > {{ .Values.prometheusRule.thresholds.shareNotConnected }} and sum(increase(roomkeeper_matches_finished_total{ {{- $ours }}}[10m])) > {{ .Values.prometheusRule.thresholds.matchesEnded }}
  for: 5m
  labels:
    severity: critical
  annotations:
    summary: Too many Matches end before both users are connected
    description: >-
      The share of Matches that end as NoShow or as Failed, the codes of Failed too, is above the limit, and more than a few Matches have ended in the last ten minutes. Calls that lost their room have an alert of their own. Users wait for calls that do not come about.
    runbook_url: {{ printf "%s/RoomkeeperPeopleDoNotConnect.md" $pages | quote }}
- alert: RoomkeeperRoomLost
  expr: >-
    sum(increase(roomkeeper_matches_finished_total{ {{- $ours }}, reason="RoomLost"}[10m])) > {{ .Values.prometheusRule.thresholds.roomsLost }}
  for: 0m
  labels:
    severity: warning
  annotations:
    summary: Calls have ended because LiveKit lost their rooms
    description: >-
      More Matches than the limit have ended as RoomLost in the last ten minutes: their rooms went away, and could not be made again, or were lost again and again. The users of these calls were cut off. They have their places in the queue again.
    runbook_url: {{ printf "%s/RoomkeeperRoomLost.md" $pages | quote }}
- alert: RoomkeeperSlowToReady
  expr: >-
    histogram_quantile(0.99, sum by (le) (rate(roomkeeper_match_ready_seconds_bucket{ {{- $ours }}}[10m]))) > {{ .Values.prometheusRule.thresholds.readySeconds }} and sum(increase(roomkeeper_match_ready_seconds_count{ {{- $ours }}}[10m])) > {{ .Values.prometheusRule.thresholds.matchesReady }}
  for: 10m
  labels:
    severity: warning
  annotations:
    summary: Matches become Ready late
    description: >-
      One of a hundred Matches takes longer than the limit (seconds) until it is Ready, and more than a few Matches have become Ready in the last ten minutes. If they are fewer than a hundred, a single slow one counts. Users wait longer for their call.
    runbook_url: {{ printf "%s/RoomkeeperSlowToReady.md" $pages | quote }}
- alert: RoomkeeperOldestWaiter
  expr: >-
    max(roomkeeper_oldest_waiter_seconds{ {{- $ours }}}) > {{ .Values.prometheusRule.thresholds.oldestWaiterSeconds }}
  for: 5m
  labels:
    severity: warning
  annotations:
    summary: A user waits for very long
    description: >-
      The user who waits longest has been in the queue for more seconds than the limit. Users are not matched. The matchmaker may be down, or may never choose this user. The metric has no name: docs/oncall.md has the command that shows who waits longest in a namespace.
    runbook_url: {{ printf "%s/RoomkeeperOldestWaiter.md" $pages | quote }}
- alert: RoomkeeperMatchStuck
  expr: >-
    max by (kind, phase) (roomkeeper_oldest_object_seconds{ {{- $ours }}, phase=~"Creating|Terminating"}) > {{ .Values.prometheusRule.thresholds.phaseSeconds }}
  for: 5m
  labels:
    severity: warning
  annotations:
    summary: A Match or a Room stays in a phase that is short
    description: >-
      An object has been Creating or Terminating for more seconds than the limit. The users of a Match that is Creating wait for their call; those of one that is Terminating are not free for their next one.
    runbook_url: {{ printf "%s/RoomkeeperMatchStuck.md" $pages | quote }}
- alert: RoomkeeperDeletionStuck
  expr: >-
    max by (kind) (roomkeeper_oldest_deletion_seconds{ {{- $ours }}}) > {{ .Values.prometheusRule.thresholds.deletionSeconds }}
  for: 5m
  labels:
    severity: warning
  annotations:
    summary: A deleted object keeps its finalizer
    description: >-
      An object was deleted longer ago than the limit (seconds), and is still there. Its namespace cannot go away. The users of a Match may be held by it.
    runbook_url: {{ printf "%s/RoomkeeperDeletionStuck.md" $pages | quote }}
{{- end }}
