"""Traces of a real call, as a receiver of OpenTelemetry gets them; and a receiver that is not there."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from controller.api.names import API_VERSION, TRACEPARENT
from tests import manifests
from tests.support.kube import is_true
from tests.support.rig import Rig
from tests.support.waiting import eventually

MATCHMAKER, ITS_SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
KINDS = {Span.SPAN_KIND_INTERNAL: "internal", Span.SPAN_KIND_CLIENT: "client", Span.SPAN_KIND_SERVER: "server"}


@dataclass
class Receiver:
    """A receiver of OTLP over HTTP."""

    url: str = ""
    spans: list[Span] = field(default_factory=list)
    resources: list[dict[str, str]] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        """Keep the spans of a request."""
        body = await request.read()
        if request.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        told = ExportTraceServiceRequest.FromString(body)
        for of_resource in told.resource_spans:
            self.resources.append({one.key: one.value.string_value for one in of_resource.resource.attributes})
            self.spans.extend(span for scope in of_resource.scope_spans for span in scope.spans)
        return web.Response(body=b"", content_type="application/x-protobuf")

    def trace(self, uid: str) -> list[Span]:
        """The spans of the trace of a Match."""
        return [span for span in self.spans if span.trace_id.hex() == uid.replace("-", "")]


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver, app = Receiver(), web.Application()
    app.router.add_post("/v1/traces", receiver.take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield receiver
    await runner.cleanup()


def attributes(span: Span) -> dict[str, Any]:
    """The attributes of a span."""
    return {one.key: getattr(one.value, one.value.WhichOneof("value") or "string_value") for one in span.attributes}


async def test_a_call_is_one_trace_that_links_to_its_matchmaker(rig: Rig, receiver: Receiver) -> None:
    operator = rig.operators.make(trace_endpoint=receiver.url)
    operator.environment["OTEL_BSP_SCHEDULE_DELAY"] = "200"
    operator.environment["OTEL_SERVICE_NAME"] = "calls"
    await operator.start()
    await rig.enqueue("alice", "bob")
    body = manifests.match()
    body["metadata"]["annotations"] = {TRACEPARENT: f"00-{MATCHMAKER}-{ITS_SPAN}-01"}
    await rig.kube.create(body)
    match = await rig.kube.match_until(lambda found: is_true(found, "Ready"))
    await rig.join(match)
    await rig.kube.match_until(lambda found: found.status.phase == "Active")
    await rig.kube.patch("Match", "match", manifests.termination("End", "alice"))
    await rig.kube.match_until(lambda found: is_true(found, "Finished"))
    uid = match.metadata.uid

    async def whole() -> dict[str, Span]:
        """The spans by their ids, once the last of them is there."""
        found = {span.span_id.hex(): span for span in receiver.trace(uid)}
        assert uid.replace("-", "")[16:] in found, sorted(span.name for span in found.values())
        return found

    spans = await eventually(whole)
    await operator.end()  # sends what waits
    spans = await whole()
    root = spans[uid.replace("-", "")[16:]]
    assert (root.name, root.parent_span_id) == ("match", b"")
    assert [(link.trace_id.hex(), link.span_id.hex()) for link in root.links] == [(MATCHMAKER, ITS_SPAN)]
    assert {"Connecting", "Active"} <= {event.name for event in root.events}
    assert attributes(root)["roomkeeper.reason"] == "Ended"
    assert receiver.resources[0]["service.name"] == "calls"

    requests = [span for span in spans.values() if KINDS[span.kind] == "client"]
    work = {span.span_id: span for span in spans.values() if KINDS[span.kind] != "client" and span is not root}
    assert {span.parent_span_id for span in work.values()} == {root.span_id}
    assert {span.parent_span_id for span in requests} <= work.keys()
    assert {span.name for span in work.values()} >= {"reconcile Match", "reconcile Room", "webhook participant_joined"}
    linked = [span for span in work.values() if span.links]
    assert linked, "the work before the users are claimed"
    assert {(link.trace_id.hex()) for span in linked for link in span.links} == {MATCHMAKER}

    by_name = {span.name: attributes(span) for span in requests}
    claim = by_name["EVALSHA claim"]
    assert (claim["db.system.name"], claim["db.operation.name"]) == ("redis", "EVALSHA")
    room = by_name["livekit.RoomService/CreateRoom"]
    assert (room["rpc.system.name"], room["server.address"]) == ("twirp", "127.0.0.1")
    status = f"/apis/{API_VERSION}/namespaces/{{namespace}}/matches/{{name}}/status"
    patch = next(told for name, told in by_name.items() if name.startswith("PATCH") and "matches" in name)
    assert (patch["http.request.method"], patch["url.template"]) == ("PATCH", status)
    assert not any(who in str(span) for span in spans.values() for who in ("alice", "bob"))

    lines = [json.loads(line) for line in operator.log.splitlines() if '"match is over"' in line]
    assert [(line["uid"], line["trace_id"]) for line in lines] == [(uid, uid.replace("-", ""))]
    entries: Any = await rig.redis.xrange(rig.keys.events())
    events = [json.loads(entry["event"]) for _, entry in entries]
    of_match = [event for event in events if uid in event["data"].get("match", "")]
    assert of_match
    parents = {event["traceparent"] for event in of_match}
    assert parents == {f"00-{uid.replace('-', '')}-{root.span_id.hex()}-01"}


async def test_a_receiver_that_is_away_harms_no_call_and_is_told_once(rig: Rig) -> None:
    operator = rig.operators.make(trace_endpoint="http://127.0.0.1:1")
    operator.environment["OTEL_BSP_SCHEDULE_DELAY"] = "100"
    operator.environment["OTEL_EXPORTER_OTLP_TIMEOUT"] = "1"
    await operator.start()
    await rig.enqueue("alice", "bob", "carol", "dave")
    await rig.ready("alice", "bob", name="first")

    async def told() -> None:
        assert operator.log.count("traces cannot be sent") == 1

    await eventually(told)
    await rig.ready("carol", "dave", name="later")
    assert await operator.end() == 0
    await told()
    assert "opentelemetry" not in operator.log, "the library's own lines would come with every batch"
