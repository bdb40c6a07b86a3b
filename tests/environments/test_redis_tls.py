"""Redis over TLS: a private CA, client certificates, names, and the sentence of every handshake that fails.

The server is Valkey behind a proxy that ends TLS, and redis-server itself where the one on PATH has TLS.
"""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from controller.clients.certificates import TlsCode
from controller.clients.redis.client import Redis
from controller.errors import BackendError, BackendUnavailable
from controller.settings.redis_address import fixed_address
from sandbox.launch import launched
from sandbox.source import ROOT
from tests import manifests
from tests.redis.servers import Server, running
from tests.support.certificates import Authority, Signed
from tests.support.kube import condition, is_true
from tests.support.real_programs import MARKER
from tests.support.rig import Rig
from tests.support.tls_proxy import TlsProxy
from tests.support.waiting import eventually

pytestmark = getattr(pytest.mark, MARKER)


def _real_redis() -> str:
    """The redis-server on PATH, if it was built with TLS: only then it knows the options of TLS."""
    program = shutil.which("redis-server")
    if program is None:
        return ""
    nowhere = ("--port", "0", "--unixsocket", "/nowhere/redis.sock", "--tls-auth-clients", "no")
    done = subprocess.run((program, *nowhere), capture_output=True, text=True, check=False)
    return "" if "Bad directive" in done.stderr + done.stdout else program


@dataclass(frozen=True)
class Authorities:
    """A CA of the servers, and another one that no server knows."""

    ours: Authority
    other: Authority
    folder: Path


@dataclass(frozen=True)
class Listening:
    """A server with TLS; `plain` is its port without TLS."""

    port: int
    plain: int

    def url(self, parameters: str = "", *, host: str = "127.0.0.1", scheme: str = "rediss") -> str:
        """The URL, with parameters."""
        return f"{scheme}://{host}:{self.port}/0?{parameters}".rstrip("?")


Listen = Callable[..., AbstractAsyncContextManager[Listening]]


@pytest.fixture(scope="module")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> Authorities:
    folder = tmp_path_factory.mktemp("certificates")
    return Authorities(Authority(folder / "ours"), Authority(folder / "other"), folder)


@pytest.fixture(scope="module")
def valkey() -> Iterator[Server]:
    with running("valkey") as server:
        yield server


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture(params=["proxy 1.3", "proxy 1.2", *(["redis"] if _real_redis() else [])])
def listen(request: pytest.FixtureRequest, valkey: Server, authorities: Authorities) -> Listen:
    """Starts a server that shows this certificate, and asks clients for one of the CA `clients`."""

    @asynccontextmanager
    async def proxy(own: Signed, clients: Path | None = None) -> AsyncIterator[Listening]:
        with TlsProxy(valkey.socket, own, clients=clients, newest=request.param.endswith("1.3")) as tls:
            yield Listening(tls.port, 0)

    @asynccontextmanager
    async def redis(own: Signed, clients: Path | None = None) -> AsyncIterator[Listening]:
        there = Listening(_free_port(), _free_port())
        words = (
            *(_real_redis(), "--port", str(there.plain), "--tls-port", str(there.port), "--bind", "127.0.0.1"),
            *("--tls-cert-file", str(own.certificate), "--tls-key-file", str(own.key)),
            *("--tls-ca-cert-file", str(clients or authorities.ours.certificate)),
            *("--tls-auth-clients", "yes" if clients else "no", "--save", "", "--appendonly", "no"),
        )
        with tempfile.TemporaryDirectory(prefix="rk-") as folder:
            process = await asyncio.create_subprocess_exec(
                *launched([*words, "--dir", folder]), cwd=ROOT, stdout=subprocess.DEVNULL
            )
            try:
                await eventually(lambda: _is_up(there.plain))
                yield there
            finally:
                process.kill()
                await process.wait()

    return redis if request.param == "redis" else proxy


async def _is_up(port: int) -> None:
    try:
        await answer(f"redis://127.0.0.1:{port}")
    except BackendError as error:
        raise AssertionError(error.sentence) from error


async def answer(url: str) -> None:
    """Ask once; raise what the client raises."""
    client = Redis(fixed_address(url))
    try:
        await client.ping()
    finally:
        await client.close()


async def refusal(url: str) -> BackendError:
    """The error of the client."""
    with pytest.raises(BackendUnavailable) as caught:
        await answer(url)
    return caught.value


async def test_a_private_ca(listen: Listen, authorities: Authorities) -> None:
    async with listen(authorities.ours.sign("server")) as there:
        await answer(there.url(f"ssl_ca_certs={authorities.ours.certificate}"))
        for parameters in ("", f"ssl_ca_certs={authorities.other.certificate}"):
            error = await refusal(there.url(parameters))
            assert error.code == TlsCode.NOT_TRUSTED
            assert "its certificate is not trusted; give the CA that signed it as a CA file (" in error.sentence
        await answer(there.url("ssl_cert_reqs=none"))


