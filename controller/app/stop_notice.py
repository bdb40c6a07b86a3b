"""Tells the users of all calls that the operator stops, if the settings give a message for them.

Calls go on without an operator, so by default no user learns of it. Those who stop the whole service may want it: until
an operator runs again, no call is ended and no user is paired. Neighbor: `app.life` calls this between the signal and
the end of the work.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from controller.backends.bundle import Backends
from controller.clients.redis.outbox import Outbox
from controller.errors import BackendError, LeadershipLost
from controller.facts.time import milliseconds

log = structlog.get_logger(__name__)

_SECONDS = 3.0
_USERS_AT_ONCE = 200


async def tell_of_stop(backends: Backends, serves: Callable[[str], bool], replica: str, message: str) -> None:
    """Write the notice `shutdown` for each user in a call, once; what takes longer than 3 s is left out.

    Another operator that serves a namespace goes on there, so `serves` says whether we do.
    """
    try:
        async with asyncio.timeout(_SECONDS):
            namespaces = [namespace for namespace in backends.calls.namespaces() if serves(namespace)]
            told = await asyncio.gather(*(_tell(backends, namespace, replica, message) for namespace in namespaces))
    except TimeoutError:
        log.warning("not all users could be told that the operator stops", seconds=_SECONDS)
    else:
        log.info("the users in calls were told that the operator stops", users=sum(told))


async def _tell(backends: Backends, namespace: str, replica: str, message: str) -> int:
    """Tell the users of one pool; return how many they are."""
    users = [who for call in backends.calls.of(namespace) if call.is_up for who in call.identities]
    now_ms = milliseconds(backends.clock.now())
    try:
        outbox = Outbox(await backends.pools.get(namespace))
        for start in range(0, len(users), _USERS_AT_ONCE):
            reply = await outbox.stops(users[start : start + _USERS_AT_ONCE], replica, message, now_ms=now_ms)
            backends.pools.check(namespace, reply)
    except (BackendError, LeadershipLost) as error:
        log.warning("users cannot be told that the operator stops", namespace=namespace, error=str(error))
        return 0
    return len(users)
