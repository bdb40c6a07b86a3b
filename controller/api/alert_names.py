"""The names of the alerts. The table of errors says which of them tells about an error.

Neighbor: `generate.alerts` has a row for each name.
"""

from enum import StrEnum


class AlertName(StrEnum):
    """One alert of the chart; docs/alerts/ has its page."""

    NO_LEADER = "RoomkeeperNoLeader"
    KUBERNETES_DOWN = "RoomkeeperKubernetesDown"
    LIVEKIT_DOWN = "RoomkeeperLiveKitDown"
    REDIS_DOWN = "RoomkeeperRedisDown"
    ERRORS = "RoomkeeperErrors"
    PEOPLE_DO_NOT_CONNECT = "RoomkeeperPeopleDoNotConnect"
    ROOM_LOST = "RoomkeeperRoomLost"
    SLOW_TO_READY = "RoomkeeperSlowToReady"
    OLDEST_WAITER = "RoomkeeperOldestWaiter"
    MATCH_STUCK = "RoomkeeperMatchStuck"
    DELETION_STUCK = "RoomkeeperDeletionStuck"
    WEBHOOKS_MISSING = "RoomkeeperWebhooksMissing"
    WATCH_STALE = "RoomkeeperWatchStale"
    LOOP_STALLED = "RoomkeeperLoopStalled"
    SWEEP_FAILING = "RoomkeeperSweepFailing"
    CERTIFICATE_ENDS = "RoomkeeperCertificateEnds"
