"""The alerts about users, Matches and Rooms. Neighbor: `generate.alerts` has all alerts."""

from __future__ import annotations

from typing import Final

from controller.api.alert_names import AlertName as A
from controller.api.endings import END_CODES, EndReason
from controller.generate.alert import Alert, AlertSeverity, Cause, Limit
from controller.generate.alert_commands import BACKENDS, DELETED, DOCTOR, ENDS, ERRORS, LOG, MATCHES, RESTORES, WHY

_C, _W = AlertSeverity.CRITICAL, AlertSeverity.WARNING
_NEVER_MET: Final = "|".join(
    [EndReason.NO_SHOW, EndReason.FAILED, *(row.code for row in END_CODES.values() if row.reason is EndReason.FAILED)]
)

ALERTS_OF_CALLS: Final = (
    Alert(
        A.ERRORS, _W,
        'sum by (type) (increase(roomkeeper_errors_total{severity=~"Critical|High"}[10m])) > $errors', "5m",
        "Steps of Roomkeeper fail again and again",
        "More errors of the type that the label names than the limit have stopped steps in the last ten minutes; only "
        "those of the severities Critical and High count.",
        "Some calls are not made or not cleaned up.",
        (ERRORS, WHY),
        (
            Cause(
                "a row of the errors with a code", "docs/errors.md has a section for each code, with its cause",
                "what the section says",
            ),
            Cause(
                "WHY says that a backend does not answer or refuses",
                "the same error, as that object met it",
                "what the sentence says, and the section of the code",
            ),
        ),
        "Steps are tried again by themselves with growing pauses; nothing has to be started again.",
        (Limit("errors", 10),),
    ),
    Alert(
        A.PEOPLE_DO_NOT_CONNECT, _C,
        f'sum(rate(roomkeeper_matches_finished_total{{reason=~"{_NEVER_MET}"}}[10m])) '
        "/ sum(rate(roomkeeper_matches_finished_total[10m])) > $shareNotConnected "
        "and sum(increase(roomkeeper_matches_finished_total[10m])) > $matchesEnded", "5m",
        "Too many Matches end before both users are connected",
        "The share of Matches that end as NoShow or as Failed, the codes of Failed too, is above the limit, and more "
        "than a few Matches have ended in the last ten minutes. Calls that lost their room have an alert of their own.",
        "Users wait for calls that do not come about.",
        (MATCHES, ENDS, ERRORS, DOCTOR),
        (
            Cause(
                "REASON is `NoShow` on one SERVER only", "clients do not reach that LiveKit server",
                "look at its public URL, its certificate and its UDP and TURN ports; cordon it meanwhile "
                "(docs/servers.md)",
            ),
            Cause(
                "REASON is mostly `NoShow`", "users get tokens and do not come into the room",
                "look at the clients, at the URL that they get, and at the firewall before LiveKit",
            ),
            Cause(
                "REASON is `TooLate`, or the doctor has a ✗", "rooms or tokens are not made in time",
                "repair the backend that the doctor or DEGRADED names",
            ),
            Cause(
                "REASON is `UserBusy`, `UserReserved`, `UserNotQueued` or `UserBlocked`",
                "the matchmaker matches users who are not free",
                "let it `reserve` users before it makes a Match",
            ),
            Cause(
                "REASON is `AttributesTooLarge` or `Failed`", "the matchmaker asks for what cannot be made",
                "what MESSAGE says",
            ),
            Cause(
                "no Match in the list is over", "the matchmaker deletes them at once",
                "read the Events, which stay for an hour: `kubectl get events -A --field-selector "
                "involvedObject.kind=Match`",
            ),
        ),
        "With NoShow look at the clients and their way to LiveKit; with another reason at the backend that "
        "`Degraded` of a Match names.",
        (Limit("shareNotConnected", 0.3), Limit("matchesEnded", 10)),
    ),
    Alert(
        A.ROOM_LOST, _W, 'sum(increase(roomkeeper_matches_finished_total{reason="RoomLost"}[10m])) > $roomsLost', "0m",
        "Calls have ended because LiveKit lost their rooms",
        "More Matches than the limit have ended as RoomLost in the last ten minutes: their rooms went away, and could "
        "not be made again, or were lost again and again.",
        "The users of these calls were cut off. They have their places in the queue again.",
        (ENDS, RESTORES, DOCTOR, BACKENDS),
        (
            Cause(
                "MESSAGE says that its Room is over, the Rooms of other calls have RESTORES above 0, or the doctor or "
                "the log says that LiveKit does not answer",
                "LiveKit crashed or was restarted, perhaps several times",
                "look at its log and its memory; drain it before a restart (docs/draining.md)",
            ),
            Cause(
                "MESSAGE says that the room was closed on LiveKit, or is not ours, and LiveKit is well",
                "another client deletes or makes rooms with our API key",
                "give that client a key of its own, or stop it",
            ),
            Cause(
                "MESSAGE says that its Room was deleted", "a person or a service deletes Rooms of Matches",
                "end calls by `spec.termination` of the Match: docs/runbook.md",
            ),
            Cause(
                "MESSAGE names a tombstone in Redis", "another service writes to the keys of Roomkeeper",
                "stop it; docs/redis.md says which keys are for others",
            ),
        ),
        "Nothing has to be cleaned up. A LiveKit that is unwell takes no new calls once it is cordoned: "
        "`spec.cordoned: true` of its LiveKitServer (docs/servers.md).",
        (Limit("roomsLost", 0),),
    ),
    Alert(
        A.SLOW_TO_READY, _W,
        "histogram_quantile(0.99, sum by (le) (rate(roomkeeper_match_ready_seconds_bucket[10m]))) > $readySeconds "
        "and sum(increase(roomkeeper_match_ready_seconds_count[10m])) > $matchesReady", "10m",
        "Matches become Ready late",
        "One of a hundred Matches takes longer than the limit (seconds) until it is Ready, and more than a few Matches "
        "have become Ready in the last ten minutes. If they are fewer than a hundred, a single slow one counts.",
        "Users wait longer for their call.",
        (ERRORS, DOCTOR, LOG),
        (
            Cause(
                "errors of one type, or lines `a request was slow` in the log", "that backend is slow",
                "look at its load; `roomkeeper_backend_call_duration_seconds` has its times",
            ),
            Cause(
                "errors with the code `NoServerFits`", "Matches wait until a LiveKit server takes another room",
                "add a server, raise `maxRooms`, or take back a cordon or a drain (docs/servers.md)",
            ),
            Cause(
                "none of these", "the operator has too little CPU: `roomkeeper_workqueue_wait_seconds` is high",
                "raise the limit of CPU of its container",
            ),
        ),
        "`roomkeeper_backend_call_duration_seconds` says which backend is slow; `roomkeeper_workqueue_wait_seconds` "
        "says whether the operator itself has too little CPU.",
        (Limit("readySeconds", 2), Limit("matchesReady", 20)),
    ),
    Alert(
        A.OLDEST_WAITER, _W, "max(roomkeeper_oldest_waiter_seconds) > $oldestWaiterSeconds", "5m",
        "A user waits for very long",
        "The user who waits longest has been in the queue for more seconds than the limit.",
        "Users are not matched. The matchmaker may be down, or may never choose this user. The metric has no name: "
        "docs/oncall.md has the command that shows who waits longest in a namespace.",
        (MATCHES, ERRORS, DOCTOR),
        (
            Cause(
                "no Match is young, or there is none at all", "the matchmaker makes none",
                "look whether the matchmaker runs, and at its log",
            ),
            Cause(
                "young Matches that are `Failed`", "Matches are made and do not come about",
                "the REASON of these Matches, as for RoomkeeperPeopleDoNotConnect",
            ),
            Cause(
                "young Matches that are well", "the matchmaker never chooses some users",
                "look at its rules: does it take the longest waiter first, and is the number of users even?",
            ),
        ),
        "Look whether the matchmaker runs and makes Matches; Roomkeeper itself makes none.",
        (Limit("oldestWaiterSeconds", 900),),
    ),
    Alert(
        A.MATCH_STUCK, _W,
        'max by (kind, phase) (roomkeeper_oldest_object_seconds{phase=~"Creating|Terminating"}) > $phaseSeconds', "5m",
        "A Match or a Room stays in a phase that is short",
        "An object has been Creating or Terminating for more seconds than the limit.",
        "The users of a Match that is Creating wait for their call; those of one that is Terminating are not free for "
        "their next one.",
        (WHY, MATCHES, ERRORS, DOCTOR),
        (
            Cause(
                "WHY names a backend that does not answer or refuses",
                "that backend is away, or refuses what is asked of it",
                "repair it: the line of the doctor about it says how"
            ),
            Cause(
                "the errors have a row with the object of that Match", "a step of it fails again and again",
                "the section of the code in docs/errors.md",
            ),
            Cause(
                "neither, and many objects are in that phase",
                "the operator does not keep up: `roomkeeper_workqueue_depth` grows",
                "raise the limit of CPU of its container",
            ),
            Cause(
                "neither, and it is one object", "a fault of Roomkeeper",
                "keep the log, restart the pod (calls go on without it), and report it",
            ),
        ),
        "`Degraded` of the object names the backend that it waits for.",
        (Limit("phaseSeconds", 300),),
    ),
    Alert(
        A.DELETION_STUCK, _W, "max by (kind) (roomkeeper_oldest_deletion_seconds) > $deletionSeconds", "5m",
        "A deleted object keeps its finalizer",
        "An object was deleted longer ago than the limit (seconds), and is still there.",
        "Its namespace cannot go away. The users of a Match may be held by it.",
        (WHY, DELETED, DOCTOR),
        (
            Cause(
                "DELETED has a time, and PAUSED a sentence", "a paused object is not cleaned up",
                "remove the annotation `roomkeeper.dev/paused` of that object",
            ),
            Cause(
                "DELETED has a time, and WHY says that a backend does not answer or refuses",
                "the users or the room are to be let go there first",
                "repair that backend; the doctor's line about it says how",
            ),
            Cause(
                "FINALIZERS has others than `roomkeeper.dev/cleanup`", "another controller has not let the object go",
                "look at that controller",
            ),
            Cause(
                "neither, and FINALIZERS has `roomkeeper.dev/cleanup` alone", "no operator works on that namespace",
                "as for RoomkeeperNoLeader; does `ROOMKEEPER_WATCH_NAMESPACES` have the namespace?",
            ),
        ),
        "Do not take finalizers off while an operator works: it cleans up by itself once the cause is gone.",
        (Limit("deletionSeconds", 600),),
    ),
)  # fmt: skip
