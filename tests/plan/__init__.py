"""Planners as tables: state in, plan out."""
