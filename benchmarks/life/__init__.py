"""The life of a call after Ready: how soon Roomkeeper reports participants, releases users, and has cleaned up.

`webhooks`, `people`, `heartbeats`, `signals`, `terminations` and `restores` measure latencies: from a moment that the
benchmark knows until an effect that another process sees (`sight`). `cycles` compares whole lives with the floor.
`scene` starts what they need, `calls` has the steps that they share, `tap` is between LiveKit and the operator, and
`run` puts them together.
"""
