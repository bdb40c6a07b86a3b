"""The first line of the log of a replica."""

from __future__ import annotations

from pydantic import SecretStr
from structlog.testing import capture_logs

from controller.app.start import tell_of_start
from controller.settings import Settings
from controller.version import VERSION

SECRET, PASSWORD = "a-secret-of-more-than-thirty-two-characters", "pass-of-redis"


def test_the_line_says_what_starts_where_and_with_which_settings_and_holds_no_secret() -> None:
    settings = Settings(
        livekit_url="ws://livekit:7880",
        livekit_api_key="key",
        livekit_api_secret=SecretStr(SECRET),
        redis_url=f"rediss://roomkeeper:{PASSWORD}@redis:6380/2",
        cluster_id="eu",
        watch_namespaces="calls, more",
        poll_seconds=1.5,
    )
    with capture_logs() as lines:
        tell_of_start(settings, "https://10.0.0.1:6443")
    [line] = lines
    assert (line["version"], line["cluster"], line["namespaces"]) == (VERSION, "eu", "calls, more")
    assert (line["kubernetes"], line["livekit"]) == ("https://10.0.0.1:6443", "ws://livekit:7880")
    assert line["redis"] == "rediss://redis:6380/2"
    assert line["settings"] == {"livekit_api_key": "key", "poll_seconds": 1.5}
    assert SECRET not in str(line)
    assert PASSWORD not in str(line)


def test_without_a_choice_of_namespaces_it_says_all() -> None:
    settings = Settings(
        livekit_url="ws://l:1", livekit_api_key="key", livekit_api_secret=SecretStr(SECRET), redis_url="redis://r:1"
    )
    with capture_logs() as lines:
        tell_of_start(settings, "https://10.0.0.1")
    assert (lines[0]["namespaces"], lines[0]["redis"]) == ("all", "redis://r:1")
