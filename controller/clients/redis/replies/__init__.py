"""What the scripts of Redis answer, as values: `match` for a Match's ledger, `pool` for the rest of a pool, `inbox`
for what others say to the operator.

The gateways' replies are in `clients.redis.gateway`, beside the requests that get them. `refusals` has the replies that
several scripts share. A refusal is a value, not an exception, because a plan acts upon it. Each script has one table of
its reply codes (`table`), and a reply outside of it raises BackendRefused. In replies of idempotent scripts, `replay`
tells that the effect was there already, so a request whose reply was lost is simply repeated.
"""
