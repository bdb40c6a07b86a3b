"""The alerts about users, Matches and Rooms. Neighbor: `generate.alerts` has all alerts."""

from __future__ import annotations

from typing import Final

from controller.api.alert_names import AlertName as A
from controller.api.endings import END_CODES, EndReason
from controller.generate.alert import Alert, AlertSeverity, Cause, Limit
from controller.generate.alert_commands import DOCTOR, ENDS, ERRORS, LOG, MATCHES, ROOMS, WHY

_C, _W = AlertSeverity.CRITICAL, AlertSeverity.WARNING
_NEVER_MET: Final = "|".join(
    [EndReason.NO_SHOW, EndReason.FAILED, *(row.code for row in END_CODES.values() if row.reason is EndReason.FAILED)]
)

ALERTS_OF_CALLS: Final = (
    Alert(
        A.ERRORS, _W,
        'sum by (type) (increase(roomkeeper_errors_total{severity=~"Critical|High"}[10m])) > $errors', "5m",
        "Steps of Roomkeeper fail again and again",
        "More errors than the limit, of a severity that an administrator should know, have stopped steps in the last "
        "ten minutes.",
        "Some calls are not made or not cleaned up.",
        (ERRORS, WHY),
        (
            Cause(
                "a row of the errors with a code", "docs/errors.md has a section for each code, with its cause",
                "what the section says",
            ),
            Cause("WHY of a Match or a Room", "the same, with the names of that object", "as above"),
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
        (MATCHES, ERRORS, DOCTOR),
        (
            Cause(
                "REASON is mostly `NoShow`", "users get tokens and do not come into the room",
                "look at the clients, at the URL that they get, and at the firewall before LiveKit",
            ),
            Cause(
                "REASON is `TooLate`, or the doctor has a ✗", "rooms or tokens are not made in time",
                "repair the backend that the doctor or DEGRADED names",
            ),
            Cause(
                "REASON begins with `User`", "the matchmaker matches users who are not free",
                "let it `reserve` users before it makes a Match",
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
        (ENDS, ROOMS, DOCTOR, LOG),
        (
            Cause(
                "the Rooms of other calls have RESTORES above 0, or the doctor has ✗ at LiveKit",
                "LiveKit crashed or was restarted, perhaps several times",
                "look at its log and its memory; drain it before a restart (docs/draining.md)",
            ),
            Cause(
                "the message of the Match says that the room was closed again and again, and LiveKit is well",
                "another client deletes rooms with our API key", "give that client a key of its own, or stop it",
            ),
        ),
        "Nothing has to be cleaned up. A LiveKit that is unwell takes no new calls once it is cordoned: "
        "`kubectl roomkeeper` or `spec.cordoned` of its LiveKitServer.",
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
                "neither", "the operator has too little CPU: `roomkeeper_workqueue_wait_seconds` is high",
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
        "Users are not matched. The matchmaker may be down, or may never choose this user.",
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
        "The users of a Match that is Terminating are not free for their next one.",
        (WHY, MATCHES, DOCTOR),
        (
            Cause("WHY names a backend", "that backend does not answer or refuses", "the line of the doctor about it"),
        ),
        "`Degraded` of the object names the backend that it waits for.",
        (Limit("phaseSeconds", 300),),
    ),
    Alert(
        A.DELETION_STUCK, _W, "max by (kind) (roomkeeper_oldest_deletion_seconds) > $deletionSeconds", "5m",
        "A deleted object keeps its finalizer",
        "An object was deleted longer ago than the limit (seconds), and is still there.",
        "Its namespace cannot go away.",
        (WHY, DOCTOR),
        (
            Cause(
                "DELETED has a time, and PAUSED a sentence", "a paused object is not cleaned up",
                "remove the annotation `roomkeeper.dev/paused` of that object",
            ),
            Cause(
                "DELETED has a time, and WHY names a backend", "the users or the room are to be let go there first",
                "repair that backend; the doctor's line about it says how",
            ),
        ),
        "Do not take finalizers off while an operator works: it cleans up by itself once the cause is gone.",
        (Limit("deletionSeconds", 600),),
    ),
)  # fmt: skip
