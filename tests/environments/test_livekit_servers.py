"""Several LiveKit servers: they come, change and go while the operator runs, and rooms are placed on them."""

from __future__ import annotations

import asyncio
import base64
import hmac
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jwt
import pytest

from controller.api.match import Match
from controller.api.names import room_name
from sandbox.endpoints import OPERATOR_ACCOUNT, OPERATOR_NAMESPACE, Endpoints
from sandbox.ports import PortLocks
from tests import manifests
from tests.environments.livekit_nodes import LiveKitNodes
from tests.support.certificates import Authority
from tests.support.date_proxy import DateProxy
from tests.support.kube import Body, Kube, condition, is_true
from tests.support.rig import Rig
from tests.support.tls_proxy import TlsProxy
from tests.support.waiting import eventually

_KEYS = {name: {f"key-of-{name}": f"the-secret-of-{name}-{name * 8}"} for name in ("eu-1", "us-1")}
_EU, _US = ({"serverSelector": {"matchLabels": {"region": region}}} for region in ("eu", "us"))


@pytest.fixture
async def nodes(bare: Endpoints, tmp_path: Path) -> AsyncIterator[dict[str, LiveKitNodes]]:
    """Two LiveKit servers beside that of the stack, each with a key of its own."""
    async with (
        LiveKitNodes(bare, tmp_path / "eu-1", keys=_KEYS["eu-1"]) as eu,
        LiveKitNodes(bare, tmp_path / "us-1", keys=_KEYS["us-1"]) as us,
    ):
        yield {"eu-1": eu, "us-1": us}


class Own:
    """The operator's own namespace: LiveKitServers, and the Secrets that they name."""

    def __init__(self, kube: Kube, nodes: dict[str, LiveKitNodes]) -> None:
        self.kube = kube
        self._nodes = nodes

    async def secret(self, name: str, keys: dict[str, str], **more: str) -> None:
        """Write the Secret of a server."""
        ((key, secret),) = keys.items()
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}}
        await self.kube.apply({**body, "stringData": {"apiKey": key, "apiSecret": secret, **more}})

    async def server(self, name: str, labels: dict[str, str] | None = None, **spec: Any) -> None:
        """Write a LiveKitServer with its Secret."""
        await self.secret(name, _KEYS[name])
        made = {"url": self._nodes[name].url, "credentialsSecretName": name, **spec}
        await self.kube.apply(
            {
                "apiVersion": "roomkeeper.dev/v1alpha1",
                "kind": "LiveKitServer",
                "metadata": {"name": name, "labels": labels or {}},
                "spec": made,
            }
        )

    async def release(self) -> None:
        """Take the finalizer off all servers, since no operator runs any longer."""
        for server in await self.kube.list("LiveKitServer"):
            await self.kube.patch("LiveKitServer", server["metadata"]["name"], {"metadata": {"finalizers": None}})

    async def patch(self, name: str, **spec: Any) -> None:
        """Change the spec of a LiveKitServer."""
        await self.kube.patch("LiveKitServer", name, {"spec": spec})

    async def ready(self, name: str, reason: str = "Answers") -> Body:
        """Wait until the condition Ready of a server has this reason; return the object."""
        return await eventually(partial(self._has_reason, name, reason))

    async def _has_reason(self, name: str, reason: str) -> Body:
        found = await self.kube.get("LiveKitServer", name)
        assert found is not None
        conditions = {one["type"]: one for one in found.get("status", {}).get("conditions", ())}
        assert conditions.get("Ready", {}).get("reason") == reason, conditions
        return found


_ROLE: Body = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "Role",
    "metadata": {"name": "livekit-credentials"},
    "rules": [{"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["eu-1", "us-1"], "verbs": ["get"]}],
}
_BINDING: Body = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "RoleBinding",
    "metadata": {"name": "livekit-credentials"},
    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "livekit-credentials"},
    "subjects": [{"kind": "ServiceAccount", "name": OPERATOR_ACCOUNT, "namespace": OPERATOR_NAMESPACE}],
}


