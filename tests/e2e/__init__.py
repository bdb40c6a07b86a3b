"""End to end: from `kubectl apply` to two people in a call and back, on real programs."""
