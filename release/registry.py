"""Asks a container registry whether it has a version already, by the HTTP API that all registries share.

"Could not read" is never "is not there": only the registry's own 404 means that a version is free.
"""

from __future__ import annotations

import base64
import json
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from release.tree import Unreadable

_MANIFESTS: Final = ", ".join(
    f"application/vnd.{kind}+json"
    for kind in (
        *("oci.image.index.v1", "oci.image.manifest.v1"),
        *("docker.distribution.manifest.list.v2", "docker.distribution.manifest.v2"),
    )
)
_TIMEOUT_SECONDS: Final = 30


@dataclass(frozen=True)
class Credentials:
    """Who asks; both are empty for what everyone may read."""

    user: str = ""
    password: str = ""

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Credentials:
        """Read REGISTRY_USER and REGISTRY_PASSWORD."""
        return cls(environment.get("REGISTRY_USER", ""), environment.get("REGISTRY_PASSWORD", ""))

    @property
    def headers(self) -> dict[str, str]:
        """The header that says so."""
        if not self.user:
            return {}
        return {"Authorization": "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()}


def is_published(reference: str, credentials: Credentials, scheme: str = "https") -> bool:
    """Whether the registry has `registry/repository:tag`. Raises Unreadable if it gives no clear answer."""
    match = re.fullmatch(r"([^/]+)/(.+):([^:/]+)", reference)
    if match is None:
        raise Unreadable(f"{reference!r} must be REGISTRY/REPOSITORY:TAG")
    registry, repository, tag = match.groups()
    url = f"{scheme}://{registry}/v2/{repository.lower()}/manifests/{tag}"
    status, headers, _ = _request(url, {"Accept": _MANIFESTS}, "HEAD")
    if status == 401:
        token = _token(headers.get("WWW-Authenticate", ""), credentials)
        status, _, _ = _request(url, {"Accept": _MANIFESTS, "Authorization": f"Bearer {token}"}, "HEAD")
    if status not in (200, 404):
        raise Unreadable(f"{registry} answers {status} for {repository}:{tag}, so it is not known whether it is there")
    return status == 200


def _token(challenge: str, credentials: Credentials) -> str:
    """Get a token to read, from the address that the registry named."""
    fields = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
    if "realm" not in fields:
        raise Unreadable(f"the registry asks for a login that is not understood: {challenge!r}")
    query = urllib.parse.urlencode({name: fields[name] for name in ("service", "scope") if name in fields})
    status, _, body = _request(f"{fields['realm']}?{query}", credentials.headers, "GET")
    if status != 200:
        raise Unreadable(f"{fields['realm']} answers {status}; check REGISTRY_USER and REGISTRY_PASSWORD")
    answer = json.loads(body)
    return str(answer.get("token") or answer["access_token"])


def _request(url: str, headers: Mapping[str, str], method: str) -> tuple[int, Mapping[str, str], bytes]:
    if not url.startswith(("https://", "http://")):
        raise Unreadable(f"{url!r} is not an address of HTTP")
    request = urllib.request.Request(url, headers=dict(headers), method=method)
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as answer:
            return answer.status, dict(answer.headers.items()), answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, dict(error.headers.items()), b""
    except OSError as error:
        raise Unreadable(f"{url} does not answer: {error}") from error
