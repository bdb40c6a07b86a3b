"""What many live Matches cost, in one bring-up: memory, CPU, the event loop, a skip, a restart and a takeover.

`run` is the order of it. `fill` makes the Matches, `replica` runs operators, `ticking` is the operator with a clock
inside its event loop and `ticks` the other side of it, `starts` follows a start to its last decision, `skips` ends
calls meanwhile, `bare` takes what a start is compared with, `figures` is what comes out, `plot` draws it.
"""
