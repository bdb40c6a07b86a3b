"""Taking Roomkeeper out of a cluster in the right order, so that no finalizer outlives the operator.

- `facts`   what an installation consists of and what is there of it, as values
- `survey`  reads them from the API server
- `plan`    decides the steps and says them in words (pure)
- `work`    carries the steps out; every step looks again first, so a run can be interrupted and repeated

`cli.uninstall` asks for a confirmation between the plan and the work.
"""