@pytest.fixture
async def own(kube: Kube, nodes: dict[str, LiveKitNodes]) -> AsyncIterator[Own]:
    """The operator may read the Secrets of the two servers by their names. Everything is removed after the test."""
    own = Own(replace(kube, namespace=OPERATOR_NAMESPACE), nodes)
    await own.kube.apply(_ROLE, _BINDING)
    yield own
    await own.release()
    await own.kube.remove("livekitservers", "--all")
    leftovers = ("secret/eu-1", "secret/us-1", "role/livekit-credentials", "rolebinding/livekit-credentials")
    await own.kube.remove("--ignore-not-found", *leftovers)


async def _server_of(rig: Rig, match: Match) -> str:
    """The server that the status of the Match names; that of its Room names the same one."""
    assert match.status.room is not None
    server = match.status.room.server
    await rig.kube.room_until(lambda room: room.status.server == server, room_name(match.metadata.uid))
    return str(server)


async def test_rooms_are_placed_by_label_name_and_load_on_servers_that_come_and_go(
    own: Own, rig: Rig, nodes: dict[str, LiveKitNodes]
) -> None:
    await rig.operators.start()
    before, _ = await rig.active("alice", "bob", name="before")
    assert await _server_of(rig, before) == "default"

    await asyncio.gather(own.server("eu-1", {"region": "eu"}, maxRooms=6), own.server("us-1", {"region": "us"}))
    await asyncio.gather(own.ready("eu-1"), own.ready("us-1"))
    by_label, people = await rig.active("carol", "dave", name="by-label", placement=_US)
    assert (await _server_of(rig, by_label), by_label.status.room and by_label.status.room.url) == (
        "us-1",
        nodes["us-1"].url,
    )
    by_name = await rig.ready("erin", "frank", name="by-name", placement={"serverName": "eu-1"})
    assert await _server_of(rig, by_name) == "eu-1"

    many = [manifests.match(f"a-{n}", f"b-{n}", name=f"many-{n}", placement=_EU) for n in range(8)]
    await asyncio.gather(*(rig.kube.create(match) for match in many))
    await eventually(partial(_are_placed, rig, 5))
    refused = await rig.kube.match_until(
        lambda match: "is full" in condition(match, "RoomReady").message, await _unplaced(rig)
    )
    assert condition(refused, "RoomReady").message == (
        "LiveKit: no LiveKit server can take the room: default does not have the label region=eu; "
        "eu-1 is full (6 rooms, maxRooms is 6); us-1 does not have the label region=eu"
    )
    await own.patch("eu-1", maxRooms=0)
    await eventually(partial(_are_placed, rig, 8))

    await people[0].leave()  # the webhook is signed with the key of us-1
    await rig.kube.match_until(lambda match: is_true(match, "Finished"), "by-label")
    await own.patch("us-1", cordoned=True)
    standing = manifests.room("lobby", placement=_US)
    await rig.kube.create(standing)
    await rig.kube.room_until(lambda room: "us-1 is cordoned" in condition(room, "Ready").message, "lobby")
    await own.patch("us-1", cordoned=False)
    made = await rig.kube.room_until(lambda room: is_true(room, "Ready"), "lobby")
    assert made.status.server == "us-1"

    shown = await eventually(partial(_row, own, "us-1"))
    assert (shown["READY"], shown["REASON"], shown["VERSION"][:2]) == ("True", "Answers", "1.")
    assert (shown["ROOMS"].isdigit(), shown["LATENCY"].isdigit()) == (True, True)


