"""Roomkeeper in the environments of its users: each row of docs/environments.md, on the real programs."""
