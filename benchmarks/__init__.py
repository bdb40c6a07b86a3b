"""How fast Roomkeeper is, measured against the floor and an idiomatic kopf operator on the same real stack.

`python -m benchmarks --help` tells how; docs/performance.md holds the results. The main process creates the Matches
(`load`), one of its own sees them become Ready (`watcher`), and one subject at a time does the work: `floor`,
`kopf_operator`, or the operator itself (`subjects`). `measure` puts them together, `life` measures what follows after
Ready; `plan` says in which order, `figures`, `report` and `document` what came of it.
"""