async def _row(own: Own, name: str) -> dict[str, str]:
    """What `kubectl get lks` shows of a server, once all of it is known."""
    head, *rows = (await own.kube.ask("get", "lks", name, "-o", "wide")).splitlines()
    starts = [head.index(word) for word in head.split()]
    ends = [*starts[1:], None]
    row = {head[a:b].strip(): rows[0][a:b].strip() for a, b in zip(starts, ends, strict=True)}
    assert all((row["VERSION"], row["LATENCY"], row["ROOMS"])), row
    return row


async def _are_placed(rig: Rig, count: int) -> None:
    found = await rig.kube.list("Match")
    servers = Counter(
        match["status"]["room"]["server"]
        for match in found
        if match["metadata"]["name"].startswith("many-") and match.get("status", {}).get("room")
    )
    assert servers == {"eu-1": count}


async def _unplaced(rig: Rig) -> str:
    found = await rig.kube.list("Match")
    return next(
        str(match["metadata"]["name"])
        for match in found
        if match["metadata"]["name"].startswith("many-") and not match.get("status", {}).get("room")
    )


async def test_a_server_that_dies_gets_no_new_rooms_and_those_that_were_not_ready_move(
    own: Own, rig: Rig, nodes: dict[str, LiveKitNodes]
) -> None:
    await asyncio.gather(own.server("eu-1", {"region": "eu"}), own.server("us-1", {"region": "eu"}))
    await rig.operators.start()
    await asyncio.gather(own.ready("eu-1"), own.ready("us-1"))
    lasting = {"timeouts": {"reconnectSeconds": 300}, "room": {"departureTimeoutSeconds": 310}}
    await rig.active("alice", "bob", name="call", placement={"serverName": "eu-1"}, **lasting)

    await nodes["eu-1"].kill()
    many = [manifests.match(f"a-{n}", f"b-{n}", name=f"many-{n}", placement=_EU) for n in range(6)]
    await asyncio.gather(*(rig.kube.create(match) for match in many))
    for n in range(6):
        made = await rig.kube.match_until(lambda match: is_true(match, "Ready"), f"many-{n}")
        assert await _server_of(rig, made) == "us-1"
        assert {entry["url"] for entry in (await rig.tokens(made)).values()} == {nodes["us-1"].url}
        assert (await rig.user(f"a-{n}")).url == nodes["us-1"].url
    await own.ready("eu-1", "Unreachable")
    assert (await rig.kube.match("call")).status.end is None

    await nodes["eu-1"].start()
    await own.ready("eu-1")
    after = await rig.kube.match_until(lambda match: not is_true(match, "Degraded"), "call")
    assert (after.status.end, await _server_of(rig, after)) == (None, "eu-1")


