"""The loop without its backends: queue, deadlines, worker, reconcile, recordings, and the registry of kinds."""
