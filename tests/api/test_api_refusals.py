"""What the API server refuses, each with the sentence that it must answer; and what it must not refuse."""

from collections.abc import Iterator
from typing import Any

import pytest

from controller.generate.crds import DEFINITIONS, crd
from sandbox.administrator import Answer
from tests.api.cluster import Manifest, change, create, match, room, server
from tests.support.kube import Kube

ALICE: Manifest = {"identity": "alice"}
BOB: Manifest = {"identity": "bob"}


def people(*participants: Manifest) -> Manifest:
    return match({"participants": list(participants)})


def alice(**fields: Any) -> Manifest:
    return people(ALICE | fields, BOB)


def ending(**termination: Any) -> Manifest:
    return match({"termination": termination})


CREATED = {
    "no participants": (
        people(),
        "spec.participants: Invalid value: 0: spec.participants in body should have at least 2 items",
    ),
    "one": (
        people(ALICE),
        "spec.participants: Invalid value: 1: spec.participants in body should have at least 2 items",
    ),
    "three": (
        people(ALICE, BOB, {"identity": "carol"}),
        "spec.participants: Too many: 3: must have at most 2 items",
    ),
    "the same twice": (people(ALICE, ALICE), 'spec.participants[1]: Duplicate value: {"identity":"alice"}'),
    "no identity": (people({"name": "Alice"}, BOB), "spec.participants[0].identity: Required value"),
    "an empty identity": (
        people({"identity": ""}, BOB),
        'spec.participants[0].identity: Invalid value: "": spec.participants[0].identity in body should be '
        "at least "
        "1 chars long",
    ),
    "too long an identity": (
        people({"identity": "x" * 257}, BOB),
        "spec.participants[0].identity: Too long: may not be more than 256 bytes",
    ),
    "too many bytes in an identity": (
        people({"identity": "é" * 129}, BOB),
        f'spec.participants[0].identity: Invalid value: "{"é" * 129}": must be at most 256 bytes in UTF-8',
    ),
    "a control character in an identity": (
        people({"identity": "ali\nce"}, BOB),
        r'spec.participants[0].identity: Invalid value: "ali\nce": must not contain control characters',
    ),
    "NUL in an identity": (
        people({"identity": "ali\0ce"}, BOB),
        r'spec.participants[0].identity: Invalid value: "ali\x00ce": must not contain control characters',
    ),
    "a control character in a name": (
        alice(name="Al\tice"),
        r'spec.participants[0].name: Invalid value: "Al\tice": must not contain control characters',
    ),
    "an alias that is the other's": (
        people(ALICE | {"alias": "p"}, BOB | {"alias": "p"}),
        "spec.participants: Invalid value: an alias equals the alias or identity of the other participant: "
        "they must differ on LiveKit",
    ),
    "an alias that is the other's identity": (
        alice(alias="bob"),
        "spec.participants: Invalid value: an alias equals the alias or identity of the other participant: "
        "they must differ on LiveKit",
    ),
    "an empty key of an attribute": (
        alice(attributes={"": "x"}),
        "spec.participants[0].attributes: Invalid value: keys must not be empty",
    ),
    "a long key of an attribute": (
        alice(attributes={"k" * 129: "x"}),
        "spec.participants[0].attributes: Invalid value: keys must be at most 128 characters long",
    ),
    "attributes that are too large for LiveKit in total": (
        alice(attributes={f"{number:08}": "👩" * 1024 for number in range(16)}),
        "spec.participants[0].attributes: Invalid value: 65664 bytes in UTF-8: all keys and values together must be at "
        "most 65536, or LiveKit refuses the participant",
    ),
    "a source that there is not": (
        alice(grants={"canPublishSources": ["radio"]}),
        'spec.participants[0].grants.canPublishSources[0]: Unsupported value: "radio": supported values: '
        '"camera", "microphone", "screen_share", "screen_share_audio"',
    ),
    "an admission that there is not": (
        match({"admission": "Everybody"}),
        'spec.admission: Unsupported value: "Everybody": supported values: "Any", "Queued"',
    ),
    "our own key in the metadata": (
        match({"room": {"metadata": {"roomkeeper.dev": "x"}}}),
        "spec.room.metadata: Forbidden: the key roomkeeper.dev is reserved for Roomkeeper's own mark: use another key",
    ),
    "too small a room": (
        match({"room": {"maxParticipants": 1}}),
        "spec.room.maxParticipants: Invalid value: 1 is less than the 2 participants in the spec",
    ),
    "a room that closes before people have come": (
        match({"room": {"emptyTimeoutSeconds": 20}}),
        "spec.room.emptyTimeoutSeconds: Invalid value: 20 s is less than connectSeconds + 5 (30 s): LiveKit "
        "would close the room while participants are still joining",
    ),
    "a room that closes before people are back": (
        match({"timeouts": {"reconnectSeconds": 30}}),
        "spec.room.departureTimeoutSeconds: Invalid value: 20 s is less than reconnectSeconds + 5 (35 s): "
        "LiveKit would close the room while participants may still come back",
    ),
    "the name of a server that cannot be one": (
        match({"placement": {"serverName": "EU 1"}}),
        'spec.placement.serverName: Invalid value: "EU 1": must be the name of a LiveKitServer: '
        "lower case letters, digits, "
        "'-' and '.', for example eu-1",
    ),
    "a label that cannot be one": (
        match({"placement": {"serverSelector": {"matchLabels": {"zone": "a b"}}}}),
        'spec.placement.serverSelector.matchLabels[zone]: Invalid value: "a b": must be a label value: '
        "letters, digits, '-', '_' and '.', for example eu-west",
    ),
    "a requeue policy that there is not": (
        match({"requeue": {"onLeft": "Both"}}),
        'spec.requeue.onLeft: Unsupported value: "Both": supported values: "All", "Others", "Present", "None"',
    ),
    "a skip without an initiator": (
        ending(action="Skip"),
        "spec.termination.initiator: Required value: initiator is missing: Skip needs the identity of the "
        "participant who ends the call",
    ),
    "an end by an empty name": (
        ending(action="End", initiator=""),
        "spec.termination.initiator: Required value: initiator is missing: End needs the identity of the "
        "participant who ends the call",
    ),
    "a skip by a stranger": (
        ending(action="Skip", initiator="zed"),
        "spec.termination.initiator: Invalid value: initiator zed is not one of the two participants, alice and bob",
    ),
    "a disconnect without a target": (
        ending(action="Disconnect", initiator="moderator"),
        "spec.termination.target: Required value: target is missing: Disconnect needs the identity of the "
        "participant to remove",
    ),
    "a disconnect of a stranger": (
        ending(action="Disconnect", target="zed"),
        "spec.termination.target: Invalid value: target zed is not one of the two participants, alice and bob",
    ),
    "a target of a skip": (
        ending(action="Skip", initiator="alice", target="bob"),
        "spec.termination.target: Forbidden: target is only for the action Disconnect: omit target with Skip",
    ),
    "a termination without an action": (ending(initiator="alice"), "spec.termination.action: Required value"),
    "no spec": (
        {k: v for k, v in match().items() if k != "spec"},
        "spec: Required value",
    ),
    "a room with our own key in the metadata": (
        room({"metadata": {"roomkeeper.dev": "x"}}),
        "spec.metadata: Forbidden: the key roomkeeper.dev is reserved for Roomkeeper's own mark: use another key",
    ),
    "a room for the same person twice": (
        room({"allowedIdentities": ["alice", "alice"]}),
        'spec.allowedIdentities[1]: Duplicate value: "alice"',
    ),
    "a room for a control character": (
        room({"allowedIdentities": ["\x1b[2J"]}),
        r'spec.allowedIdentities[0]: Invalid value: "\x1b[2J": must not contain control characters',
    ),
    "a server that is not on the web": (
        server({"url": "livekit:7880"}),
        'spec.url: Invalid value: "livekit:7880": must be an address such as wss://livekit.example.com or '
        "http://livekit:7880",
    ),
    "a server without an address": (server({"url": None}), "spec.url: Required value"),
    "a maintenance that never begins": (
        server({"drain": {"type": "maintenance"}}),
        "spec.drain.deadline: Required value: deadline is missing: a drain of type maintenance ends the "
        "calls at its deadline, set one such as 2026-01-31T22:00:00Z",
    ),
}

