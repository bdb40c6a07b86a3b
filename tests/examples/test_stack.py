"""The example matchmaker on the whole stack: as processes, with only the rights of its own manifest."""

from __future__ import annotations

import asyncio
import base64
import json
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import yaml
from aiohttp import web

from controller.api.match import Match
from controller.api.names import token_secret_name
from examples.matchmaker.pairing import match_name
from sandbox.endpoints import kubeconfig_text
from sandbox.source import ROOT
from tests import manifests
from tests.examples.support import Body, Process
from tests.support.kube import is_true
from tests.support.rig import Rig
from tests.support.waiting import eventually

MANIFEST = ROOT / "examples" / "matchmaker" / "deployment.yaml"


@pytest.fixture
def manifest(rig: Rig) -> str:
    """The text of deployment.yaml for the test's namespace."""
    return MANIFEST.read_text(encoding="utf-8").replace("calls", rig.kube.namespace)


@pytest.fixture
async def kubeconfig(rig: Rig, manifest: str, tmp_path: Path) -> Path:
    """A kubeconfig with the rights of the ServiceAccount of deployment.yaml."""
    await rig.kube.ask("apply", "-f", "-", input=manifest)
    token = (await rig.kube.ask("create", "token", "matchmaker")).strip()
    return write_kubeconfig(tmp_path / "kubeconfig", rig, rig.where.server, token)


def write_kubeconfig(path: Path, rig: Rig, server: str, token: str) -> Path:
    ca = base64.b64encode(rig.where.ca.encode()).decode()
    path.write_text(kubeconfig_text(server=server, ca_base64=ca, user="matchmaker", token=token))
    return path


