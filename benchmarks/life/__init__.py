"""The life of a call after Ready: how soon Roomkeeper says who is there, lets go of people, and has put all in order.

`webhooks`, `people`, `heartbeats`, `signals` and `terminations` measure latencies, each from a clock's start that the
benchmark knows to an effect that a process of its own sees (`sight`); `cycles` measures whole lives against the floor.
`scene` starts what they need, `calls` has the steps that they share, `tap` stands between LiveKit and the operator, and
`run` puts them together.
"""