MATCH = match({"sessionID": "s-1", "termination": {"action": "Skip", "initiator": "alice"}})
SETTLED = "spec.termination: Forbidden: termination is written once: the Match is already ending, "
SETTLED += "and this cannot be changed or undone"
PLACED = "spec.placement: Forbidden: placement is immutable: the room cannot move to another server, "
PLACED += "create another Match"
UNNAMED = "spec.sessionID: Forbidden: sessionID is immutable: Redis and events name this call by it, "
UNNAMED += "create another Match"

CHANGED = {
    "the participants": (
        {"participants": [{"identity": "alice"}, {"identity": "carol"}]},
        "spec.participants: Forbidden: participants is immutable: the users are claimed once, create another Match",
    ),
    "what a participant may do": (
        {"participants": [{"identity": "alice", "grants": {"canPublish": False}}, {"identity": "bob"}]},
        "spec.participants: Forbidden: participants is immutable: the users are claimed once, create another Match",
    ),
    "the session id": ({"sessionID": "s-2"}, UNNAMED),
    "no session id": ({"sessionID": None}, UNNAMED),
    "the admission": (
        {"admission": "Queued"},
        "spec.admission: Forbidden: admission is immutable: the users are claimed once, create another Match",
    ),
    "the placement": ({"placement": {"serverName": "eu-1"}}, PLACED),
    "the delivery of the tokens": (
        {"tokens": {"delivery": "Redis"}},
        "spec.tokens.delivery: Forbidden: delivery is immutable: the tokens are delivered once, create another Match",
    ),
    "the size of the room": (
        {"room": {"maxParticipants": 3}},
        "spec.room.maxParticipants: Forbidden: maxParticipants is immutable: LiveKit cannot resize a room, "
        "create another Match",
    ),
    "the empty timeout": (
        {"room": {"emptyTimeoutSeconds": 60}},
        "spec.room.emptyTimeoutSeconds: Forbidden: emptyTimeoutSeconds is immutable: LiveKit reads it when "
        "it creates the room, create another Match",
    ),
    "the departure timeout": (
        {"room": {"departureTimeoutSeconds": 60}},
        "spec.room.departureTimeoutSeconds: Forbidden: departureTimeoutSeconds is immutable: LiveKit reads "
        "it when it creates the room, create another Match",
    ),
    "who ends it": ({"termination": {"initiator": "bob"}}, SETTLED),
    "that it ends": ({"termination": None}, SETTLED),
    "why it ends": ({"termination": {"reason": "other"}}, SETTLED),
    "a window beyond the room's": (
        {"timeouts": {"connectSeconds": 26}},
        "spec.room.emptyTimeoutSeconds: Invalid value: 30 s is less than connectSeconds + 5 (31 s): LiveKit "
        "would close the room while participants are still joining",
    ),
}

