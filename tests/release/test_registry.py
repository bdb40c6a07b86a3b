"""Whether a version is published already, asked of a registry on this machine that answers as ghcr.io does."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from release.registry import Credentials, is_published
from release.tree import Unreadable

ROBOT = Credentials("robot", "word")


class _Registry(BaseHTTPRequestHandler):
    """Has roomkeeper/roomkeeper:1.2.3; wants a token, and gives it to `robot`."""

    def do_GET(self) -> None:
        wanted = "Basic " + base64.b64encode(b"robot:word").decode()
        known = self.headers.get("Authorization") == wanted and "scope=repository" in self.path
        self._answer(200 if known else 403, body=json.dumps({"token": "pass"}).encode() if known else b"")

    def do_HEAD(self) -> None:
        if self.path.startswith("/v2/broken/"):
            self._answer(500)
        elif self.headers.get("Authorization") != "Bearer pass":
            challenge = f'Bearer realm="http://{self.headers["Host"]}/token",service="here",scope="repository:x:pull"'
            self._answer(401, {"WWW-Authenticate": challenge})
        else:
            self._answer(200 if self.path == "/v2/roomkeeper/roomkeeper/manifests/1.2.3" else 404)

    def _answer(self, status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def registry() -> Iterator[str]:
    """Its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Registry) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_a_version_that_is_there_is_published_and_another_is_not(registry: str) -> None:
    assert is_published(f"{registry}/Roomkeeper/Roomkeeper:1.2.3", ROBOT, scheme="http")
    assert not is_published(f"{registry}/roomkeeper/roomkeeper:1.2.4", ROBOT, scheme="http")


@pytest.mark.parametrize(
    ("name", "credentials", "told"),
    [
        ("broken/roomkeeper:1.2.3", ROBOT, "answers 500 for broken/roomkeeper:1.2.3, so it is not known"),
        ("roomkeeper/roomkeeper:1.2.3", Credentials(), "answers 403; check REGISTRY_USER and REGISTRY_PASSWORD"),
        ("roomkeeper/roomkeeper", ROBOT, "must be REGISTRY/REPOSITORY:TAG"),
    ],
)
def test_what_cannot_be_read_never_counts_as_not_published(
    registry: str, name: str, credentials: Credentials, told: str
) -> None:
    with pytest.raises(Unreadable, match=told):
        is_published(f"{registry}/{name}", credentials, scheme="http")


def test_a_registry_that_does_not_answer_is_named() -> None:
    with pytest.raises(Unreadable, match="does not answer"):
        is_published("127.0.0.1:1/roomkeeper/roomkeeper:1.2.3", ROBOT, scheme="http")
