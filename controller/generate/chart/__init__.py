"""What is made for the Helm chart in `helm/roomkeeper`: its schema, its README and the templates of the CRDs.

- `values`  reads values.yaml: each value with its comment, which is the one source of its description (pure)
- `shapes`  the table of what a value may be, where its default does not say that (pure)
- `schema`  values.schema.json, from both and from the settings of the operator
- `readme`  README.md
- `crds`    the CRDs as templates
"""
