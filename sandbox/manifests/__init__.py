"""`manifests/`: what `kubectl apply` and kustomize install, rendered from the Helm chart.

- `render`     asks helm for the objects of the chart, without what only Helm needs
- `kustomize`  the base, and what each component changes about it
- `command`    lists the files; `python -m sandbox.manifests [--check]` writes or compares them
"""
