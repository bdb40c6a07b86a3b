"""Redis: the users' states, the ledgers of Matches, and everything else that `docs/redis.md` describes.

`keys` names the keys, `scripts` holds the Lua, `client` speaks to the server and translates its errors,
`replies`, `ledger` and `records` are what comes back, `requests` what is asked for; `pool` is the operator's
side of one matchmaking pool and `gateway` the side of gateways and matchmakers.
"""