async def test_a_client_certificate(listen: Listen, authorities: Authorities) -> None:
    ours, other = authorities.ours.sign("client"), authorities.other.sign("client")
    trusted = f"ssl_ca_certs={authorities.ours.certificate}"
    async with listen(authorities.ours.sign("server"), authorities.ours.certificate) as there:
        await answer(there.url(f"{trusted}&ssl_certfile={ours.certificate}&ssl_keyfile={ours.key}"))

        async def is_missed() -> None:
            # In TLS 1.3 our first command may cross the server's alert, which is lost with the connection then.
            error = await refusal(there.url(trusted))
            assert error.code == TlsCode.OURS_MISSING
            assert "client certificate" in error.sentence

        async def is_refused() -> None:
            error = await refusal(there.url(f"{trusted}&ssl_certfile={other.certificate}&ssl_keyfile={other.key}"))
            assert error.code == TlsCode.OURS_REFUSED
            assert "it does not trust the CA of our client certificate" in error.sentence

        await eventually(is_missed)
        await eventually(is_refused)


async def test_a_certificate_for_another_host(listen: Listen, authorities: Authorities) -> None:
    trusted = f"ssl_ca_certs={authorities.ours.certificate}"
    async with listen(authorities.ours.sign("elsewhere", for_names="DNS:redis.example")) as there:
        for host in ("127.0.0.1", "localhost"):
            error = await refusal(there.url(trusted, host=host))
            assert error.code == TlsCode.HOST_NAME
            assert "its certificate is for another host name than that of the URL" in error.sentence
        await answer(there.url(f"{trusted}&ssl_check_hostname=false"))


async def test_a_certificate_that_has_expired(listen: Listen, authorities: Authorities) -> None:
    trusted = f"ssl_ca_certs={authorities.ours.certificate}"
    async with listen(authorities.ours.sign("old", days=-1)) as there:
        error = await refusal(there.url(trusted))
        assert error.code == TlsCode.EXPIRED
        assert "its certificate has expired; renew it" in error.sentence
        await answer(there.url("ssl_cert_reqs=none"))


async def test_certificates_that_are_replaced_on_disk_count_from_the_next_connection_on(
    valkey: Server, authorities: Authorities, tmp_path: Path
) -> None:
    ours, other = authorities.ours, authorities.other
    trusted, certificate, key = tmp_path / "ca.crt", tmp_path / "client.crt", tmp_path / "client.key"
    strange = other.sign("strange")
    with TlsProxy(valkey.socket, ours.sign("server"), clients=ours.certificate, newest=False) as there:
        for source, to in ((other.certificate, trusted), (strange.certificate, certificate), (strange.key, key)):
            shutil.copy(source, to)
        files = f"ssl_ca_certs={trusted}&ssl_certfile={certificate}&ssl_keyfile={key}"
        client = Redis(fixed_address(f"rediss://127.0.0.1:{there.port}?{files}"))
        with pytest.raises(BackendUnavailable, match="its certificate is not trusted"):
            await client.ping()
        shutil.copy(ours.certificate, trusted)
        with pytest.raises(BackendUnavailable, match="it does not trust the CA of our client certificate"):
            await client.ping()
        renewed = ours.sign("renewed")
        shutil.copy(renewed.certificate, certificate)
        shutil.copy(renewed.key, key)
        await client.ping()
        # A file that is gone hurts no connection that is open; the next one says which it is.
        trusted.unlink()
        await client.ping()
        there.cut()
        with pytest.raises(BackendUnavailable, match=f"names a file, {trusted}, which does not exist"):
            await client.ping()
        shutil.copy(ours.certificate, trusted)
        await client.ping()
        await client.close()


async def test_the_operator_says_what_is_wrong_with_the_certificate_and_works_with_the_right_ca(
    rig: Rig, authorities: Authorities
) -> None:
    port = int(rig.where.redis_url.rpartition(":")[2].partition("/")[0])
    with TlsProxy(port, authorities.ours.sign("server")) as there:
        url = rig.where.operator_env["ROOMKEEPER_REDIS_URL"].replace("redis://", "rediss://")
        url = url.replace(f":{port}/", f":{there.port}/")
        operator = await rig.operators.start(redis_url=url)
        await rig.kube.create(manifests.match())
        words = "Redis: its certificate is not trusted; give the CA that signed it as a CA file"

        async def is_degraded() -> None:
            found = condition(await rig.kube.match(), "Degraded")
            assert (found.status, found.message[: len(words)]) == ("True", words)

        await eventually(is_degraded)
        assert "its certificate is not trusted" in operator.log
        await operator.end()
        operator = await rig.operators.start(redis_url=url, redis_ca_file=str(authorities.ours.certificate))
        await rig.enqueue("alice", "bob")
        await rig.kube.match_until(lambda match: is_true(match, "Ready"))
        await operator.end()
    await rig.operators.start()


async def test_a_url_without_tls_for_a_port_with_tls(listen: Listen, authorities: Authorities) -> None:
    async with listen(authorities.ours.sign("server")) as there:
        error = await refusal(there.url(scheme="redis"))
        assert "TLS" in error.sentence


async def test_a_url_with_tls_for_a_port_without_tls(listen: Listen, authorities: Authorities) -> None:
    async with listen(authorities.ours.sign("server")) as there:
        if there.plain:
            error = await refusal(f"rediss://127.0.0.1:{there.plain}")
            assert "TLS" in error.sentence
