"""The loop without its backends: queue, deadlines, worker, lease, pools, dumps."""
