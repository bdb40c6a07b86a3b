"""A soak: many calls and many outages, after which the operator holds no more of anything than before.

`census` counts inside the operator, `work` makes calls and outages, `verdict` compares. `python -m benchmarks.soak` is
the long form; the suite has a short one.
"""
