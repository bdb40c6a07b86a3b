"""The demo: calls on real programs, from `kubectl apply` to two connected people and back, each step verified.

- `run`     sets everything up, runs the story, and reports the result (`make demo`, `roomkeeper sandbox demo`)
- `story`   the steps, in order: what is done, and what must then be seen
- `world`   the hands and eyes of the story: kubectl, people, and a read of each store
- `watch`   the moments at which the API server reported a change
- `checks`  waits for the expected state, and reports what was seen instead
- `screen`  how it looks
"""
