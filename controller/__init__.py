"""The operator: from a Match in Kubernetes to two people in a LiveKit room, and back (docs/architecture.md)."""
