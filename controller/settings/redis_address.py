"""The address of Redis: what a URL says about servers, credentials, database and TLS. Pure: it opens nothing.

`model` checks the setting with it, `clients.redis` connects with what it returns. No error repeats a part of the URL,
except the scheme and the name of a parameter, because a password that is not percent-encoded can be anywhere in it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final, TypeAlias
from urllib.parse import unquote

REDIS_PORT: Final = 6379
SENTINEL_PORT: Final = 26379

EXPECTED: Final = (
    "redis://HOST:PORT/DB, rediss://…, unix:///SOCKET, redis+sentinel://HOST,HOST/NAME/DB or redis+cluster://HOST,HOST"
)


class AddressError(ValueError):
    """The URL is wrong. The message is the rest of a sentence that begins with the name of the setting.

    `option` is the field of TlsOptions that is wrong, if it is one.
    """

    def __init__(self, message: str, option: str = "") -> None:
        super().__init__(message)
        self.option = option


class Topology(StrEnum):
    """How many servers are behind an address, and who knows which of them to ask."""

    SINGLE = "single"
    SENTINEL = "sentinel"
    """The nodes are sentinels; they know the master of `master_name`."""
    CLUSTER = "cluster"
    """The nodes are some of a Redis Cluster; each knows the owner of every slot."""


@dataclass(frozen=True, slots=True)
class Node:
    """One server: a host and a port, or the path of a Unix socket."""

    host: str = ""
    port: int = REDIS_PORT
    path: str = ""

    def __str__(self) -> str:
        if self.path:
            return self.path
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class TlsOptions:
    """What TLS needs. Files are read at each connection; without a CA the CAs of the system count."""

    ca_file: str = ""
    ca_path: str = ""
    """A directory of CAs, as `openssl rehash` makes it."""
    ca_data: str = ""
    """CAs as text (PEM)."""
    cert_file: str = ""
    key_file: str = ""
    """Empty: the key is in `cert_file`, too."""
    key_password: str = field(default="", repr=False)
    verifies: bool = True
    checks_host_name: bool = True


@dataclass(frozen=True, slots=True)
class Access:
    """What a connection to a node begins with: TLS, credentials, database."""

    username: str = ""
    password: str = field(default="", repr=False)
    db: int = 0
    tls: TlsOptions | None = None

    @property
    def has_credentials(self) -> bool:
        """Whether to log in; a user may have an empty password."""
        return bool(self.username or self.password)


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """Where Redis is, and how to get in. The nodes of a Sentinel address are the sentinels, with an access of their
    own; `access` is for the servers that hold data."""

    topology: Topology
    nodes: tuple[Node, ...]
    access: Access = Access()
    master_name: str = ""
    sentinel_access: Access = Access()


def secrets_in(url: str) -> tuple[str, ...]:
    """The pieces of a URL that no text may repeat: passwords as they are written, with the signs around them.

    A password is as long as its owner likes, so it counts together with these signs only.
    """
    parts = _FORM.fullmatch(url.partition("://")[2])
    assert parts is not None, "every text has this form"
    password = parts["authority"].rpartition("@")[0].partition(":")[2]
    pairs = (pair for pair in (parts["query"] or "").split("&") if pair.partition("=")[0].endswith("_password"))
    return (*((f":{password}@",) if password else ()), *pairs)


def with_tls_files(address: RedisAddress, **files: str) -> RedisAddress:
    """The same address with these files in the options of TLS (`ca_file`, `cert_file`, `key_file`), if it has any."""
    tls = address.access.tls
    if tls is None or not files:
        return address
    changed = replace(tls, **files)  # type: ignore[arg-type]  # all of them are texts
    sentinel = replace(address.sentinel_access, tls=changed)
    return replace(address, access=replace(address.access, tls=changed), sentinel_access=sentinel)


AddressSource: TypeAlias = Callable[[], RedisAddress]
"""Returns the address as it is now. It is called for each connection, so a Secret may change meanwhile."""


def fixed_address(url: str) -> AddressSource:
    """The source of a URL that does not change. Raises AddressError."""
    address = parse_address(url)
    return lambda: address


@dataclass(frozen=True, slots=True)
class _Scheme:
    topology: Topology
    default_port: int
    is_secure: bool


_SCHEMES: Final[Mapping[str, _Scheme]] = {
    "redis": _Scheme(Topology.SINGLE, REDIS_PORT, is_secure=False),
    "rediss": _Scheme(Topology.SINGLE, REDIS_PORT, is_secure=True),
    "unix": _Scheme(Topology.SINGLE, REDIS_PORT, is_secure=False),
    "redis+sentinel": _Scheme(Topology.SENTINEL, SENTINEL_PORT, is_secure=False),
    "rediss+sentinel": _Scheme(Topology.SENTINEL, SENTINEL_PORT, is_secure=True),
    "redis+cluster": _Scheme(Topology.CLUSTER, REDIS_PORT, is_secure=False),
    "rediss+cluster": _Scheme(Topology.CLUSTER, REDIS_PORT, is_secure=True),
}

_TLS_PARAMETERS: Final = frozenset(
    {
        *("ssl_ca_certs", "ssl_ca_path", "ssl_ca_data", "ssl_certfile", "ssl_keyfile", "ssl_password"),
        *("ssl_cert_reqs", "ssl_check_hostname"),
    }
)
_SENTINEL_PARAMETERS: Final = frozenset({"sentinel_username", "sentinel_password"})
_PARAMETERS: Final = frozenset({"db"}) | _TLS_PARAMETERS | _SENTINEL_PARAMETERS

_FORM: Final = re.compile(r"(?P<authority>[^/?#]*)(?P<path>[^?#]*)(\?(?P<query>[^#]*))?(?P<fragment>#.*)?", re.DOTALL)
_HOST: Final = re.compile(r"[^\s\[\]:%<>\"'\\^`{|}]+")
_HOST_PORT: Final = re.compile(r"(?P<host>\[[^\]]*\]|[^:\[\]]*)(:(?P<port>.*))?", re.DOTALL)
_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_BLANK: Final = re.compile(r"[\s\x00-\x1f\x7f]")
_NUMBER: Final = re.compile(r"[0-9]{1,9}")
_TRUE: Final = frozenset({"true", "1", "yes", "on"})
_FALSE: Final = frozenset({"false", "0", "no", "off"})
_ENCODE: Final = "percent-encode the special characters of user and password (/ is %2F, ? is %3F, # is %23, @ is %40)"


def parse_address(url: str) -> RedisAddress:
    """The address that a URL names. Raises AddressError."""
    scheme_name, separator, rest = url.partition("://")
    scheme = _SCHEMES.get(scheme_name)
    if not separator or scheme is None:
        is_word = separator and re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]{0,30}", scheme_name)
        found = f'scheme "{scheme_name}"' if is_word else "no scheme"
        raise AddressError(f"has {found}; expected {EXPECTED}")
    if _BLANK.search(rest):
        raise AddressError("has white space or a control character in it; percent-encode it (a space is %20)")
    parts = _FORM.fullmatch(rest)
    assert parts is not None, "every text has this form"
    authority, path, query = parts["authority"], parts["path"], parts["query"] or ""
    # An @ in a path or a parameter is written %40, so this one ends a password.
    if "@" in path + query or parts["fragment"] is not None:
        raise AddressError(f"has a /, a ? or a # in front of the host, or an @ or a # behind it; {_ENCODE}")
    if _BAD_ESCAPE.search(rest):
        raise AddressError("has a % that is not followed by two hexadecimal digits; write %25 for a %")
    userinfo, _, hosts = authority.rpartition("@")
    username, password = _credentials(userinfo)
    nodes: tuple[Node, ...]
    if scheme_name == "unix":
        nodes, master_name, database = (_socket(hosts, path),), "", ""
    else:
        nodes = _nodes(hosts, scheme, scheme_name)
        master_name, database = _path(path, scheme)
    # Last, because only now it is certain that what follows a ? is no part of a password.
    options = _options(query, scheme, scheme_name)
    tls = _tls(options) if scheme.is_secure else None
    access = Access(username, password, _database(database, options), tls)
    if scheme.topology is Topology.CLUSTER and access.db:
        raise AddressError("names a database; a Redis Cluster has database 0 only, so leave it out")
    sentinel = Access(options.get("sentinel_username", ""), options.get("sentinel_password", ""), tls=tls)
    return RedisAddress(scheme.topology, nodes, access, master_name, sentinel)


def _credentials(userinfo: str) -> tuple[str, str]:
    username, colon, password = userinfo.partition(":")
    if username and not colon:
        raise AddressError("names a user without a password; expected USER:PASSWORD@HOST, or :PASSWORD@HOST")
    return _decoded(username), _decoded(password)


def _decoded(text: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise AddressError("has a percent-encoded byte that is not text in UTF-8") from None


def _socket(hosts: str, path: str) -> Node:
    if hosts or not path.strip("/"):
        raise AddressError("names no path of a socket; expected unix:///PATH/TO/redis.sock")
    return Node(path=_decoded(path))


def _nodes(hosts: str, scheme: _Scheme, scheme_name: str) -> tuple[Node, ...]:
    names = hosts.split(",")
    if len(names) > 1 and scheme.topology is Topology.SINGLE:
        secure = "rediss" if scheme.is_secure else "redis"
        raise AddressError(
            f"names several hosts; {scheme_name}:// takes one, {secure}+sentinel:// takes the sentinels, and "
            f"{secure}+cluster:// takes nodes of a cluster"
        )
    return tuple(dict.fromkeys(_node(name, scheme) for name in names))


def _node(name: str, scheme: _Scheme) -> Node:
    form = _HOST_PORT.fullmatch(name)
    if form is None or (":" in (form["port"] or "") and not form["host"].startswith("[")):
        raise AddressError("names a host that is no host name; an IPv6 address needs brackets: [::1]:6379")
    host, port = form["host"], form["port"]
    if not host:
        raise AddressError(f"names no host; expected {EXPECTED}")
    if host.startswith("["):
        host = _ipv6(host[1:-1])
    elif not _HOST.fullmatch(host):
        raise AddressError("names a host that is no host name: it has a character that no host name has")
    if port is None or port == "":
        return Node(host, scheme.default_port)
    if not _NUMBER.fullmatch(port) or not 1 <= int(port) <= 65535:
        raise AddressError(f"has a port that is no number from 1 to 65535; if that is no port, {_ENCODE}")
    return Node(host, int(port))


def _ipv6(text: str) -> str:
    try:
        return str(ipaddress.IPv6Address(_decoded(text)))
    except ipaddress.AddressValueError:
        raise AddressError("names a host in brackets that is no IPv6 address; expected [ADDRESS]:PORT") from None


def _path(path: str, scheme: _Scheme) -> tuple[str, str]:
    """The name of the master, and the database, if the path has them."""
    words = [_decoded(word) for word in path.removeprefix("/").split("/")]
    if words[-1] == "":
        words.pop()
    if scheme.topology is Topology.SENTINEL:
        if not words or not words[0]:
            raise AddressError("names no master; expected redis+sentinel://HOST,HOST/NAME/DB")
        name, *words = words
    else:
        name = ""
    if len(words) > 1:
        raise AddressError("has more than a database behind the host; expected /DB with a number, or nothing")
    return name, words[0] if words else ""


def _database(in_path: str, options: Mapping[str, str]) -> int:
    found = {value for value in (in_path, options.get("db", "")) if value}
    if len(found) > 1:
        raise AddressError("names two databases, one in the path and one as db=; give one of them")
    for value in found:
        if not _NUMBER.fullmatch(value):
            raise AddressError("has a database that is no number; expected /DB or ?db=DB with a number from 0 on")
        return int(value)
    return 0


def _options(query: str, scheme: _Scheme, scheme_name: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for pair in query.split("&") if query else ():
        name, _, value = pair.partition("=")
        # A name that looks like none may be a piece of a password.
        shown = f'"{name}"' if re.fullmatch(r"[a-z][a-z_]{0,40}", name) else "of another form"
        if name not in _PARAMETERS:
            raise AddressError(f"has a parameter {shown}, which is unknown; known are {', '.join(sorted(_PARAMETERS))}")
        if name in options:
            raise AddressError(f"has the parameter {shown} twice; give it once")
        if name in _TLS_PARAMETERS and not scheme.is_secure:
            remedy = "a Unix socket has none" if scheme_name == "unix" else f"use {_secure(scheme_name)}://"
            raise AddressError(f"has the parameter {shown}, but {scheme_name}:// is without TLS; {remedy}")
        if name in _SENTINEL_PARAMETERS and scheme.topology is not Topology.SENTINEL:
            raise AddressError(f"has the parameter {shown}, which is for redis+sentinel:// and rediss+sentinel:// only")
        options[name] = _decoded(value)
        if not options[name] and name not in _SENTINEL_PARAMETERS:
            raise AddressError(f"has the parameter {shown} without a value; give it one, or leave it out")
    return options


def _secure(scheme_name: str) -> str:
    return scheme_name.replace("redis", "rediss", 1)


def _tls(options: Mapping[str, str]) -> TlsOptions:
    verifies = _word(options, "ssl_cert_reqs", {"required": True, "optional": True, "none": False}, default=True)
    truth = dict.fromkeys(_TRUE, True) | dict.fromkeys(_FALSE, False)
    checks_host_name = _word(options, "ssl_check_hostname", truth, default=verifies, shown="true or false")
    if checks_host_name and not verifies:
        raise AddressError("has ssl_check_hostname=true with ssl_cert_reqs=none; leave one of them out")
    if "ssl_keyfile" in options and "ssl_certfile" not in options:
        raise AddressError("has ssl_keyfile without ssl_certfile; a key needs its certificate")
    return TlsOptions(
        ca_file=options.get("ssl_ca_certs", ""),
        ca_path=options.get("ssl_ca_path", ""),
        ca_data=options.get("ssl_ca_data", ""),
        cert_file=options.get("ssl_certfile", ""),
        key_file=options.get("ssl_keyfile", ""),
        key_password=options.get("ssl_password", ""),
        verifies=verifies,
        checks_host_name=checks_host_name,
    )


def _word(
    options: Mapping[str, str], name: str, meanings: Mapping[str, bool], *, default: bool, shown: str = ""
) -> bool:
    value = options.get(name)
    if value is None:
        return default
    if value.lower() not in meanings:
        raise AddressError(f"has another value of {name} than {shown or ', '.join(meanings)}")
    return meanings[value.lower()]
