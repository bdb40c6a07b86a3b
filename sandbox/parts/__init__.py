"""The real programs of the stack: which, which version, from where.

- `programs`  the table: what is pinned in `parts/`, how it is built, how its version is judged (pure)
- `locate`    finds a program that fits: KUBEBUILDER_ASSETS, PATH, the cache, a wheel
- `build`     builds the missing ones with Go into the per-user cache
- `wheels`    programs that come from PyPI: kubectl, and Go itself
- `debian`    programs of Debian's packages: Prometheus
- `foreign`   CRDs of other projects, for the tests of the chart
"""

from sandbox.parts.build import ensure
from sandbox.parts.locate import Located, locate
from sandbox.parts.programs import STACK_PROGRAMS

__all__ = ["STACK_PROGRAMS", "Located", "ensure", "locate"]
