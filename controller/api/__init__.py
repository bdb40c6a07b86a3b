"""The API `roomkeeper.dev/v1alpha1`: resources, enums and tables, as frozen pydantic models.

Imports only pydantic and the standard library, so that every other package may import it. The CRDs of
`crds/`, `docs/reference/api.md`, `docs/lifecycle.md` and the tests are made from what is here: `schema` turns
models into structural schemas, `crds` into resource definitions, `reference` and `lifecycle` into pages, and
`generate` writes the files.
"""
