"""A matchmaker for Roomkeeper, to start from: README.md says how to run it and what to change.

`pool` calls the published scripts on Redis, `pairing` chooses pairs, `matches` creates Matches, `outcomes` follows how
they end, and `matchmaker` puts these together. `gateway` stands in for the gateways of users who wait. This folder
imports nothing of the operator. You can take it elsewhere, with the folder `contract` beside it.
"""
