"""The URL of Redis: what each form means, and the sentence of every wrong one."""

from __future__ import annotations

import re
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.settings.redis_address import (
    Access,
    AddressError,
    Node,
    RedisAddress,
    TlsOptions,
    Topology,
    parse_address,
)

TLS = TlsOptions()


@pytest.mark.parametrize(
    ("url", "node", "access"),
    [
        ("redis://redis", Node("redis", 6379), Access()),
        ("redis://redis:7000/", Node("redis", 7000), Access()),
        ("redis://redis.example:1/3", Node("redis.example", 1), Access(db=3)),
        ("redis://redis?db=3", Node("redis"), Access(db=3)),
        ("redis://redis/3?db=3", Node("redis"), Access(db=3)),
        ("redis://:word@redis", Node("redis"), Access(password="word")),
        ("redis://ann:word@redis", Node("redis"), Access("ann", "word")),
        ("redis://ann:@redis", Node("redis"), Access("ann", "")),
        ("redis://:@redis", Node("redis"), Access()),
        ("redis://:a@b:c@redis", Node("redis"), Access(password="a@b:c")),
        ("redis://%C3%BC%40:p%2Fq%3F%23%25@redis", Node("redis"), Access("ü@", "p/q?#%")),
        ("redis://:a+b@redis", Node("redis"), Access(password="a+b")),
        ("redis://[::1]:7000/1", Node("::1", 7000), Access(db=1)),
        ("redis://[2001:DB8::1]", Node("2001:db8::1"), Access()),
        ("redis://redis_1", Node("redis_1"), Access()),
        ("unix:///run/redis.sock", Node(path="/run/redis.sock"), Access()),
        ("unix://ann:word@/run/redis%20x.sock?db=2", Node(path="/run/redis x.sock"), Access("ann", "word", 2)),
        ("rediss://redis", Node("redis"), Access(tls=TLS)),
        (
            "rediss://redis?ssl_ca_certs=/ca.crt&ssl_certfile=/c.crt&ssl_keyfile=/c.key&ssl_password=a%26b",
            Node("redis"),
            Access(tls=TlsOptions("/ca.crt", cert_file="/c.crt", key_file="/c.key", key_password="a&b")),
        ),
        ("rediss://redis?ssl_ca_path=/ca&ssl_ca_data=PEM", Node("redis"), Access(tls=TlsOptions("", "/ca", "PEM"))),
        ("rediss://redis?ssl_cert_reqs=optional", Node("redis"), Access(tls=TLS)),
        ("rediss://redis?ssl_check_hostname=False", Node("redis"), Access(tls=TlsOptions(checks_host_name=False))),
        (
            "rediss://redis?ssl_cert_reqs=none",
            Node("redis"),
            Access(tls=TlsOptions(verifies=False, checks_host_name=False)),
        ),
    ],
)
def test_a_url_of_one_server(url: str, node: Node, access: Access) -> None:
    address = parse_address(url)
    assert address == RedisAddress(Topology.SINGLE, (node,), access, sentinel_access=Access(tls=access.tls))


def test_a_url_of_sentinels() -> None:
    url = "redis+sentinel://ann:word@one,two:1,[::1]:2/calls/4?sentinel_username=bob&sentinel_password=s%40"
    assert parse_address(url) == RedisAddress(
        Topology.SENTINEL,
        (Node("one", 26379), Node("two", 1), Node("::1", 2)),
        Access("ann", "word", 4),
        "calls",
        Access("bob", "s@"),
    )


def test_sentinels_with_tls_have_it_like_their_servers() -> None:
    address = parse_address("rediss+sentinel://one/calls?ssl_ca_certs=/ca.crt")
    assert address.access.tls == address.sentinel_access.tls == TlsOptions("/ca.crt")


def test_a_url_of_a_cluster() -> None:
    assert parse_address("rediss+cluster://ann:word@one,two:7001,one") == RedisAddress(
        Topology.CLUSTER,
        (Node("one"), Node("two", 7001)),
        Access("ann", "word", tls=TLS),
        sentinel_access=Access(tls=TLS),
    )


