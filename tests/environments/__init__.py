"""Redis, LiveKit and Kubernetes as their users run them: each row of docs/environments.md, on the real programs."""
