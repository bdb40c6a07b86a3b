"""What is wrong with an installation, asked from outside the operator. Nothing is changed by it.

- `checks`    the table: one row per check, with its question and every sentence that it can end with
- `findings`  what a check answers, as values (pure)
- `cluster`   asks Kubernetes: server, CRDs, rights, Lease
- `stores`    asks Redis, LiveKit and the webhook's Service
- `rights`    the rules that the operator needs, as a table
- `run`       runs all checks side by side, each with a deadline
- `report`    the findings as lines and as JSON (pure)

`cli.doctor` is the command; `helm test` runs it in a pod, as the operator's ServiceAccount with its settings.
"""
