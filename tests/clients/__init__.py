"""Clients against small servers of our own: the requests that they send, and what they make of the answers."""
