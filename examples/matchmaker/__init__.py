"""A matchmaker for Roomkeeper, to start from: README.md says how to run it and what to change.

`pool` speaks with Redis through the published scripts, `pairing` decides, `matches` creates Matches and `outcomes`
learns what became of them, `matchmaker` puts them together. `gateway` stands in for the people who wait. Nothing
here imports the operator: the folder can be taken elsewhere, with the scripts of docs/redis.md beside it.
"""
