"""The API `roomkeeper.dev/v1alpha1`: resources, enums and tables, as frozen pydantic models.

This package imports only pydantic and the standard library, so every other package may import it. The package
`controller.generate` makes the CRDs in `crds/`, `docs/reference/api.md`, `docs/lifecycle.md` and `docs/events.md` from
these models and tables, and the tests check the operator against them.
"""
