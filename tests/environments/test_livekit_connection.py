"""How the operator reaches LiveKit: over TLS with a CA of one's own, below a path, slowly, and with failures."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

from controller.clients.certificates import TlsCode
from controller.clients.livekit import LiveKitClient
from controller.clients.livekit_tls import Certificates
from controller.clock import ServerClock
from controller.errors import BackendUnavailable
from controller.settings.redis_address import TlsOptions
from sandbox.endpoints import Endpoints
from sandbox.ports import PortLocks
from tests import manifests
from tests.support.certificates import Authority, Signed
from tests.support.kube import condition, is_true
from tests.support.livekit_proxy import Failure, LiveKitProxy
from tests.support.rig import Rig
from tests.support.tls_proxy import TlsProxy
from tests.support.waiting import eventually


def _port(where: Endpoints) -> int:
    port = urlsplit(where.livekit_url).port
    assert port is not None
    return port


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """A CA that no system trusts."""
    return Authority(tmp_path / "ours")


@asynccontextmanager
async def _client(
    where: Endpoints, port: int, ca: Path | None = None, own: Signed | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[LiveKitClient]:
    files = TlsOptions(
        ca_file=str(ca or ""), cert_file=str(own.certificate) if own else "", key_file=str(own.key) if own else ""
    )
    async with aiohttp.ClientSession() as http:
        yield LiveKitClient(
            *(http, f"https://{host}:{port}", where.livekit_api_key, where.livekit_api_secret, ServerClock()),
            certificates=Certificates(files),
        )


async def _refusal(client: LiveKitClient) -> BackendUnavailable:
    with pytest.raises(BackendUnavailable) as caught:
        await client.list_rooms()
    return caught.value


async def test_a_certificate_that_is_wrong_is_said_and_which_setting_would_be_right(
    where: Endpoints, authority: Authority, tmp_path: Path
) -> None:
    other = Authority(tmp_path / "other")
    with TlsProxy(_port(where), authority.sign("server")) as there:
        async with _client(where, there.port, authority.certificate) as client:
            await client.list_rooms()
        for ca in (None, other.certificate):
            async with _client(where, there.port, ca) as client:
                error = await _refusal(client)
            assert error.code == TlsCode.NOT_TRUSTED
            assert error.sentence.startswith("LiveKit: its certificate is not trusted; give the CA that signed it")
            assert error.sentence.endswith("; see ROOMKEEPER_LIVEKIT_CA_FILE")
    with TlsProxy(_port(where), authority.sign("old", days=-1)) as there:
        async with _client(where, there.port, authority.certificate) as client:
            assert "LiveKit: its certificate has expired; renew it" in (await _refusal(client)).sentence
    with TlsProxy(_port(where), authority.sign("elsewhere", for_names="DNS:livekit.example")) as there:
        async with _client(where, there.port, authority.certificate) as client:
            assert "its certificate is for another host name" in (await _refusal(client)).sentence
    async with _client(where, _port(where), authority.certificate) as client:
        assert "the server speaks no TLS on this port" in (await _refusal(client)).sentence


async def test_a_client_certificate_that_is_missing_or_refused_is_said_and_a_new_one_on_disk_is_taken(
    where: Endpoints, authority: Authority, tmp_path: Path
) -> None:
    own = Signed(tmp_path / "client.crt", tmp_path / "client.key")

    def put(signed: Signed) -> None:
        shutil.copy(signed.certificate, own.certificate)
        shutil.copy(signed.key, own.key)

    with TlsProxy(_port(where), authority.sign("server"), clients=authority.certificate, newest=False) as there:
        async with _client(where, there.port, authority.certificate) as client:
            error = await _refusal(client)
            assert error.code == TlsCode.OURS_MISSING
            assert error.sentence.endswith("see ROOMKEEPER_LIVEKIT_CERT_FILE and ROOMKEEPER_LIVEKIT_KEY_FILE")
        put(Authority(tmp_path / "other").sign("stranger"))
        async with _client(where, there.port, authority.certificate, own) as client:
            assert (await _refusal(client)).code == TlsCode.OURS_REFUSED
            put(authority.sign("client"))

            async def is_taken() -> None:
                try:
                    await client.list_rooms()
                except BackendUnavailable as error:
                    raise AssertionError(error.sentence) from None

            await eventually(is_taken)


async def test_a_call_over_tls_with_certificates_of_ones_own(rig: Rig, authority: Authority) -> None:
    own = authority.sign("operator")
    with TlsProxy(_port(rig.where), authority.sign("server"), clients=authority.certificate) as there:
        await rig.operators.start(
            livekit_url=f"wss://localhost:{there.port}/",
            livekit_public_url=rig.where.livekit_url,
            livekit_ca_file=str(authority.certificate),
            livekit_cert_file=str(own.certificate),
            livekit_key_file=str(own.key),
        )
        await rig.active()
        await rig.delete()


async def test_a_slow_livekit_works_within_the_timeout_and_the_sentence_names_it(rig: Rig, ports: PortLocks) -> None:
    async with LiveKitProxy(rig.where.livekit_http_url, ports.take(), path="/calls/livekit") as proxy:
        public = {"livekit_public_url": rig.where.livekit_url}
        operator = await rig.operators.start(livekit_url=f"{proxy.url}/", **public)
        proxy.delay_seconds = 3.0
        await rig.ready("a", "b", name="three", timeouts={"readySeconds": 60})
        proxy.delay_seconds = 5.0
        await rig.kube.create(manifests.match("c", "d", name="five", timeouts={"readySeconds": 120}))
        slow = await rig.kube.match_until(lambda match: is_true(match, "Degraded"), "five", 30)
        assert condition(slow, "Degraded").message.startswith(
            "LiveKit: no answer within 4 s; check that LiveKit runs and that its URL is right, or, if it is only slow, "
            "raise ROOMKEEPER_LIVEKIT_TIMEOUT_SECONDS"
        )
        await operator.end()
        operator.environment["ROOMKEEPER_LIVEKIT_TIMEOUT_SECONDS"] = "6"
        await operator.start()
        await rig.kube.match_until(lambda match: is_true(match, "Ready"), "five", 60)
        proxy.delay_seconds = 0.0
        for name in ("three", "five"):
            await rig.delete(name)
        await operator.end()


async def test_a_livekit_that_fails_now_and_then_costs_no_match(rig: Rig, ports: PortLocks) -> None:
    count = 30
    failing = LiveKitProxy(rig.where.livekit_http_url, ports.take(), share=0.1, failures=tuple(Failure))
    async with failing as proxy:
        operator = await rig.operators.start(livekit_url=proxy.url, livekit_public_url=rig.where.livekit_url)
        names = [f"m{number}" for number in range(count)]
        await asyncio.gather(*(rig.ready(f"{name}-a", f"{name}-b", name=name) for name in names))
        await asyncio.gather(*(rig.delete(name) for name in names))

        async def no_room_is_left() -> None:
            assert await rig.livekit_rooms() == {}

        await eventually(no_room_is_left)
        await operator.end()
    assert sum(proxy.refused.values()) > 0
