"""Calls to a stack's API server with the rights of an administrator: JSON both ways, refusals as errors.

`cluster` installs with it, `demo.watch` watches with it, and the client of the tests (`tests.support.kube`) uses it.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import aiohttp

from sandbox.endpoints import Endpoints
from sandbox.errors import ClusterError
from sandbox.trust import ssl_context

Body = dict[str, Any]

MERGE_PATCH = "application/merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
_TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True)
class Answer:
    """What the API server said: an object, or a refusal."""

    status: int
    body: Body

    @property
    def message(self) -> str:
        """The sentence of a refusal."""
        return str(self.body.get("message", self.status))

    @property
    def refusals(self) -> list[str]:
        """The causes of a refusal, as kubectl prints them: `spec.participants: Invalid value: …`."""
        causes = self.body.get("details", {}).get("causes", ())
        return [f"{cause.get('field', '')}: {cause['message']}" for cause in causes]


class Refused(ClusterError):
    """The API server refused a call; `answer` says why."""

    def __init__(self, what: str, answer: Answer) -> None:
        super().__init__(f"the API server refused {what}: {answer.message}")
        self.answer = answer

    @property
    def status(self) -> int:
        """The HTTP status of the refusal."""
        return self.answer.status


class Administrator:
    """A client with one session. Create it inside a running loop, and close it."""

    def __init__(self, server: str, ca: str, token: str, *, timeout_seconds: float = _TIMEOUT_SECONDS) -> None:
        self.server = server
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=ssl_context(ca)),
            headers={"Authorization": f"Bearer {token}"},
            timeout=aiohttp.ClientTimeout(total=timeout_seconds),
        )

    @classmethod
    def of(cls, endpoints: Endpoints) -> Self:
        """The administrator of a running stack."""
        return cls(endpoints.server, endpoints.ca, endpoints.admin_token)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the session."""
        await self._session.close()

    async def call(
        self, method: str, path: str, body: Body | None = None, *, what: str = "", content_type: str = MERGE_PATCH
    ) -> Body:
        """The object that the server answers with. Raises Refused, whose text names `what` was refused."""
        answer = await self.answer(method, path, body, content_type=content_type)
        if answer.status >= 400:
            raise Refused(what or f"{method} {path}", answer)
        return answer.body

    async def answer(
        self, method: str, path: str, body: Body | None = None, *, content_type: str = MERGE_PATCH
    ) -> Answer:
        """The server's answer, also if it is a refusal. `content_type` is that of a PATCH."""
        headers = {"Content-Type": content_type if method == "PATCH" else "application/json"}
        # aiohttp warns of bodies of a megabyte unless it can read them in pieces.
        data = None if body is None else io.BytesIO(json.dumps(body).encode())
        async with self._session.request(method, self.server + path, data=data, headers=headers) as response:
            if response.content_type == "application/json":
                return Answer(response.status, await response.json())
            # Paths that the server does not know are answered with plain text.
            return Answer(response.status, {"message": await response.text()})

    async def status(self, path: str) -> int:
        """The HTTP status of a GET, for paths that do not answer with JSON."""
        async with self._session.get(self.server + path) as response:
            return response.status

    async def watch(self, path: str) -> aiohttp.ClientResponse:
        """An open watch: JSON lines without an end. Raises aiohttp.ClientResponseError."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_TIMEOUT_SECONDS)
        response = await self._session.get(self.server + path, params={"watch": "1"}, timeout=timeout)
        response.raise_for_status()
        return response