ROOM = room({"placement": {"serverName": "eu-1"}, "terminationReason": "done"})
AT_CREATION = "LiveKit reads it when it creates the room, create another Room"

ROOM_CHANGED = {
    "the size": (
        {"maxParticipants": 3},
        "spec.maxParticipants: Forbidden: maxParticipants is immutable: LiveKit cannot resize a room, "
        "create another Room",
    ),
    "the empty timeout": (
        {"emptyTimeoutSeconds": 60},
        f"spec.emptyTimeoutSeconds: Forbidden: emptyTimeoutSeconds is immutable: {AT_CREATION}",
    ),
    "the departure timeout": (
        {"departureTimeoutSeconds": 60},
        f"spec.departureTimeoutSeconds: Forbidden: departureTimeoutSeconds is immutable: {AT_CREATION}",
    ),
    "the placement": (
        {"placement": {"serverName": "eu-2"}},
        "spec.placement: Forbidden: placement is immutable: the room cannot move to another "
        "server, create another Room",
    ),
    "no placement": (
        {"placement": None},
        "spec.placement: Forbidden: placement is immutable: the room cannot move to another "
        "server, create another Room",
    ),
    "that it is closed": (
        {"terminationReason": ""},
        "spec.terminationReason: Forbidden: terminationReason is written once: a closed room stays closed, "
        "create another Room",
    ),
}

