"""How one replica keeps itself going."""
