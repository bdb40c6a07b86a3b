"""How fast Roomkeeper is, measured against the floor and an idiomatic kopf operator on the same real stack.

`python -m benchmarks --help` lists the options; docs/performance.md has the results. The main process creates the
Matches (`load`), another process watches them become Ready (`watcher`), and one subject at a time does the work:
`floor`, `kopf_operator`, or the operator itself (`subjects`). `measure` puts them together, `life` measures what
follows after Ready, `plan` has the order, and `figures`, `report` and `document` show the results.
"""
