"""Every error has one row of the table of errors, and no row is without an error."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import exceptions

from controller.api.endings import EndCode
from controller.api.failure_codes import FailureCode
from controller.api.failures import ErrorType, Recovery, Severity
from controller.api.failures_table import FAILURES
from controller.clients import kubernetes, livekit
from controller.clients.certificates import TlsCode
from controller.clients.redis import errors
from controller.errors import (
    Backend,
    BackendError,
    BackendRefused,
    BackendUnavailable,
    Code,
    Forbidden,
    Invalid,
    LeadershipLost,
    PoolClosed,
    RoomkeeperError,
    SettingsError,
    StateLost,
    Untrusted,
)
from controller.plan.actions import ALL_ACTIONS
from controller.rules.failures import IN_THE_BACKGROUND, MAKES_ROOM, Circumstances, classify, of_ending

_STATUSES = (300, 302, *range(400, 420), 421, 422, 423, 424, 425, 426, 428, 429, 431, 451, *range(500, 512))
_TRANSPORT = (TimeoutError(), OSError("refused"))


def _of_kubernetes() -> Iterator[BackendError]:
    for status in _STATUSES:
        for payload in (b"<html>proxy</html>", b"404 page not found", *map(_status, _REASONS)):
            error = kubernetes._HttpError(kubernetes._Answer(status, payload))
            yield kubernetes._translate(error, "create", "POST", "/apis", "alice")
    for raised in (*_TRANSPORT, kubernetes._Malformed()):
        yield kubernetes._translate(raised, "get", "GET", "/apis", "alice")


_REASONS = (
    '"reason": "NotFound", "details": {"name": "alice"}',
    '"reason": "AlreadyExists"',
    '"reason": "Conflict"',
    '"message": "pods is forbidden: exceeded quota: few"',
    '"message": "unable to create new content in namespace calls because it is being terminated"',
)


def _status(fields: str) -> bytes:
    return f'{{"kind": "Status", {fields}}}'.encode()


def _of_livekit() -> Iterator[BackendError]:
    for status in _STATUSES:
        for word in ("not_found", "bad_route", "internal"):
            yield livekit._refusal("CreateRoom", status, word)
    for raised in (*_TRANSPORT, ValueError("no message")):
        yield livekit._translate(raised, "CreateRoom", deadline_seconds=4, has_certificate=False)
    yield Untrusted(Backend.LIVEKIT, "CreateRoom", "its certificate has expired", code=TlsCode.EXPIRED)


def _of_redis() -> Iterator[BackendError]:
    for word in (*errors._KNOWN_CODES, "NEWWORD"):
        yield errors.translate(exceptions.ResponseError(f"{word} something"), "claim")
    for raised in (
        exceptions.TimeoutError(),
        exceptions.ConnectionError("refused"),
        exceptions.BusyLoadingError("LOADING data"),
        exceptions.AuthenticationError("no"),
        exceptions.RedisClusterException("no slots"),
        OSError("refused"),
    ):
        yield errors.translate(raised, "claim")


def _our_own() -> Iterator[RoomkeeperError | Exception]:
    yield LeadershipLost("another replica")
    yield SettingsError("wrong")
    yield TimeoutError()
    yield RuntimeError("a bug")
    yield StateLost(Backend.REDIS, "script", "lost")
    yield PoolClosed(Backend.REDIS, "fence", "closed")
    yield Invalid(Backend.REDIS, "reserve", "expected the key queue")
    yield Untrusted(Backend.REDIS, "PING", "its certificate has expired", code=TlsCode.EXPIRED)
    for code in (*Code, "wrong-server"):
        for backend in Backend:
            yield BackendRefused(backend, "settle", "no", code=code)
            yield BackendUnavailable(backend, "read", "no", code=code)


ALL = [*_of_kubernetes(), *_of_livekit(), *_of_redis(), *_our_own()]
_AN_ENDING = {FailureCode(code.value) for code in EndCode if of_ending(code) is not None}


def test_every_error_that_the_clients_can_raise_has_a_row_of_its_own() -> None:
    unknown = [error for error in ALL if classify(error).failure.code is FailureCode.UNKNOWN]
    assert [repr(error) for error in unknown] == ["RuntimeError('a bug')"]


def test_every_code_of_the_table_belongs_to_an_error() -> None:
    seen = {classify(error).failure.code for error in ALL} | _AN_ENDING
    in_step = {classify(error, Circumstances(MAKES_ROOM)).failure.code for error in ALL}
    assert seen | in_step | {FailureCode.SIGNAL_REFUSED} == set(FailureCode)


def test_the_table_has_each_code_once_and_uses_every_word() -> None:
    rows = FAILURES.values()
    assert set(FAILURES) == set(FailureCode)
    assert {row.type for row in rows} == set(ErrorType)
    assert {row.severity for row in rows} == set(Severity)
    assert {row.recovery for row in rows} == set(Recovery)


@pytest.mark.parametrize("row", FAILURES.values(), ids=lambda row: row.code)
def test_a_row_has_sentences_that_people_can_act_on(row: object) -> None:
    failure = FAILURES[FailureCode(row.code)]  # type: ignore[attr-defined]
    assert re.fullmatch(r"\S.*[^.\s]", failure.meaning)
    assert not failure.user or re.fullmatch(r"[A-Z].*\.", failure.user)
    assert not failure.operator.endswith(".")
    # A user who gets a notice, and a person who has to repair something, read what to do.
    assert failure.user or failure.recovery is not Recovery.NOTIFY
    assert failure.operator or failure.recovery is not Recovery.ESCALATE
    assert failure.alert or failure.severity not in {Severity.CRITICAL, Severity.HIGH}
    assert not failure.alert or failure.severity in {Severity.CRITICAL, Severity.HIGH}


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (
            Forbidden(Backend.KUBERNETES, "create", "rooms is forbidden: exceeded quota: few", code="403"),
            "QuotaExceeded",
        ),
        (Forbidden(Backend.KUBERNETES, "create", "cannot create resource", code="403"), "KubernetesForbidden"),
        (BackendUnavailable(Backend.REDIS, "claim", "OOM", code="OOM"), "RedisFull"),
        (BackendUnavailable(Backend.REDIS, "read", "no answer"), "RedisUnreachable"),
        (BackendUnavailable(Backend.KUBERNETES, "get", "HTTP 302", code="302"), "KubernetesFailed"),
        (StateLost(Backend.REDIS, "open", "being opened", code=Code.OPENING), "PoolOpening"),
    ],
)
def test_an_error_has_the_row_that_says_what_to_repair(error: BackendError, code: str) -> None:
    assert classify(error).failure.code == code


def failed_in(step: str, error: BackendError) -> BackendError:
    error.step = step
    return error


def test_a_livekit_that_cannot_make_the_room_of_a_new_call_asks_for_another_server() -> None:
    error = BackendUnavailable(Backend.LIVEKIT, "CreateRoom", "no answer", code=Code.TIMEOUT)
    making = classify(failed_in(MAKES_ROOM, error))
    assert (making.failure.code, making.failure.recovery, making.quick_attempts) == ("RoomNotMade", "Fallback", 3)
    assert classify(failed_in("DeleteLiveKitRoom", error)).failure.code == "LiveKitTimeout"


def test_a_wrong_key_is_no_reason_for_another_server() -> None:
    error = Forbidden(Backend.LIVEKIT, "CreateRoom", "refused", retryable=True, code="401")
    assert classify(failed_in(MAKES_ROOM, error)).failure.code == "LiveKitUnauthorized"


def test_a_step_that_no_user_waits_for_has_no_quick_attempts() -> None:
    error = BackendUnavailable(Backend.REDIS, "room", "no answer", code=Code.TIMEOUT)
    assert classify(failed_in("EndRoomRecord", error)).quick_attempts == 0
    assert classify(failed_in("Claim", error)).quick_attempts == 3
    assert classify(error, Circumstances("Claim", user_waits=False)).quick_attempts == 0


def test_every_step_that_the_rules_name_is_an_action() -> None:
    assert {MAKES_ROOM, *IN_THE_BACKGROUND} <= {action.__name__ for action in ALL_ACTIONS}


@given(
    st.sampled_from([BackendUnavailable, BackendRefused, Forbidden, Invalid, StateLost, PoolClosed, BackendError]),
    st.sampled_from([*Backend, "Another"]),
    st.text(max_size=8),
    st.text(max_size=8),
)
def test_whatever_code_a_backend_invents_the_error_has_a_row(
    kind: type[BackendError], backend: str, code: str, step: str
) -> None:
    verdict = classify(kind(backend, "step", "why", code=code), Circumstances(step))
    assert verdict.failure is FAILURES[verdict.failure.code]
