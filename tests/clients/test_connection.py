"""Credentials that are replaced while the operator runs: read again when they are refused, and before they expire."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import kopf
import pytest
import yaml
from aiohttp import web
from structlog.testing import capture_logs

from controller.clients import connection as module
from controller.clients.availability import REFUSES
from controller.clients.connection import Credentials, KubernetesConnection, connected, read_credentials
from controller.clients.kubernetes import KubernetesClient, Resource
from controller.clock import ServerClock
from controller.errors import BackendUnavailable, Forbidden, SettingsError
from controller.telemetry.health import Health
from controller.telemetry.pulse import LoopName, Pulse, Pulses
from tests import virtual_time
from tests.support.certificates import Authority, Signed
from tests.virtual_time import VirtualTime

MATCHES = Resource("roomkeeper.dev", "v1alpha1", "matches")


class Api:
    """An API server that knows one token, or the common name of a client certificate."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.refused = 0
        self.names: list[str] = []

    async def __call__(self, request: web.Request) -> web.Response:
        """Answer one request."""
        certificate: Any = request.get_extra_info("peercert")
        if certificate:
            self.names.append(dict(pair[0] for pair in certificate["subject"])["commonName"])
        if not certificate and request.headers.get("Authorization") != f"Bearer {self.token}":
            self.refused += 1
            return web.json_response({"kind": "Status", "reason": "Unauthorized"}, status=401)
        return web.json_response({"kind": "Match", "metadata": {"resourceVersion": "7"}})


