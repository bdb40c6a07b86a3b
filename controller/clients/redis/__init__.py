"""Redis: the users' states, the ledgers of Matches, and everything else that `docs/redis.md` describes.

`keys` names the keys, `lua` loads the scripts, `client` sends requests over `wire` and translates errors. `requests`
has the parameters of the scripts, `commands` their keys and arguments, `retention` how long things stay; `replies`,
`ledger` and `records` are what comes back. `pool`, `inbox` and `outbox` are the operator's side of one matchmaking
pool, `gateway` is the side of gateways and matchmakers.
"""
