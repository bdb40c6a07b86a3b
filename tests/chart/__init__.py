"""The Helm chart and what is made from it: `helm` renders it, the real API server judges it."""