CANARY = "hunter2"
WRONG = [
    (f"redis:{CANARY}", "has no scheme; expected redis://HOST:PORT/DB"),
    (f"{CANARY}@redis:6379", "has no scheme"),
    (f"http://:{CANARY}@redis", 'has scheme "http"; expected redis://'),
    ("sentinel://one/calls", 'has scheme "sentinel"'),
    (f"redis://:{CANARY}/x@redis", "has a /, a ? or a # in front of the host"),
    (f"redis://:x?{CANARY}@redis", "has a /, a ? or a # in front of the host"),
    (f"redis://:x#{CANARY}@redis", "has a /, a ? or a # in front of the host"),
    (f"redis://:p@ss:{CANARY}/rd@redis/0", "percent-encode the special characters of user and password"),
    (f"redis://:{CANARY}%zz@redis", "has a % that is not followed by two hexadecimal digits; write %25"),
    (f"redis://:{CANARY}%FF@redis", "has a percent-encoded byte that is not text"),
    (f"redis://:{CANARY} x@redis", "has white space or a control character"),
    (f"redis://:{CANARY}\n@redis", "has white space or a control character"),
    ("redis://redis/0\n", "has white space or a control character"),
    (f"redis://{CANARY}@redis", "names a user without a password; expected USER:PASSWORD@HOST"),
    (f"redis://:{CANARY}/0", "names no host"),
    (f"redis://:x?{CANARY}", "names no host"),
    (f"redis://ann:{CANARY}?x", "has a port that is no number from 1 to 65535"),
    (f"redis://:{CANARY}@", "names no host"),
    ("redis://", "names no host"),
    ("redis://redis:0", "has a port that is no number from 1 to 65535"),
    ("redis://redis:99999", "has a port that is no number from 1 to 65535"),
    ("redis://redis:٣", "has a port that is no number from 1 to 65535"),
    ("redis://::1", "names a host that is no host name; an IPv6 address needs brackets"),
    ("redis://[::1", "names a host that is no host name; an IPv6 address needs brackets"),
    (f"redis://[{CANARY}]", "names a host in brackets that is no IPv6 address"),
    ("redis://re{dis", "names a host that is no host name"),
    ("redis://redis/abc", "has a database that is no number"),
    ("redis://redis/-1", "has a database that is no number"),
    ("redis://redis?db=abc", "has a database that is no number"),
    ("redis://redis/1?db=2", "names two databases"),
    ("redis://redis/1/2", "has more than a database behind the host"),
    ("redis://one,two", "names several hosts; redis:// takes one, redis+sentinel:// takes the sentinels"),
    ("rediss://one,two", "rediss+cluster:// takes nodes of a cluster"),
    ("redis://redis?socket_timeout=abc", 'has a parameter "socket_timeout", which is unknown; known are db, '),
    (f"redis://redis?{CANARY.upper()}=1", "has a parameter of another form, which is unknown"),
    ("redis://redis?db=1&db=1", 'has the parameter "db" twice'),
    ("redis://redis?db=", 'has the parameter "db" without a value'),
    ("redis://redis?ssl_ca_certs=/ca", 'has the parameter "ssl_ca_certs", but redis:// is without TLS; use rediss://'),
    ("redis+cluster://one?ssl_ca_certs=/ca", "use rediss+cluster://"),
    ("unix:///s?ssl_ca_certs=/ca", "a Unix socket has none"),
    ("redis://redis?sentinel_password=x", "which is for redis+sentinel:// and rediss+sentinel:// only"),
    ("rediss://redis?ssl_cert_reqs=maybe", "has another value of ssl_cert_reqs than required, optional, none"),
    ("rediss://redis?ssl_check_hostname=maybe", "has another value of ssl_check_hostname than true or false"),
    ("rediss://redis?ssl_cert_reqs=none&ssl_check_hostname=true", "ssl_check_hostname=true with ssl_cert_reqs=none"),
    ("rediss://redis?ssl_keyfile=/key", "has ssl_keyfile without ssl_certfile"),
    ("unix://", "names no path of a socket"),
    ("unix://run/redis.sock", "names no path of a socket; expected unix:///PATH"),
    ("redis+sentinel://one", "names no master; expected redis+sentinel://HOST,HOST/NAME/DB"),
    ("redis+sentinel://one/calls/x", "has a database that is no number"),
    ("redis+sentinel://one,/calls", "names no host"),
    ("redis+cluster://one/1", "a Redis Cluster has database 0 only"),
]


@pytest.mark.parametrize(("url", "words"), WRONG)
def test_every_wrong_url_has_its_sentence_and_nothing_of_the_password(url: str, words: str) -> None:
    with pytest.raises(AddressError, match=re.escape(words)) as caught:
        parse_address(url)
    assert CANARY not in str(caught.value).lower()


@given(user=st.text(), password=st.text())
def test_every_user_and_password_is_understood_once_it_is_encoded(user: str, password: str) -> None:
    password = password or "x"
    address = parse_address(f"redis://{_encoded(user)}:{_encoded(password)}@redis/1")
    assert address.access == Access(user, password, 1)


@given(text=st.text(alphabet=st.characters(codec="utf-8")))
def test_every_other_text_is_refused_with_a_sentence_or_is_an_address(text: str) -> None:
    for scheme in ("redis", "rediss", "unix", "redis+sentinel", "redis+cluster"):
        try:
            address = parse_address(f"{scheme}://{text}")
        except AddressError as error:
            assert str(error)  # noqa: PT017 (most texts are refused)
        else:
            assert address.nodes


def test_no_password_shows_when_an_address_is_printed() -> None:
    url = f"rediss+sentinel://ann:{CANARY}@one/calls?sentinel_password={CANARY}&ssl_password={CANARY}"
    assert CANARY not in repr(parse_address(url))


@pytest.mark.parametrize(
    ("node", "text"),
    [(Node("redis", 1), "redis:1"), (Node("::1", 1), "[::1]:1"), (Node(path="/run/s"), "/run/s")],
)
def test_a_node_is_written_as_in_a_url(node: Node, text: str) -> None:
    assert str(node) == text


def _encoded(text: str) -> str:
    return quote(text, safe="", errors="strict")
