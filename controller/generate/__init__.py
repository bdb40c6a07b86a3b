"""Writes the files that are made from the code: CRDs, manifests, reference pages. Nothing imports it."""
