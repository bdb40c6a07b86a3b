"""A stand-in for gateways: it puts users into the queue, sends their beats, follows their notices, and prints what
changes for them.

    python -m examples.matchmaker.gateway --redis-url … alice bob

A real gateway does the same for each client that is connected to it. Ctrl-C takes all users out of the queue.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import time

from .pool import Pool

_BEAT_SECONDS = 1.0


class Person:
    """One user's connection."""

    def __init__(self, pool: Pool, user_id: str) -> None:
        self._pool = pool
        self._id = user_id
        self._seq = ""
        self._match_uid = ""
        self._has_token = False

    def enter(self) -> None:
        """Enter the queue, or keep the place in it."""
        self._tell(" ".join(self._pool.enqueue(self._id)))

    def beat(self) -> None:
        """Poll once, and print what is new."""
        answer = self._pool.beat(self._id)
        if answer[0] == "UNKNOWN":  # Redis lost its data, the pool was not served yet, or they were idle for long
            self.enter()
            return
        state, match_uid, match_name, room, reason, seq = answer[1:7]
        if seq != self._seq:
            self._seq = seq
            self._tell(" ".join(word for word in (state, match_name, reason) if word))
        if match_uid != self._match_uid:
            self._match_uid, self._has_token = match_uid, False
        if room and not self._has_token and (text := self._pool.token(match_uid, self._id)):
            self._has_token = True
            entry = json.loads(text)  # entry["token"] goes to the client, and into no log
            self._tell(f"may join {entry['room']} at {entry['url']} until {entry['expiresAt']}")

    def hear(self, notice: dict[str, str]) -> None:
        """Pass on to the client what it must know at once."""
        if notice["type"] == "rejoin":  # the client joins again with the token that it has, if it is not connected
            self._tell(f"joins {notice['room']} at {notice['url']} again: LiveKit had lost the room")

    def leave(self) -> None:
        """Leave the queue. Refused during a Match."""
        self._tell(" ".join(self._pool.leave(self._id)))

    def _tell(self, what: str) -> None:
        print(f"{self._id:12} {what}", flush=True)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--namespace", default="default")
    parser.add_argument("--redis-url", default=os.environ.get("REDIS_URL", "redis://localhost:6379/0"))
    parser.add_argument("--cluster-id", default="default")
    parser.add_argument("ids", nargs="+", metavar="id")
    options = parser.parse_args()
    pool = Pool(options.redis_url, cluster_id=options.cluster_id, namespace=options.namespace)
    people = {user_id: Person(pool, user_id) for user_id in options.ids}
    read_on = pool.end_of_notices(options.ids)
    for person in people.values():
        person.enter()
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            for person in people.values():
                person.beat()
            next_beat = time.monotonic() + _BEAT_SECONDS
            while (left := next_beat - time.monotonic()) > 0:
                for user_id, notice in pool.next_notices(read_on, wait_seconds=left):
                    people[user_id].hear(notice)
    for person in people.values():
        person.leave()


if __name__ == "__main__":
    main()
