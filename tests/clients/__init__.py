"""Clients against small servers of our own: what they send, and what becomes of an answer."""
