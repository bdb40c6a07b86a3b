"""helm/roomkeeper/README.md: how to install the chart, and the table of its values."""

from __future__ import annotations

import json
from typing import Any, Final

from controller.generate.chart.schema import settings_in_values
from controller.generate.chart.values import Value, read_values
from controller.generate.markdown import table

_INTRODUCTION: Final = """\
# The chart `roomkeeper`

Installs [Roomkeeper](../../README.md): the operator, its CRDs, and just the rights that it needs. It needs Kubernetes
1.30 or newer, and Helm 3.18 or newer, or 4.

```sh
kubectl create namespace roomkeeper-system
kubectl -n roomkeeper-system create secret generic roomkeeper-livekit \\
  --from-literal=url=wss://LIVEKIT --from-literal=api-key=KEY --from-literal=api-secret=SECRET
kubectl -n roomkeeper-system create secret generic roomkeeper-redis --from-literal=url=redis://REDIS:6379/0
helm install roomkeeper helm/roomkeeper --namespace roomkeeper-system
```

Then tell LiveKit where to send its webhooks: `helm install` prints what to paste.
[docs/install.md](../../docs/install.md) has the whole way, also without Helm.

- **Credentials** are never values: the chart mounts Secrets that you create, and the operator reads files.
- **CRDs** are part of the release (`crds.enabled`), are upgraded with it, and stay when it goes (`crds.keep`). If they
  were installed with `kubectl apply` before, use `helm install --take-ownership` once.
- **Uninstalling** runs a hook that lets go of all Matches and Rooms first, so that nothing hangs on a finalizer
  (`uninstall.policy`).
- **One image**: operator, hook and test are the same image, so a private registry needs one copy (`image.repository`,
  `image.digest`).
- **A second release** in one cluster serves other namespaces than the first (both have `watchAnyNamespace: false` and
  `watchNamespaces`), and leaves the CRDs to the first (`crds.enabled: false`).
- **Restricted Pod Security** holds for all pods. There is no `runAsUser`: the image's user is 65532, and OpenShift may
  choose another one.

## Values

Names that are not here are refused, also below `settings`.
"""


def readme(header: str, values: str) -> str:
    """The README, from the text of values.yaml."""
    rows = [(f"`{value.name}`", _default(value), value.description) for value in read_values(values)]
    names = ", ".join(f"`{name}`" for name in settings_in_values())
    return (
        f"{header}\n\n{_INTRODUCTION}\n{table(('value', 'default', 'meaning'), rows)}\n\n"
        "## The block `settings`\n\n"
        "Each is a setting of the operator by its name in camelCase; [docs/reference/settings.md]"
        f"(../../docs/reference/settings.md) has their meaning, defaults and bounds:\n{names}.\n"
    )


def _default(value: Value) -> str:
    default: Any = value.default
    if default is None or default == "":
        return ""
    return f"`{json.dumps(default, ensure_ascii=False)}`" if not isinstance(default, str) else f"`{default}`"
