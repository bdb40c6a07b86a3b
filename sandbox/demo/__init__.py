"""The demo: one call on real programs, from `kubectl apply` to two people connected, and back, each step verified.

- `run`     sets everything up, tells the story, and says how it went (`make demo`, `roomkeeper sandbox demo`)
- `story`   the steps, in order: what is done, and what must then be seen
- `world`   the hands and eyes of the story: kubectl, people, and a read of each store
- `watch`   the moments at which the API server told of a change
- `checks`  waiting for what is expected, and the sentence for what was seen instead
- `screen`  how it looks
"""
