"""Statuses as tables: state in, status out."""
