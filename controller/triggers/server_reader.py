"""Reads which LiveKit servers there are, and their credentials: the LiveKitServers of the cache, and the Secrets.

A Secret is read by its name, whenever its LiveKitServer changes, at intervals, and when LiveKit refuses the key: no
right to list or watch Secrets is needed. A Secret that cannot be read changes nothing. What fails with one
LiveKitServer concerns no other one, and never the watch that brought it. Neighbors: `triggers.kubernetes` fills the
cache, `backends.server_configs` keeps what was read here.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import structlog

from controller.api.conditions import ConditionReason
from controller.api.livekitserver import LiveKitServer
from controller.api.meta import HasMetadata
from controller.backends.bundle import SECRETS
from controller.backends.server_configs import ServerConfigs
from controller.backends.server_secrets import credentials_in
from controller.clients.kubernetes import KubernetesClient
from controller.clients.livekit_keys import Credentials
from controller.errors import BackendError, Forbidden, NotFound
from controller.facts.server import Trouble
from controller.facts.unreadable import Unreadable
from controller.telemetry.pulse import Pulse
from controller.views.cache import ObjectCache

log = structlog.get_logger(__name__)

READ_AGAIN_SECONDS = 10.0
# A key that LiveKit refuses may be refused for long.
_LEAST_PAUSE_SECONDS = 1.0
_FIRST_SECONDS = 5.0
_READS_AT_ONCE = 8


class ServerReader:
    """Keeps `configs` as the LiveKitServers in the operator's own `namespace` and their Secrets say.

    `blank` gets the API secrets that were read, before they are used: no log may repeat them.
    """

    def __init__(
        self,
        cache: ObjectCache[Any],
        configs: ServerConfigs,
        kubernetes: KubernetesClient,
        namespace: str,
        blank: Callable[[Iterable[str]], None],
    ) -> None:
        self._cache = cache
        self._configs = configs
        self._kubernetes = kubernetes
        self._namespace = namespace
        self._blank = blank
        self._due = asyncio.Event()
        self._said: dict[str, str] = {}
        self._reading = asyncio.Semaphore(_READS_AT_ONCE)
        cache.follow(kept=self._changed, unreadable=self._cannot_be_read, gone=self._gone)

    def key_was_refused(self) -> None:
        """LiveKit has refused an API key: the Secret may have another one by now."""
        self._due.set()

    async def first_read(self) -> None:
        """Read everything once, before anything is decided. What cannot be read in time is read later."""
        try:
            async with asyncio.timeout(_FIRST_SECONDS):
                await self._read_all()
        except TimeoutError:
            log.warning("the credentials of LiveKit servers could not be read in time; they are read later")

    async def run(self, pulse: Pulse) -> None:
        """Read until cancelled."""
        while True:
            pulse.beat()
            self._due.clear()
            await self._read_all(pulse.beat)
            await asyncio.sleep(_LEAST_PAUSE_SECONDS)
            try:
                async with asyncio.timeout(READ_AGAIN_SECONDS):
                    await self._due.wait()
            except TimeoutError:
                continue

    def _names(self) -> list[str]:
        return [name for namespace, name in self._cache.names() if namespace == self._namespace]

    def _changed(self, server: LiveKitServer) -> None:
        """What the object says counts at once, with the credentials that are known."""
        if server.metadata.namespace != self._namespace:
            return
        name, secret = server.metadata.name, server.spec.credentials_secret_name
        with self._apart(name):
            if not secret:
                self._configs.keep(server, self._configs.credentials_of_settings)
            else:
                unread = Trouble(ConditionReason.CREDENTIALS_UNREAD, f"{self._where(secret)} has not been read yet")
                known = self._configs.knows(name)
                self._configs.keep(server, None, self._configs.problem(name) if known else unread)
        self._due.set()

    def _cannot_be_read(self, server: Unreadable) -> None:
        if server.metadata.namespace == self._namespace:
            told = f"its LiveKitServer cannot be read: {server.why}"
            with self._apart(server.metadata.name):
                self._configs.hold(server.metadata.name, Trouble(ConditionReason.NOT_ASKED, told))

    def _gone(self, server: HasMetadata) -> None:
        if server.metadata.namespace == self._namespace:
            self._said.pop(server.metadata.name, None)
            with self._apart(server.metadata.name):
                self._configs.drop(server.metadata.name)

    @contextlib.contextmanager
    def _apart(self, name: str) -> Iterator[None]:
        """Isolate one server: a follower of `configs` that fails with it must stop neither others nor the watch."""
        try:
            yield
        except Exception:
            log.exception("a LiveKit server could not be taken up as it is configured", server=name)

    async def _read_all(self, beat: Callable[[], None] = lambda: None) -> None:
        async def read(name: str) -> None:
            async with self._reading:
                beat()
                with self._apart(name):
                    await self._read(name)

        await asyncio.gather(*(read(name) for name in self._names()))

    async def _read(self, name: str) -> None:
        server = self._cache.get(self._namespace, name)
        if server is None or isinstance(server, Unreadable):
            return  # what was read of it before counts
        secret = server.spec.credentials_secret_name
        found = await self._credentials(secret) if secret else self._configs.credentials_of_settings
        if isinstance(found, Credentials):
            self._blank(found.keys.secrets.values())
        now = self._cache.get(self._namespace, name)
        if isinstance(now, LiveKitServer) and now.spec.credentials_secret_name == secret:
            credentials, problem = (found, None) if isinstance(found, Credentials) else (None, found)
            self._configs.keep(now, credentials, problem)
            self._say(name, self._configs.problem(name))

    async def _credentials(self, secret: str) -> Credentials | Trouble:
        """What is in the Secret, or what is wrong with it. A Secret that could not be read is not a missing one."""
        where = self._where(secret)
        try:
            body = await self._kubernetes.get(SECRETS, self._namespace, secret)
        except NotFound:
            told = f"{where} does not exist; create it with the keys apiKey and apiSecret"
            return Trouble(ConditionReason.CREDENTIALS_MISSING, told)
        except Forbidden as error:
            if error.code != "403":  # our own credentials are refused, and no right is missing
                return Trouble(ConditionReason.CREDENTIALS_UNREAD, f"{where} could not be read: {error.message}")
            told = (
                f"{where} may not be read; give the operator the right to get this Secret (livekitServers.secretNames)"
            )
            return Trouble(ConditionReason.CREDENTIALS_FORBIDDEN, told)
        except BackendError as error:
            return Trouble(ConditionReason.CREDENTIALS_UNREAD, f"{where} could not be read: {error.message}")
        data = body.get("data")
        return credentials_in(secret, data if isinstance(data, dict) else {})

    def _where(self, secret: str) -> str:
        return f"the Secret {secret} in the namespace {self._namespace}"

    def _say(self, name: str, problem: Trouble | None) -> None:
        """Log what is wrong, once."""
        sentence = problem.sentence if problem is not None else ""
        before = self._said.get(name, "")
        self._said[name] = sentence
        if sentence and sentence != before:
            log.warning("a LiveKit server cannot be used as it is configured", server=name, why=sentence)
        elif before and not sentence:
            log.info("a LiveKit server can be used as it is configured now", server=name)
