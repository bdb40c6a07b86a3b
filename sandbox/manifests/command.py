"""`python -m sandbox.manifests [--check]`: write `manifests/` from the chart, or name the files that are stale.

It needs helm, which it builds once if it is missing. Neighbor: `controller.generate` makes the rest, without helm.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from controller.generate.files import Generator
from sandbox.endpoints import OPERATOR_NAMESPACE
from sandbox.errors import SandboxError
from sandbox.manifests.kustomize import base, component, joined
from sandbox.manifests.render import Rendered, render
from sandbox.parts import ensure
from sandbox.progress import Progress

COMMAND: Final = "python -m sandbox.manifests"
CHART: Final = Path("helm", "roomkeeper")
FOLDER: Final = Path("manifests")

_HEADER: Final = f"# Made by `{COMMAND}` from {CHART}; edit the chart instead.\n"
_NAMESPACE: Final = f"""\
# The namespace of the operator. Matches and Rooms are in the namespaces of the applications that create them.
apiVersion: v1
kind: Namespace
metadata:
  name: {OPERATOR_NAMESPACE}
  labels:
    app.kubernetes.io/name: roomkeeper
    app.kubernetes.io/part-of: roomkeeper
    pod-security.kubernetes.io/enforce: restricted
"""

Values = Mapping[str, Any]

# Without Helm, nothing keeps the CRDs when the rest is deleted.
CLUSTER: Final[Values] = {"crds": {"keep": False}}
# kustomize cannot move the namespace inside the policy's expression.
BASE: Final[Values] = {**CLUSTER, "secretPolicy": {"enabled": False}}
NAMESPACED: Final[Values] = {
    "rbac": {"scope": "Namespaces"},
    "watchAnyNamespace": False,
    "crds": {"enabled": False},
    "createGlobalResources": False,
}
HIGHLY_AVAILABLE: Final[Values] = {
    "replicaCount": 2,
    "topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"}
    ],
}
MONITORED: Final[Values] = {"serviceMonitor": {"enabled": True, "renderMode": "alwaysRender"}}
FINALIZERS: Final[Values] = {"finalizerPolicy": {"enabled": True}}
SECRETS: Final[Values] = {"secretPolicy": {"enabled": True}}

COMPONENTS: Final[Mapping[str, Values]] = {
    # An administrator has made the namespace and installed the CRDs.
    "namespaced": NAMESPACED,
    "ha": {**BASE, **HIGHLY_AVAILABLE},
    "monitoring": {**BASE, **MONITORED},
}


def manifests(root: Path) -> dict[str, str]:
    """Every file of `manifests/` by its path below the root."""
    helm = ensure(("helm",), Progress())["helm"].path

    def rendered(values: Values, *options: str) -> list[Rendered]:
        return render(helm, root / CHART, values, *options)

    namespace = Rendered(_NAMESPACE)
    cluster = [namespace, *rendered(BASE)]
    files = {
        "install.yaml": joined([namespace, *rendered(CLUSTER)]),
        "install-namespaced.yaml": joined(rendered(NAMESPACED)),
        "finalizer-policy.yaml": joined(rendered(FINALIZERS, "--show-only", "templates/finalizerpolicy.yaml")),
        "secret-policy.yaml": joined(rendered(SECRETS, "--show-only", "templates/secretpolicy.yaml")),
    }
    files |= {f"kustomize/base/{name}": text for name, text in base(cluster).items()}
    for name, values in COMPONENTS.items():
        first = [] if values is NAMESPACED else [namespace]
        made = component(cluster, [*first, *rendered(values)])
        files |= {f"kustomize/components/{name}/{file}": text for file, text in made.items()}
    return {str(FOLDER / path): _HEADER + text for path, text in files.items()}


GENERATOR: Final = Generator(COMMAND, "manifests", f"the chart in {CHART}", manifests)


def main() -> int:
    """Run the command; return the exit status. An error of helm is printed as it is."""
    try:
        return GENERATOR.main()
    except SandboxError as error:
        print(f"{COMMAND}: {error}", file=sys.stderr)
        return 1
