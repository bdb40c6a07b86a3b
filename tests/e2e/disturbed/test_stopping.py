"""Starting and stopping the operator: signals, settings, the recorder, and what may not be in its log."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox.source import ROOT
from tests import manifests
from tests.support.chaos import frozen
from tests.support.gateways import send
from tests.support.kube import is_true
from tests.support.operators import Operator
from tests.support.rig import Rig
from tests.support.waiting import eventually, patience


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_a_signal_stops_it_with_status_0_and_calls_go_on(rig: Rig, number: signal.Signals) -> None:
    operator = await rig.operators.start()
    match, people = await rig.active()
    assert await operator.end(number) == 0
    assert "stopped" in operator.log
    assert await rig.livekit_people(await rig.livekit_name(match)) == {"alice", "bob"}
    assert not any(person.seen("disconnected") for person in people)
    assert await rig.states("alice", "bob") == {"alice": "IN_CALL", "bob": "IN_CALL"}
    lease = await rig.kube.admin.call(
        "GET", "/apis/coordination.k8s.io/v1/namespaces/roomkeeper-system/leases/roomkeeper-shard-0"
    )
    assert not lease["spec"].get("holderIdentity")


async def test_users_in_calls_are_told_that_the_whole_service_stops_if_that_is_asked_for(rig: Rig) -> None:
    operator = await rig.operators.start(stop_message="We are back at ten.")
    await rig.ready("alice", "bob")
    await rig.enqueue("carol")
    assert await operator.end() == 0
    told = {who: await rig.stream(rig.keys.notify(who)) for who in ("alice", "bob", "carol")}
    found = {who: [(n["drain"], n["notice"]) for n in of if n["type"] == "shutdown"] for who, of in told.items()}
    assert found == {"alice": [("stop", "We are back at ten.")], "bob": [("stop", "We are back at ten.")], "carol": []}


_COUPLES = 25


async def test_fifty_transitions_are_under_way_when_the_signal_comes_and_none_is_lost(rig: Rig) -> None:
    operator = await rig.operators.start()
    skipped, made = _names("skipped"), _names("made")
    await rig.enqueue(*_people(skipped), *_people(made))
    await asyncio.gather(*(rig.ready(*_couple(name), name=name) for name in skipped))
    uids = {name: (await rig.kube.match(name)).metadata.uid for name in skipped}

    skips = (send(rig, "skip", f"a-{name}", match=uid) for name, uid in uids.items())
    await asyncio.gather(*skips, *(rig.kube.create(manifests.match(*_couple(name), name=name)) for name in made))
    assert await operator.end() == 0

    await rig.operators.start()
    for name in made:
        await rig.kube.match_until(lambda match: is_true(match, "Ready"), name)
    for name in skipped:
        over = await rig.kube.match_until(lambda match: is_true(match, "Finished"), name)
        assert over.status.reason == "Skipped"
    await rig.expect_states(**dict.fromkeys(_people(skipped), "WAITING"), **dict.fromkeys(_people(made), "CONNECTING"))
    assert set(await rig.queue()) == set(_people(skipped))


def _names(prefix: str) -> list[str]:
    return [f"{prefix}-{number}" for number in range(_COUPLES)]


def _couple(name: str) -> tuple[str, str]:
    return f"a-{name}", f"b-{name}"


def _people(names: list[str]) -> list[str]:
    return [who for name in names for who in _couple(name)]


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_ends_it_at_once_and_the_next_operator_goes_on(rig: Rig, second: signal.Signals) -> None:
    operator = await rig.operators.start(stop_seconds="600")
    await rig.ready()
    with frozen(rig.where, "livekit-server"):
        await rig.kube.delete("Match", "match")

        async def is_held() -> None:
            assert (await operator.metrics())("roomkeeper_workqueue_in_hand") >= 1

        await eventually(is_held)
        operator.send(signal.SIGTERM)
        await eventually(lambda: _has_said(operator, "SIGTERM: stopping"))
        assert await operator.end(second) == 128 + second
    assert f"a second signal, {second.name}: the process ends at once" in operator.log
    await rig.operators.start()
    await rig.kube.gone("Match", "match")
    assert await rig.states("alice", "bob") == {"alice": "IDLE", "bob": "IDLE"}


async def _has_said(operator: Operator, words: str) -> None:
    assert words in operator.log


def _roomkeeper(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "controller", *arguments],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=patience(30),
        check=False,
    )


def _complaints(operator: Operator) -> list[str]:
    """Return the lines that the operator prints with these settings; it must end by itself."""
    done = _roomkeeper("operator", environment=operator.environment)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr.strip().splitlines()


async def test_wrong_and_unknown_settings_stop_it_with_a_line_for_each(rig: Rig) -> None:
    wrong = rig.operators.make(
        redis_url="localhost:6379",
        poll_seconds="often",
        livekit_api_secret="too-short-a-secret",
        log_format="xml",
        webhok_port="1",
    )
    head, *lines = _complaints(wrong)
    assert head == "roomkeeper operator: 5 settings are wrong"
    named = {line.split()[0]: " ".join(line.split()[1:]) for line in lines}
    assert set(named) == {
        f"ROOMKEEPER_{name}"
        for name in ("REDIS_URL", "POLL_SECONDS", "LIVEKIT_API_SECRET", "LOG_FORMAT", "WEBHOK_PORT")
    }
    assert "is not a setting" in named["ROOMKEEPER_WEBHOK_PORT"]
    assert "redis://HOST:PORT/DB" in named["ROOMKEEPER_REDIS_URL"]
    assert "too-short-a-secret" not in "".join(lines)


async def test_a_missing_setting_is_named_alone(rig: Rig) -> None:
    missing = rig.operators.make()
    del missing.environment["ROOMKEEPER_LIVEKIT_API_KEY"]
    head, line = _complaints(missing)
    assert head == "roomkeeper operator: a setting is wrong"
    assert line.split()[:4] == ["ROOMKEEPER_LIVEKIT_API_KEY", "is", "not", "set;"]


async def test_recorded_decisions_are_the_same_when_asked_again(rig: Rig, tmp_path: Path) -> None:
    dumps = tmp_path / "dumps"
    await rig.operators.start(record_dir=str(dumps))
    await rig.enqueue("alice", "bob")
    await rig.active()
    await rig.kube.patch("Match", "match", manifests.termination("Skip", "bob"))
    await rig.kube.match_until(lambda match: is_true(match, "Finished"))
    await rig.delete()
    files = sorted(file.name.split("-")[0] for file in dumps.iterdir())
    assert files == ["Match", "Room"]
    done = _roomkeeper("replay", str(dumps))
    assert done.returncode == 0, done.stdout + done.stderr
    decisions = sum(len(file.read_text().splitlines()) for file in dumps.iterdir())
    assert decisions > 8
    assert f"{decisions} decisions replayed: {decisions} the same, 0 different" in done.stdout
    text = "".join(file.read_text() for file in dumps.iterdir())
    assert rig.where.livekit_api_secret not in text
    assert "eyJ" not in text


async def test_no_right_is_missing_on_the_whole_way(rig: Rig) -> None:
    """The ServiceAccount of manifests/ suffices for everything that a Match and a Room need."""
    operator = await rig.operators.start()
    await rig.enqueue("alice", "bob")
    await rig.active(tokens={"delivery": "Both"})
    await rig.kube.create(manifests.room())
    await rig.kube.room_until(lambda room: is_true(room, "Ready"), "lobby")
    await rig.kube.patch("Match", "match", manifests.termination("Skip", "bob"))
    await rig.kube.match_until(lambda match: is_true(match, "Finished"))
    await rig.delete()
    await rig.kube.delete("Room", "lobby")
    await rig.kube.gone("Room", "lobby")

    async def events_are_posted() -> None:
        assert (await operator.metrics())("roomkeeper_events_posted_total", result="ok") >= 2

    await eventually(events_are_posted)
    metrics = await operator.metrics()
    assert metrics("roomkeeper_backend_call_errors_total", backend="Kubernetes", code="403") == 0
    assert metrics("roomkeeper_events_posted_total", result="failed") == 0
    assert "orbidden" not in operator.log
