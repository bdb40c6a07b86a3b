"""The page on errors for administrators and for teams that build clients, made from the table `api.failures_table`."""

from collections.abc import Iterator
from typing import Final

from controller.api.failure_codes import QUICK_ATTEMPTS, Failure
from controller.api.failures import ErrorType, Recovery, Severity
from controller.api.failures_table import FAILURES
from controller.generate.markdown import table

_INTRODUCTION: Final = f"""\
Whatever goes wrong has one row here: a code, a type, a severity, and what Roomkeeper does about it. `status.lastError`
of an object, the label values of `roomkeeper_errors_total` and the log use these words. The sentences may change, a
code or a type never changes its meaning.

Each error of Kubernetes, LiveKit and Redis is translated where it is received. The text of the library's error is kept
as its cause, without tokens and passwords. Steps that a user waits for are tried up to {QUICK_ATTEMPTS} times quickly,
within about a second, and then after pauses that grow to 15 s. No call in progress ends because of these errors."""

_TYPES: Final = {
    ErrorType.NETWORK: "there is no connection",
    ErrorType.VALIDATION: "what was written is not allowed",
    ErrorType.SYSTEM: "Roomkeeper itself, or Kubernetes",
    ErrorType.USER: "a user or a gateway asks for what is not possible",
    ErrorType.REDIS: "Redis answers that it cannot, or what it holds is damaged",
    ErrorType.LIVEKIT: "LiveKit answers that it cannot",
    ErrorType.MATCHING: "the users of a Match are not free, or are not those that it holds",
    ErrorType.ROOM: "one room on LiveKit",
    ErrorType.TIMEOUT: "an answer, or a Match, takes too long",
}
_SEVERITIES: Final = {
    Severity.CRITICAL: "no call can be made",
    Severity.HIGH: "some calls cannot be made, or an administrator has to repair something",
    Severity.MEDIUM: "calls are made later than usual",
    Severity.LOW: "it passes by itself",
    Severity.INFO: "nothing is wrong",
}
RECOVERIES: Final = {
    Recovery.RETRY: "The step is tried again: quickly while a user waits for it, then after growing pauses with "
    "jitter.",
    Recovery.FALLBACK: "Another LiveKit server is used, if there is one that may have the room. If there is none, the "
    "step is tried again, and both users get their places back when the time for it is over.",
    Recovery.RESET: "Damaged records in Redis are removed and written again from the Matches, then the step is tried "
    "again.",
    Recovery.REQUEUE: "The Match ends as Failed, and both users are where they were before, with their places in the "
    "queue.",
    Recovery.NOTIFY: "The users of the Match get a notice that says what to do: `error` with the code `MatchRefused`.",
    Recovery.ESCALATE: "The step is tried again after growing pauses. The condition Degraded of the object, a Warning "
    "Event and the metric tell an administrator, who has to repair something.",
    Recovery.IGNORE: "It is counted and recorded. No status and no Event shows it.",
}
"""What happens for each recovery."""


_RECORDS: Final = """\
Each error is recorded in Redis for 24 h. Errors of one code, step and object are one record, with their number, the
first and the last time, and what is known about the last one: message, users, Match, room, session, key, attempt, and
the number of the reconcile, by which the log has more. If a gateway adds the field `userAgent` to a signal that is
refused, the record has it. Counts per hour tell how many errors there were of each code, and how many steps succeeded
after they had failed. A pool keeps the last 500 records; the counts include all others. While Redis does not answer,
each replica keeps up to 1000 records until it does.

`roomkeeper errors` prints the statistics. It needs the settings of the operator and reads Redis alone, so it runs in
the operator's pod or in the sandbox:

```sh
kubectl -n roomkeeper-system exec deploy/roomkeeper -- roomkeeper errors --since 2h -n calls
kubectl -n roomkeeper-system exec deploy/roomkeeper -- roomkeeper errors --type Redis --severity Critical -o json
```"""


def errors_page(header: str) -> str:
    """The whole page."""
    return "\n\n".join([header, "# Errors", _INTRODUCTION, *_words(), *_records(), *_overview(), *_rows()]) + "\n"


def _words() -> Iterator[str]:
    yield "## Types, severities, recoveries"
    yield table(("type", "meaning"), ((f"`{word}`", meaning) for word, meaning in _TYPES.items()))
    yield table(("severity", "meaning"), ((f"`{word}`", meaning) for word, meaning in _SEVERITIES.items()))
    yield table(("recovery", "what happens"), ((f"`{word}`", meaning) for word, meaning in RECOVERIES.items()))


def _records() -> Iterator[str]:
    yield "## Records"
    yield _RECORDS


def _overview() -> Iterator[str]:
    yield "## All errors"
    yield (
        "*Attempts* are the quick ones of a step that a user waits for. *Then* is what happens when the time for the "
        "step is over. *Alert* is the one of [alerts.md](alerts.md) that tells "
        "an administrator about such errors."
    )
    yield table(("error", "type", "severity", "recovery", "attempts", "then", "alert"), map(_short, FAILURES.values()))


def _short(row: Failure) -> tuple[str, ...]:
    return (
        f"[{row.code}](#{row.code.lower()})",
        f"`{row.type}`",
        f"`{row.severity}`",
        f"`{row.recovery}`",
        str(row.attempts or ""),
        f"`{row.afterwards}`" if row.afterwards else "",
        f"[{row.alert.removeprefix('Roomkeeper')}](alerts/{row.alert}.md)" if row.alert else "",
    )


def _rows() -> Iterator[str]:
    yield "## Each error"
    for row in FAILURES.values():
        yield f"### {row.code}"
        yield f"{row.type}, {row.severity}, {row.recovery}: {row.meaning}."
        yield "\n".join(
            (
                f"- A user can read: {f'“{row.user}”' if row.user else 'nothing, since users do not notice.'}",
                f"- What to do: {row.operator or 'nothing'}.",
            )
        )
