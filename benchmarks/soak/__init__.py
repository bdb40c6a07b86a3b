"""A soak: many calls and many outages, after which the operator must hold as little as before.

`census` counts inside the operator, `work` makes calls and outages, `verdict` compares. `python -m benchmarks.soak` is
the long form; the suite has a short one.
"""