async def test_credentials_are_replaced_without_a_restart_and_without_a_gap_and_a_wrong_order_harms_no_call(
    own: Own, rig: Rig, nodes: dict[str, LiveKitNodes]
) -> None:
    node, old, new = nodes["eu-1"], _KEYS["eu-1"], {"key-of-later": "the-secret-of-later-0123456789abcdef"}
    ((old_key, old_secret),) = old.items()
    await own.server("eu-1")
    operator = await rig.operators.start()
    await own.ready("eu-1")
    lasting = {"timeouts": {"reconnectSeconds": 300}, "room": {"departureTimeoutSeconds": 310}}
    call, inside = await rig.active("alice", "bob", name="call", placement={"serverName": "eu-1"}, **lasting)
    assert await _signers(rig, call) == set(old)

    await _restart(node, {**old, **new}, signs=old_key)
    await own.ready("eu-1")
    await own.secret("eu-1", new, oldApiKey=old_key, oldApiSecret=old_secret)
    renewed = await rig.kube.match_until(partial(_has_tokens_of, "key-of-later"), "call")
    assert await _signers(rig, renewed) == set(new)
    await asyncio.gather(*(person.kill() for person in inside))
    again = await rig.join(renewed)  # LiveKit signs its webhooks with the key of before
    sids = {str((person.seen("connected") or {})["sid"]) for person in again}
    await rig.kube.match_until(lambda match: sids == {p.participant_sid for p in match.status.participants}, "call")
    assert (await operator.metrics())("roomkeeper_webhooks_total", result="unknown-key") == 0

    await _restart(node, new, signs="key-of-later")
    await own.secret("eu-1", new, oldApiKey="", oldApiSecret="")
    await own.ready("eu-1")

    # The same key with another secret.
    other = {"key-of-later": "another-secret-of-later-0123456789abc"}
    await _restart(node, other, signs="key-of-later")
    await own.ready("eu-1", "WrongKey")
    await own.secret("eu-1", other)
    await own.ready("eu-1")
    await eventually(partial(_are_signed_with, rig, renewed, other["key-of-later"]))

    # The wrong order: LiveKit no longer knows the key of the operator, which has none of its keys.
    await _restart(node, old, signs=old_key)
    assert "LiveKit refused our API key" in _message(await own.ready("eu-1", "WrongKey"))
    assert (await rig.kube.match("call")).status.end is None
    await own.secret("eu-1", old)
    await own.ready("eu-1")
    back = await rig.kube.match_until(partial(_has_tokens_of, old_key), "call")
    await asyncio.gather(*(person.kill() for person in again))
    await rig.join(back)
    after = await rig.kube.match_until(lambda match: match.status.connected == "2/2", "call")
    assert (after.status.end, after.status.connected_at) == (None, call.status.connected_at)
    for secret in (*old.values(), *new.values(), *other.values()):
        assert secret not in operator.log


async def _is_noted(own: Own, url: str) -> None:
    found = await own.kube.get("LiveKitServer", "eu-1")
    assert found is not None
    assert found["status"].get("url", "").replace("ws", "http", 1) == url.replace("ws", "http", 1), found["status"]


def _has_tokens_of(key: str, match: Match) -> bool:
    return match.status.tokens is not None and match.status.tokens.api_key == key


async def _signers(rig: Rig, match: Match) -> set[str]:
    tokens = (await rig.tokens(match)).values()
    return {jwt.decode(entry["token"], options={"verify_signature": False})["iss"] for entry in tokens}


async def _are_signed_with(rig: Rig, match: Match, secret: str) -> None:
    for entry in (await rig.tokens(match)).values():
        head, _, signature = entry["token"].rpartition(".")
        expected = hmac.new(secret.encode(), head.encode(), "sha256").digest()
        assert base64.urlsafe_b64decode(signature + "==") == expected


async def _restart(node: LiveKitNodes, keys: dict[str, str], *, signs: str) -> None:
    """Restart LiveKit with these keys, the one of `signs` for its webhooks."""
    node.keys = keys
    node.write_settings(webhook_key=signs)
    await node.kill()
    await node.start()


async def test_what_is_wrong_with_a_server_is_told_in_one_sentence_and_what_was_known_counts_on(
    own: Own, rig: Rig, nodes: dict[str, LiveKitNodes]
) -> None:
    await rig.operators.start()
    await own.server("eu-1")
    await own.ready("eu-1")
    made = await rig.ready("alice", "bob", placement={"serverName": "eu-1"})
    await own.kube.remove("secret/eu-1")
    await own.patch("eu-1", maxRooms=5)  # every change reads the Secret again
    assert _message(await own.ready("eu-1", "SecretMissing")) == (
        "the Secret eu-1 in the namespace roomkeeper-system does not exist; "
        "create it with the keys apiKey and apiSecret"
    )
    await rig.join(made)
    await rig.kube.match_until(lambda match: match.status.phase == "Active")

    await own.secret("eu-1", _KEYS["eu-1"], oldApiKey="without-its-secret")
    await own.patch("eu-1", publicUrl=f"{nodes['eu-1'].url}/")
    assert "oldApiKey and oldApiSecret" in _message(await own.ready("eu-1", "SecretIncomplete"))
    await own.secret("eu-1", _KEYS["eu-1"], oldApiKey="", oldApiSecret="")
    await own.ready("eu-1")
    await own.server("us-1", url="http://me:hunter2@127.0.0.1:1")
    assert "hunter2" not in _message(await own.ready("us-1", "WrongURL"))
    await own.patch("us-1", url=f"{nodes['eu-1'].url}/")
    assert "eu-1 has the same URL" in _message(await own.ready("us-1", "WrongKey"))
    assert (await rig.kube.match()).status.connected == "2/2"

    # As an upgrade finds it that brings the field: the server is paused, and its status does not say where it is asked.
    await own.kube.patch("LiveKitServer", "eu-1", {"metadata": {"annotations": {"roomkeeper.dev/paused": "true"}}})
    await own.kube.patch("LiveKitServer", "eu-1", {"status": {"url": None}}, subresource="status")
    await eventually(partial(_is_noted, own, nodes["eu-1"].url))
    assert await _server_of(rig, await rig.ready("carol", "dave", name="on-paused", placement={"serverName": "eu-1"}))