ACCEPTED = {
    "nothing but two people": match(),
    "people with aliases": people(ALICE | {"alias": "p-1"}, BOB | {"alias": "p-2"}),
    "an alias that is one's own identity": alice(alias="alice"),
    "256 bytes": people({"identity": "é" * 128}, BOB),
    "addresses, emoji, right-to-left": people({"identity": "alice@example.com/☎"}, {"identity": "שלום"}),
    "a skip": ending(action="Skip", initiator="alice", reason="next"),
    "an end": ending(action="End", initiator="bob"),
    "a disconnect by a moderator": ending(action="Disconnect", initiator="moderator 7", target="bob"),
    "a disconnect without an initiator": ending(action="Disconnect", target="bob"),
    "explicit nulls": match({"timeouts": None, "room": None, "sessionID": None, "termination": None}),
    "no limits": match({"timeouts": {"maxDurationSeconds": 0}, "ttlSecondsAfterFinished": 0}),
    "a room": room(),
    "a server": server({"publicUrl": "wss://[2001:db8::1]:443/path"}),
    "a graceful drain": server({"drain": {"type": "graceful", "message": "back soon"}}),
}


def only(answer: Answer) -> str:
    assert answer.status == 422, answer.body
    assert len(answer.refusals) == 1, answer.refusals
    return answer.refusals[0]


@pytest.mark.parametrize("case", CREATED)
async def test_a_bad_manifest_is_refused_with_a_sentence(kube: Kube, case: str) -> None:
    manifest, sentence = CREATED[case]
    answer = await create(kube, manifest, dry_run=True)
    assert answer.status == 422
    assert sentence in answer.refusals


@pytest.mark.parametrize("case", ACCEPTED)
async def test_a_good_manifest_is_accepted(kube: Kube, case: str) -> None:
    answer = await create(kube, ACCEPTED[case], dry_run=True)
    assert answer.status == 201, answer.body


async def test_what_is_settled_cannot_be_changed(kube: Kube) -> None:
    assert (await create(kube, MATCH)).status == 201
    answers = {case: await change(kube, MATCH, {"spec": patch}, dry_run=True) for case, (patch, _) in CHANGED.items()}
    assert {case: only(answer) for case, answer in answers.items()} == {case: s for case, (_, s) in CHANGED.items()}


async def test_what_is_settled_of_a_room_cannot_be_changed(kube: Kube) -> None:
    assert (await create(kube, ROOM)).status == 201
    answers = {
        case: await change(kube, ROOM, {"spec": patch}, dry_run=True) for case, (patch, _) in ROOM_CHANGED.items()
    }
    expected = {case: sentence for case, (_, sentence) in ROOM_CHANGED.items()}
    assert {case: only(answer) for case, answer in answers.items()} == expected


