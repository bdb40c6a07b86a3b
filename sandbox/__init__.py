"""The whole stack on one machine, for people, tests, the demo and the benchmarks.

- `parts`    which real programs are used, where they come from, how they are built once
- `stack`    starts, supervises and stops them; `sandbox.cli` is `roomkeeper sandbox …` around it
- `people`   real WebRTC clients, each in a process of its own

The sandbox may import the operator's packages; the operator never imports the sandbox.
"""
