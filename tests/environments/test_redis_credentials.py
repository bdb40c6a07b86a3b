"""Users and passwords of Redis: every sign that they may have, and a Secret that changes while the operator runs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import redis.asyncio as redis_py

from controller.clients.redis.client import Redis
from controller.errors import BackendUnavailable, Forbidden
from controller.settings import FILE_FIELDS, load_settings, variable
from controller.settings.redis_address import fixed_address
from controller.settings.redis_source import RedisSource
from controller.telemetry.logs import also_blank
from tests.redis.servers import Server, programs, running
from tests.settings.test_settings import GOOD
from tests.support.real_programs import MARKER

pytestmark = getattr(pytest.mark, MARKER)


@pytest.fixture(scope="module", params=sorted(programs()))
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with running(request.param) as started:
        yield started


@pytest.fixture
async def administrator(server: Server) -> AsyncIterator[redis_py.Redis]:
    """A client whose connection stays logged in; what a test changed is put back."""
    client = redis_py.Redis.from_url(server.url, single_connection_client=True)
    await client.ping()
    yield client
    await client.config_set("requirepass", "")
    await client.acl_deluser("ann", "bob")
    await client.aclose()


def source_of(file: Path, monkeypatch: pytest.MonkeyPatch) -> RedisSource:
    """The source of an operator whose URL of Redis is in this file."""
    for field in FILE_FIELDS:
        monkeypatch.delenv(variable(field), raising=False)
    needed = [field for field in FILE_FIELDS if field != "redis_url" and variable(field) in GOOD]
    flags: dict[str, Any] = {field: GOOD[variable(field)] for field in needed}
    return RedisSource(load_settings({**flags, "redis_url_file": str(file)}), also_blank)


@pytest.mark.parametrize(
    ("user", "password"),
    [
        ("ann", "p@ss:w/rd#%?& ü[1]"),
        ("ann", "s3:cr/et@%25+\\\"'{}|^`~<>\t\n"),
        ("room-keeper@x:1/ü", "hunter2"),
        ("ann", "日本語 🙂"),
        ("", "p@ss:w/rd#%?& ü[1]"),
    ],
)
async def test_every_sign_may_be_in_a_user_and_a_password(
    server: Server, administrator: redis_py.Redis, user: str, password: str
) -> None:
    if user:
        await administrator.acl_setuser(
            user, enabled=True, passwords=[f"+{password}"], keys=["*"], categories=["+@all"]
        )
    else:
        await administrator.config_set("requirepass", password)
    encoded = f"{quote(user, safe='')}:{quote(password, safe='')}"
    client = Redis(fixed_address(f"unix://{encoded}@{server.socket}?db=3"))
    wrong = Redis(fixed_address(f"unix://{encoded}x@{server.socket}?db=3"))
    try:
        await client.put("key", "value")
        assert await client.text("key") == "value"
        with pytest.raises(Forbidden, match=r"the credentials are wrong .*WRONGPASS") as caught:
            await wrong.ping()
        assert password not in str(caught.value)
    finally:
        await client.close()
        await wrong.close()
        if user:
            await administrator.acl_deluser(user)


async def test_a_changed_password_is_survived_once_the_secret_has_it(
    server: Server, administrator: redis_py.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "url"
    await administrator.config_set("requirepass", "old")
    file.write_text(f"unix://:old@{server.socket}")
    client = Redis(source_of(file, monkeypatch))
    await client.ping()
    await administrator.config_set("requirepass", "new")
    await client.ping()  # Redis lets those who are logged in stay
    await administrator.client_kill_filter(_type="normal", skipme=True)
    with pytest.raises(Forbidden, match="WRONGPASS"):
        await client.ping()
    file.write_text(f"unix://:new@{server.socket}")
    await client.ping()
    await client.close()


async def test_a_password_that_a_server_without_one_gets_is_survived(
    server: Server, administrator: redis_py.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "url"
    file.write_text(f"unix://{server.socket}")
    client = Redis(source_of(file, monkeypatch))
    await administrator.config_set("requirepass", "new")
    with pytest.raises(Forbidden, match="NOAUTH"):
        await client.ping()
    file.write_text(f"unix://:new@{server.socket}")
    await client.ping()
    await client.close()


async def test_another_user_in_the_secret_takes_over_when_the_first_one_is_deleted(
    server: Server, administrator: redis_py.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "url"
    for user in ("ann", "bob"):
        await administrator.acl_setuser(user, enabled=True, passwords=[f"+{user}-s"], keys=["*"], categories=["+@all"])
    file.write_text(f"unix://ann:ann-s@{server.socket}")
    client = Redis(source_of(file, monkeypatch))
    await client.put("key", "value")
    file.write_text(f"unix://bob:bob-s@{server.socket}")
    await administrator.acl_deluser("ann")
    assert await client.text("key") == "value"
    await client.close()


@pytest.mark.parametrize("text", ["", "nonsense", "unix://:new@/nowhere\n", "redis://one,two"])
async def test_a_secret_that_cannot_be_used_changes_nothing(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    file = tmp_path / "url"
    file.write_text(f"unix://{server.socket}")
    source = source_of(file, monkeypatch)
    client = Redis(source)
    await client.ping()
    file.write_text(text)
    await client.close()
    await client.ping()
    file.unlink()
    await client.close()
    await client.ping()
    await client.close()
    assert "the URL from before stays in use" in capsys.readouterr().out


async def test_a_server_that_takes_no_further_connection_says_so_and_is_asked_again(
    server: Server, administrator: redis_py.Redis
) -> None:
    await administrator.config_set("maxclients", 1)
    client = Redis.from_url(server.url)
    try:
        # Redis says so and closes at once: what it said may be lost on the way.
        with pytest.raises(
            BackendUnavailable, match=r"(takes no further connection;|no connection left,) raise maxclients"
        ):
            await client.ping()
        await administrator.config_set("maxclients", 100)
        await client.ping()
    finally:
        await administrator.config_set("maxclients", 100)
        await client.close()