async def test_each_of_a_missing_right_a_wrong_ca_a_wrong_clock_and_a_changed_url_has_its_reason_and_ends_no_call(
    own: Own, rig: Rig, nodes: dict[str, LiveKitNodes], ports: PortLocks, tmp_path: Path
) -> None:
    operator, authority = rig.operators.make(), Authority(tmp_path / "authority")
    async with DateProxy(Path(operator.environment["KUBECONFIG"]), ports.take()) as proxy:
        operator.environment["KUBECONFIG"] = proxy.kubeconfig(tmp_path / "kubeconfig")
        await operator.start()
        await own.server("eu-1")
        await own.ready("eu-1")
        lasting = {"timeouts": {"reconnectSeconds": 300}, "room": {"departureTimeoutSeconds": 310}}
        call, _ = await rig.active("alice", "bob", name="call", placement={"serverName": "eu-1"}, **lasting)

        await own.patch("eu-1", credentialsSecretName="of-others")
        assert "livekitServers.secretNames" in _message(await own.ready("eu-1", "SecretForbidden"))
        await own.patch("eu-1", credentialsSecretName="eu-1")

        with TlsProxy(nodes["us-1"].balancer.port, authority.sign("server")) as there:
            await own.server("us-1", url=f"wss://localhost:{there.port}")
            assert "under ca.crt" in _message(await own.ready("us-1", "Certificate"))
            await own.secret("us-1", _KEYS["us-1"], **{"ca.crt": authority.certificate.read_text()})
            await own.ready("us-1")
            await own.kube.remove("livekitserver/us-1")
        await own.ready("eu-1")

        proxy.off_seconds = 600
        await own.ready("eu-1", "ClockSkew")
        proxy.off_seconds = 0
        noted = (await own.ready("eu-1"))["status"]
        assert (noted["url"], noted["publicUrl"]) == (nodes["eu-1"].url.replace("ws", "http", 1), nodes["eu-1"].url)
        await operator.end()

    # The API server lets the URL change while the number of rooms in the status is old.
    await own.kube.patch("LiveKitServer", "eu-1", {"status": {"rooms": 0}}, subresource="status")
    await own.patch("eu-1", url=nodes["us-1"].url)
    await rig.operators.start()
    assert f"they are looked for at {noted['url']} alone" in _message(await own.ready("eu-1", "WrongURL"))
    await own.kube.patch("LiveKitServer", "eu-1", {"status": {"rooms": 0}}, subresource="status")
    await own.patch("eu-1", url=nodes["eu-1"].url)
    await own.ready("eu-1")
    after = await rig.kube.match_until(lambda match: match.status.connected == "2/2", "call")
    assert (after.status.end, after.status.connected_at) == (None, call.status.connected_at)


def _message(server: Body) -> str:
    return next(str(one["message"]) for one in server["status"]["conditions"] if one["type"] == "Ready")