@pytest.fixture
def start(rig: Rig, manifest: str, kubeconfig: Path, tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """A function that starts a matchmaker with the arguments of deployment.yaml. The fixture stops them all."""
    *_, deployment = yaml.safe_load_all(manifest)
    arguments = deployment["spec"]["template"]["spec"]["containers"][0]["args"]
    started: list[Process] = []

    def one(*more: str, module: str = "examples.matchmaker", config: Path = kubeconfig) -> Process:
        started.append(
            Process(
                module,
                [*arguments, "--cluster-id", rig.where.cluster_id, *more],
                {"REDIS_URL": rig.where.redis_url, "KUBECONFIG": str(config)},
                tmp_path / f"process-{len(started)}.log",
            )
        )
        return started[-1]

    yield one
    for process in started:
        process.end(signal.SIGKILL)


async def ready_matches(rig: Rig, count: int) -> list[Match]:
    """Wait until there are `count` Matches and all are Ready; return them."""

    async def are_ready() -> list[Match]:
        matches = [Match.model_validate(body) for body in await rig.kube.list("Match")]
        assert [is_true(match, "Ready") for match in matches] == [True] * count
        return matches

    return await eventually(are_ready)


async def pairs(rig: Rig) -> list[set[str]]:
    """Return the pairs of all Matches, those that are over included."""
    return [set(Match.model_validate(body).spec.identities) for body in await rig.kube.list("Match")]


async def meets(rig: Rig, who: str) -> set[str]:
    """Wait for the first pair with this user; return it."""

    async def is_paired() -> set[str]:
        found = [pair for pair in await pairs(rig) if who in pair]
        assert len(found) == 1, f"{who} is in {found}"
        return found[0]

    return await eventually(is_paired)


async def told(process: Process, what: str, times: int = 1) -> None:
    """Wait until the process has logged this."""

    async def is_told() -> None:
        assert process.log.count(what) == times, process.log
        assert process.running or process.wait() == 0, process.log

    await eventually(is_told)


async def test_two_matchmakers_at_once_give_every_user_one_match_and_a_token(
    rig: Rig, start: Callable[..., Process]
) -> None:
    people = [f"user-{number}" for number in range(10)]
    matchmakers = [start("--interval", "0.05") for _ in range(2)]
    for one in matchmakers:
        await told(one, "ready")
    gateway = start(*people, module="examples.matchmaker.gateway")
    matches = await ready_matches(rig, 5)
    assert sorted(identity for match in matches for identity in match.spec.identities) == people
    assert {match.spec.admission for match in matches} == {"Queued"}

    # As docs/redis.md tells gateways: HGET tokens:<uid> <id>.
    for match in matches:
        for identity in match.spec.identities:
            assert (await rig.user(identity)).match == match.metadata.uid
            text = await rig.redis.hget(rig.keys.tokens(match.metadata.uid), identity)
            assert text is not None
            entry = json.loads(text)
            assert (entry["url"], entry["room"]) == (rig.where.livekit_url, await rig.livekit_name(match))
        assert await rig.kube.get("Secret", token_secret_name(match.metadata.uid)) is None
    await told(gateway, "may join rk-", times=10)
    assert entry["token"] not in gateway.log
    joined = await rig.people(identity, entry["token"], entry["url"]).join()
    assert joined["identity"] == identity

    assert gateway.end(signal.SIGINT) == 0, gateway.log
    for one in matchmakers:
        assert one.end() == 0, one.log
        assert "stopped" in one.log
        assert "WARNING" not in one.log
    assert len(await rig.kube.list("Match")) == 5


class HeldAtCreate:
    """An API server that knows no Match, and never answers a request to create one."""

    def __init__(self) -> None:
        self.asked: asyncio.Future[Body] = asyncio.get_running_loop().create_future()
        self.over = asyncio.Event()

    async def list(self, request: web.Request) -> web.StreamResponse:
        if "watch" not in request.query:
            return web.json_response({"metadata": {"resourceVersion": "1"}, "items": []})
        answer = web.StreamResponse()
        await answer.prepare(request)
        await self.over.wait()
        return answer

    async def create(self, request: web.Request) -> web.StreamResponse:
        self.asked.set_result(await request.json())
        await self.over.wait()
        return web.Response(status=503)


@pytest.fixture
async def held(rig: Rig, tmp_path: Path) -> AsyncIterator[tuple[HeldAtCreate, Path]]:
    """Serve it; give the block the server and a kubeconfig for it."""
    server = HeldAtCreate()
    app = web.Application()
    path = f"/apis/roomkeeper.dev/v1alpha1/namespaces/{rig.kube.namespace}/matches"
    app.add_routes([web.get(path, server.list), web.post(path, server.create)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0]
    yield server, write_kubeconfig(tmp_path / "held.kubeconfig", rig, f"http://{host}:{port}", "none")
    server.over.set()
    await runner.cleanup()


async def test_the_next_matchmaker_creates_what_a_killed_one_had_reserved(
    rig: Rig, start: Callable[..., Process], held: tuple[HeldAtCreate, Path]
) -> None:
    server, config = held
    places = await rig.enqueue("alice", "bob")
    first = start(config=config)
    async with asyncio.timeout(20):
        wanted = await server.asked
    first.end(signal.SIGKILL)
    name = wanted["metadata"]["name"]
    assert name == match_name(list(zip(("alice", "bob"), places, strict=True)))
    assert await rig.hash(rig.keys.reservations()) == {
        "alice": f"{places[0]} {name}",
        "bob": f"{places[1]} {name}",
    }
    assert await rig.kube.list("Match") == []

    second = start("--heal-after", "0.5", "--interval", "0.1")
    (match,) = await ready_matches(rig, 1)
    assert match.metadata.name == name
    assert sorted(match.spec.identities) == ["alice", "bob"]
    assert (await rig.user("alice")).queued_at_ms == places[0]
    await told(second, "1 finished for others")
    assert second.end() == 0
    assert len(await rig.kube.list("Match")) == 1


async def test_users_who_just_met_are_not_paired_again_while_others_wait(
    rig: Rig, start: Callable[..., Process]
) -> None:
    matchmaker = start("--interval", "0.1")
    await rig.enqueue("alice", "bob")
    (first,) = await ready_matches(rig, 1)
    await rig.enqueue("carol")
    await rig.kube.patch("Match", first.metadata.name, manifests.termination("Skip", "alice"))

    taken = await meets(rig, "carol")
    await rig.enqueue("dave")
    assert await meets(rig, "dave") == {"dave", "alice", "bob"} - taken
    assert len(await pairs(rig)) == 3, "alice and bob met twice"
    await told(matchmaker, f"{first.metadata.name} Skipped: alice skipped")
    assert matchmaker.end() == 0
    assert "'Skipped': 1" in matchmaker.log


async def test_a_dry_run_changes_nothing_and_once_is_one_tick(rig: Rig, start: Callable[..., Process]) -> None:
    places = await rig.enqueue("alice", "bob")
    dry = start("--dry-run")
    assert dry.wait() == 0, dry.log
    name = match_name(list(zip(("alice", "bob"), places, strict=True)))
    assert dry.log.split() == [name, "alice", "bob"]
    assert list(await rig.queue()) == ["alice", "bob"]
    assert await rig.kube.list("Match") == []

    once = start("--once", "--tokens", "Both")
    assert once.wait() == 0, once.log
    (match,) = await ready_matches(rig, 1)
    assert match.metadata.name == name
    assert set(await rig.tokens(match)) == {"alice", "bob"}


async def test_the_manifest_grants_what_is_needed_and_no_more(rig: Rig, kubeconfig: Path) -> None:
    account = f"--as=system:serviceaccount:{rig.kube.namespace}:matchmaker"
    for verb in ("create", "get", "list", "watch"):
        assert await rig.kube.ask("auth", "can-i", verb, "matches.roomkeeper.dev", account) == "yes\n"
    for verb, what in (
        ("delete", "matches.roomkeeper.dev"),
        ("patch", "matches.roomkeeper.dev"),
        ("update", "matches.roomkeeper.dev"),
        ("get", "secrets"),
        ("list", "pods"),
    ):
        assert await rig.kube.ask("auth", "can-i", verb, what, account, status=1) == "no\n"
