"""No text that leaves the process holds a token or a password."""

from __future__ import annotations

import string

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.errors import Backend, BackendRefused, LibraryError
from controller.redaction import LONGEST, redact

_WORDS = st.text(alphabet=string.ascii_letters + string.digits + " .,:;-_/", max_size=40)
_SECRET = st.text(alphabet=string.ascii_letters + string.digits + "-_", min_size=8, max_size=40).map(
    lambda text: f"Zq{text}"
)
_FORMS = (
    "redis://roomkeeper:{}@redis:6379/0",
    "rediss://:{}@redis:6379/0",
    "GET /rtc?access_token={}&auto=1",
    "ROOMKEEPER_LIVEKIT_API_SECRET={}",
    '{{"password": "{}", "user": "roomkeeper"}}',
    "api_key: {}",
    "Authorization: Bearer {}",
    "WRONGPASS for AUTH roomkeeper {}",
    "wrong number of arguments for AUTH {}",
    "ERR unknown command 'AUTH', with args beginning with: 'roomkeeper' '{}'",
    "-redis://roomkeeper:a:{}@redis:6379/0",
)


@given(st.sampled_from(_FORMS), _SECRET, _WORDS, _WORDS)
def test_a_secret_is_blanked_wherever_it_stands(form: str, secret: str, before: str, after: str) -> None:
    text = f"{before} {form.format(secret)} {after}"
    assert secret not in redact(text)
    assert secret not in str(BackendRefused(Backend.REDIS, "claim", text))
    assert secret not in str(LibraryError.of(RuntimeError(text)))


@given(_WORDS, _SECRET, _WORDS)
def test_a_token_is_blanked_without_a_name_before_it(before: str, identity: str, after: str) -> None:
    token = jwt.encode({"sub": identity}, "a-secret-of-thirty-two-bytes-at-least", algorithm="HS256")
    redacted = redact(f"{before} {token} {after}")
    assert not any(part in redacted for part in token.split("."))


@pytest.mark.parametrize(
    "piece", ["a-", "a.", "eyJ", "token ", "token", "a://:", ":", "Bearer ", "AUTH ", "x" * 99 + " "]
)
def test_a_text_of_any_length_and_form_costs_bounded_work(piece: str) -> None:
    assert len(redact(piece * (200_000 // len(piece)))) < 3 * LONGEST


@given(st.sampled_from(_FORMS), _SECRET, st.integers(0, 120))
def test_a_secret_at_the_place_where_a_long_text_is_cut_is_not_shown(form: str, secret: str, offset: int) -> None:
    text = f"{'x ' * (LONGEST // 2)}"[offset:] + form.format(secret) + " and more" * 99
    assert secret[:8] not in redact(text)


@given(st.text(max_size=200))
def test_redacting_twice_changes_nothing_more(text: str) -> None:
    assert redact(redact(text)) == redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "exceeded quota: few, requested: count/secrets=1, used: count/secrets=3, limited: count/secrets=3",
        "Redis: the credentials are wrong or do not suffice (NOAUTH); check user and password in the Redis URL",
        'spec.tokens.delivery: Unsupported value: "Sometimes"',
        "the Secret rk-tokens-7f3a is immutable, so it cannot get new tokens; delete it",
        "ERR AUTH <password> called without any password configured for the default user",
        "no answer from LiveKit (ClientConnectorError) at ws://livekit:7880",
    ],
)
def test_what_is_no_secret_stays_readable(text: str) -> None:
    assert redact(text) == text
