"""The API: models, tables and generated schemas, first by themselves, then on a real API server."""
