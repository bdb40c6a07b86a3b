"""Logs and Events."""