@pytest.mark.parametrize(
    "patch",
    [
        {"termination": {"action": "Skip", "initiator": "alice"}},
        {"timeouts": {"soloSeconds": 60, "connectSeconds": 10}},
        {"requeue": {"onLeft": "None"}},
        {"room": {"metadata": {"topic": "chess"}}},
        {"tokens": {"ttlSeconds": 60}},
        {"ttlSecondsAfterFinished": 0},
        {"participants": [BOB, ALICE]},
    ],
    ids=lambda patch: next(iter(patch)),
)
async def test_what_is_not_settled_can_be_changed(kube: Kube, patch: Manifest) -> None:
    assert (await create(kube, match())).status == 201
    answer = await change(kube, match(), {"spec": patch})
    assert answer.status == 200, answer.body


def leaves(schema: Manifest, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Manifest]]:
    """The fields of a schema that hold a value, by their path; not those below lists."""
    for name, inner in schema["properties"].items():
        if "properties" in inner:
            yield from leaves(inner, (*path, name))
        else:
            yield (*path, name), inner


def beyond(schema: Manifest) -> list[Any]:
    """Values that a field must not have: just outside its bounds, and of another type."""
    match schema["type"]:
        case "integer":
            return [schema["minimum"] - 1, schema["maximum"] + 1, 1.5, "1", True, [], 2**63]
        case "string" if "enum" in schema:
            return ["", "none", 1, {}]
        case "string" if "format" in schema:
            return ["yesterday", "2026-01-31 10:00:00Z", "2026-01-31T10:00:00", 1]
        case "string":
            return ["x" * (schema["maxLength"] + 1), "x" * 2**20, 1, True, {}]
        case "array":
            return [[f"i{n}" for n in range(schema["maxItems"] + 1)], "x", {}]
        case "boolean":
            return ["yes", 1]
        case _:
            return [
                {f"k{n}": "v" for n in range(schema["maxProperties"] + 1)},
                {"k": "v" * 1025},
                {"k": 1},
                "x",
                [],
            ]


async def test_the_url_of_a_server_changes_only_while_no_room_is_on_it(kube: Kube) -> None:
    manifest, other = server(), {"spec": {"url": "http://another:7880"}}
    await create(kube, manifest)
    assert (await change(kube, manifest, other, dry_run=True)).status == 200
    await change(kube, manifest, {"status": {"rooms": 2}}, sub="status")
    assert only(await change(kube, manifest, other)).startswith(
        "spec.url: Forbidden: url is immutable while rooms are on the server (status.rooms)"
    )
    assert (await change(kube, manifest, {"spec": {"publicUrl": "wss://another", "cordoned": True}})).status == 200
    await change(kube, manifest, {"status": {"rooms": 0}}, sub="status")
    assert (await change(kube, manifest, other)).status == 200


BASES = {"Match": match(), "Room": room(), "LiveKitServer": server({"drain": {"type": "graceful"}})}
FIELDS = [
    pytest.param(definition.kind.kind, path, schema, id=f"{definition.kind.singular}.{'.'.join(path)}")
    for definition in DEFINITIONS
    for path, schema in leaves(
        crd(definition)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    )
]


@pytest.mark.parametrize(("kind", "path", "schema"), FIELDS)
async def test_a_value_beyond_the_bounds_is_refused(
    kube: Kube, kind: str, path: tuple[str, ...], schema: Manifest
) -> None:
    for value in beyond(schema):
        spec: Any = value
        for name in reversed(path):
            spec = {name: spec}
        manifest = {**BASES[kind], "spec": merged(BASES[kind]["spec"], spec)}
        answer = await create(kube, manifest, dry_run=True)
        assert answer.status in {400, 422}, (value, answer.body)
        if answer.status == 422:
            assert any(".".join(path) in refusal for refusal in answer.refusals), (value, answer.refusals)


def merged(base: Manifest, over: Manifest) -> Manifest:
    """Both maps, the second over the first, at every depth."""
    both = {key: base[key] for key in base.keys() & over.keys()}
    deeper = {k: merged(v, over[k]) for k, v in both.items() if isinstance(v, dict) and isinstance(over[k], dict)}
    return base | over | deeper
