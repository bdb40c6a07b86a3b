"""A body at rest takes little memory, and comes back as it was."""

from __future__ import annotations

import json
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from controller.views.bodies import Packer, Stored


def at_rest(packer: Packer, body: bytes) -> Stored:
    """A body that the packer has compressed."""
    stored = Stored("u1", 1, body)
    packer.pack(stored)
    return stored


def a_body(number: int, word: str) -> bytes:
    """A body whose sentences are those of all bodies with this word."""
    words = random.Random(word).sample(range(10**9), 100)
    return json.dumps({"name": f"{word}-{number}", "uid": str(random.Random(number).random()), "words": words}).encode()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.binary(max_size=300), max_size=250))
def test_every_body_comes_back_as_it_was(bodies: list[bytes]) -> None:
    packer = Packer()
    stored = [at_rest(packer, body) for body in bodies]
    assert [one.body() for one in stored] == bodies


def test_a_body_that_is_packed_twice_is_the_same() -> None:
    packer, body = Packer(), a_body(1, "room")
    stored = at_rest(packer, body)
    packer.pack(stored)
    assert stored.body() == body


def test_of_bodies_that_are_alike_each_keeps_a_tenth() -> None:
    packer = Packer()
    bodies = [a_body(number, "room") for number in range(50)]
    kept = [len(at_rest(packer, body).kept) for body in bodies][1:]
    assert max(kept) < len(bodies[0]) / 10


def test_bodies_of_another_kind_get_a_sample_of_their_own() -> None:
    packer = Packer()
    for number in range(200):
        at_rest(packer, a_body(number, "room"))
    others = [at_rest(packer, a_body(number, "entirely different thing")) for number in range(10)]
    assert len(others[-1].kept) < len(others[-1].body()) / 10


def test_bodies_that_are_not_alike_keep_few_samples() -> None:
    packer, noise = Packer(), random.Random(7)
    stored = [at_rest(packer, noise.randbytes(2000)) for _ in range(500)]
    samples = {one.sample for one in stored}
    assert len(samples) <= 6, "each sample stays in memory, whole"
