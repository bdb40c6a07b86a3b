"""Executors, as far as they are pure."""
