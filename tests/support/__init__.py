"""Helpers for tests on real programs: stacks, an administrator's access, operators, people, and the invariants."""
