"""Replies as hypothesis draws them: everything that a backend, or a program between us and it, could answer."""

from __future__ import annotations

import json
from typing import Any

import hiredis
from hypothesis import strategies as st

numbers = st.sampled_from(
    ["0", "1", "-1", "inf", "-inf", "nan", "1e400", "1e308", "-1e308", "1.5", "9" * 40, "9" * 5000]
)
"""Numbers at which arithmetic breaks, as Redis spells them."""

times = st.sampled_from(["1700000000000", "1700000000000.5", "253402300799999", "9007199254740993"])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
json_texts = json_values.map(json.dumps)
words = st.one_of(st.text(max_size=12), numbers, times, json_texts, st.just(""))
"""Words of a reply."""

redis_replies: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.integers() | words | st.builds(hiredis.ReplyError, st.just("ERR inside")),
    lambda inner: st.lists(inner, max_size=6),
    max_leaves=12,
)
"""Replies of Redis, of any shape."""

bodies = st.one_of(st.binary(max_size=64), json_texts.map(str.encode))
"""Bodies of HTTP answers."""
