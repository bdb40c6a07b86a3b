"""Names are deterministic, differ where they should, and are legal wherever they are used."""

import re

from controller.api import names
from controller.api.livekitserver import LiveKitServer
from controller.api.match import Match
from controller.api.room import Room

UID = "c1f92239-2f05-452a-a058-797e90da7994"
DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def test_children_of_one_match_have_the_same_names_every_time() -> None:
    assert names.room_name(UID) == names.room_name(UID)
    assert names.token_secret_name(UID) == f"{names.room_name(UID)}-tokens"


def test_names_are_legal_in_kubernetes() -> None:
    for name in (names.room_name(UID), names.token_secret_name(UID), names.livekit_room_name("c", "n", UID)):
        assert DNS_LABEL.fullmatch(name), name
        assert name.startswith("rk-")


def test_a_match_that_is_created_again_gets_other_children() -> None:
    assert names.room_name(UID) != names.room_name(UID.replace("c1", "c2"))


def test_rooms_on_livekit_differ_by_cluster_namespace_and_uid() -> None:
    made = {
        names.livekit_room_name(cluster, namespace, uid)
        for cluster in ("default", "other")
        for namespace in ("calls", "other")
        for uid in ("u1", "u2")
    }
    assert len(made) == 8


def test_the_parts_of_a_name_cannot_run_into_each_other() -> None:
    assert names.livekit_room_name("a", "bc", "u") != names.livekit_room_name("ab", "c", "u")


def test_models_carry_the_names_of_their_kind() -> None:
    for kind, model in ((names.MATCH, Match), (names.ROOM, Room), (names.LIVEKIT_SERVER, LiveKitServer)):
        assert model.model_fields["kind"].default == kind.kind
        assert model.model_fields["api_version"].default == names.API_VERSION
