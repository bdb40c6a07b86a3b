"""Chaos: calls run without a pause while faults are drawn from a table; afterwards nothing may be left anywhere.

`faults` is the table, `plan` draws from it, `scene` has what is disturbed, `hands` do it, `calls` make calls meanwhile,
and `run` looks for orphans at the end. `python -m tests.chaos` (= `make chaos`) is the long form; the suite has a short
one.
"""
