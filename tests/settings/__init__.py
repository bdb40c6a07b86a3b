"""Settings: every wrong one has its sentence."""