@asynccontextmanager
async def served(api: Api, context: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """The address of the server."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", api.__call__)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        host, port = runner.addresses[0][:2]
        yield f"{'https' if context else 'http'}://{host}:{port}"
    finally:
        await runner.cleanup()


def written(path: Path, server: str, user: dict[str, Any], **cluster: Any) -> Path:
    """A kubeconfig with one context."""
    document = {
        "clusters": [{"name": "c", "cluster": {"server": server, **cluster}}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "calls", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "calls",
    }
    path.write_text(yaml.safe_dump(document))
    return path


def plugin(directory: Path) -> dict[str, Any]:
    """A user whose plugin prints the token in the file `token`, and writes a line into `runs` each time."""
    script = directory / "plugin.py"
    script.write_text(
        "import json, pathlib\n"
        f"home = pathlib.Path({str(directory)!r})\n"
        "with (home / 'runs').open('a') as runs:\n"
        "    runs.write('once\\n')\n"
        "print(json.dumps({'kind': 'ExecCredential', 'status': {'token': (home / 'token').read_text()}}))\n"
    )
    command = {"command": sys.executable, "args": [str(script)]}
    return {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "interactiveMode": "Never", **command}}


async def get(client: KubernetesClient) -> object:
    """Any request."""
    return await client.get(MATCHES, "calls", "m")


@pytest.mark.parametrize("kind", ["tokenFile", "exec"])
async def test_a_token_that_is_refused_is_read_again_and_the_request_is_repeated(tmp_path: Path, kind: str) -> None:
    token = tmp_path / "token"
    token.write_text("first")
    user = {"tokenFile": str(token)} if kind == "tokenFile" else plugin(tmp_path)
    api = Api("first")
    async with served(api) as url, connected(written(tmp_path / "config", url, user)) as connection:
        client, watching = KubernetesClient(connection, ServerClock()), connection.for_kopf(lambda: None)
        await get(client)
        token.write_text("second")
        api.token = "second"
        await asyncio.gather(*(get(client) for _ in range(20)))
        assert watching.aiohttp_session.headers["Authorization"] == "Bearer second"
        if kind == "exec":
            assert (tmp_path / "runs").read_text() == "once\n" * 2, "one run for all requests"
        await watching.aiohttp_session.close()


async def test_credentials_that_stay_wrong_are_not_read_with_every_request_and_are_said_by_readyz(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("old")
    api = Api("old")
    path = written(tmp_path / "config", "", plugin(tmp_path))
    async with served(api) as url, connected(written(path, url, plugin(tmp_path))) as connection:
        client, health = KubernetesClient(connection, ServerClock()), Health(Pulses(), connection.problem)
        health.synced()
        api.token = "another"
        for _ in range(5):
            with pytest.raises(Forbidden, match="does not accept the operator's credentials"):
                await get(client)
        assert (tmp_path / "runs").read_text() == "once\n" * 2
        assert (await health.readyz(request())).status == 200, "a moment is no problem"
        monkeypatch.setattr(module, "_REFUSED_SECONDS", 0.0)
        answer = await health.readyz(request())
        assert answer.status == 503
        assert answer.text == f"the API server has refused the credentials of the context calls of {path} for 0 s\n"
        api.token = "old"
        await get(client)
        assert (await health.readyz(request())).status == 200


def request() -> Any:
    """The request of a probe, which the answer does not depend on."""
    return None


async def test_credentials_that_cannot_be_read_again_are_named_once_and_the_old_ones_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PAUSE_SECONDS", 0.0)
    token = tmp_path / "token"
    token.write_text("first")
    api = Api("first")
    config = written(tmp_path / "config", "http://127.0.0.1:1", {"tokenFile": str(token)})
    async with served(api) as url, connected(written(config, url, {"tokenFile": str(token)})) as connection:
        client = KubernetesClient(connection, ServerClock())
        token.unlink()
        api.token = "second"
        with capture_logs() as logs:
            for _ in range(3):
                with pytest.raises(Forbidden):
                    await get(client)
        told = [(line["event"], line["why"]) for line in logs if line["log_level"] == "warning"]
        assert [line for line in told if line[0] != REFUSES] == [
            (
                "the credentials for Kubernetes cannot be read again; the old ones stay",
                f"the tokenFile {token} cannot be read: No such file or directory",
            )
        ]
        assert [event for event, _ in told].count(REFUSES) == 1
        token.write_text("second")
        await get(client)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def server_side(authority: Authority) -> ssl.SSLContext:
    """TLS that asks for a client certificate."""
    server = authority.sign("server")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(authority.certificate))
    context.load_cert_chain(server.certificate, server.key)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def put(signed: Signed, directory: Path) -> dict[str, str]:
    """Put a certificate where the kubeconfig says that it is."""
    shutil.copy(signed.certificate, directory / "me.crt")
    shutil.copy(signed.key, directory / "me.key")
    return {"client-certificate": "me.crt", "client-key": "me.key"}


async def test_a_client_certificate_that_is_replaced_is_used_at_the_next_reading(
    tmp_path: Path, authority: Authority, server_side: ssl.SSLContext
) -> None:
    user, api = put(authority.sign("first"), tmp_path), Api("")
    async with served(api, server_side) as url:
        config = written(tmp_path / "config", url, user, **{"certificate-authority": str(authority.certificate)})
        async with connected(config) as connection:
            client = KubernetesClient(connection, ServerClock())
            await get(client)
            put(authority.sign("second"), tmp_path)
            assert await connection.renew(connection.credentials)
            await get(client)
    assert api.names == ["first", "second"]


async def test_an_authority_that_is_replaced_is_read_when_the_server_is_no_longer_trusted(
    tmp_path: Path, authority: Authority, server_side: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PAUSE_SECONDS", 0.0)
    trusted = tmp_path / "ca.crt"
    shutil.copy(Authority(tmp_path / "another").certificate, trusted)
    user, api = put(authority.sign("me"), tmp_path), Api("")
    async with served(api, server_side) as url:
        config = written(tmp_path / "config", url, user, **{"certificate-authority": "ca.crt"})
        async with connected(config) as connection:
            client = KubernetesClient(connection, ServerClock())
            with pytest.raises(BackendUnavailable, match="the certificate of the API server is not trusted"):
                await get(client)
            shutil.copy(authority.certificate, trusted)
            await get(client)


async def test_a_certificate_that_cannot_be_used_is_said_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "me.crt").write_text("nonsense")
    (tmp_path / "me.key").write_text("nonsense")
    user = {"client-certificate": "me.crt", "client-key": "me.key"}
    with pytest.raises(SettingsError, match=r"a certificate or key of the context calls of .*config cannot be used: "):
        async with connected(written(tmp_path / "config", "https://127.0.0.1:1", user)):
            pass


@pytest.fixture
def without_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """In virtual time nothing can be waited for that another thread does."""

    async def to_thread(function: Any) -> Any:
        return function()

    monkeypatch.setattr(asyncio, "to_thread", to_thread)


def test_a_plugin_is_asked_again_before_its_credentials_expire_and_files_each_minute(without_threads: None) -> None:
    async def main(time: VirtualTime) -> tuple[list[float], list[float]]:
        async def read_at(seconds: float, lifetime_seconds: float | None) -> list[float]:
            readings: list[float] = []

            def read() -> Credentials:
                readings.append(time.seconds)
                has_plugin = lifetime_seconds is not None
                expires_at = time.now() + timedelta(seconds=lifetime_seconds or 0) if has_plugin else None
                info = kopf.ConnectionInfo(server="http://127.0.0.1:1", token=str(time.seconds))
                return Credentials(info, "a test", has_plugin=has_plugin, expires_at=expires_at)

            connection, began = KubernetesConnection(read(), read), time.seconds
            pulse = Pulse(LoopName.CREDENTIALS, 60)
            keeping = asyncio.create_task(connection.keep_current(pulse, time))
            await asyncio.sleep(seconds)
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
            await connection.close()
            return [reading - began for reading in readings]

        return await read_at(2000, 900), await read_at(200, None)

    by_plugin, by_file = virtual_time.run(main)
    assert by_plugin == [0, 720, 1440]
    assert by_file == [0, 60, 120, 180]


def test_in_a_pod_the_files_of_the_service_account_are_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("first")

    def of_the_pod(**_: Any) -> kopf.ConnectionInfo:
        return kopf.ConnectionInfo(server="https://kubernetes.default.svc", token=token.read_text())

    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setattr(kopf, "login_with_service_account", of_the_pod)
    first = read_credentials()
    assert (first.info.token, first.where) == ("first", "the ServiceAccount of the pod")
    token.write_text("second")
    assert not read_credentials().same_as(first)
