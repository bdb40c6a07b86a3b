"""Rules: what follows from the facts. `plan` and `status` both ask here, and neither asks the other. Pure."""
