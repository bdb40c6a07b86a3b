"""Roomkeeper as users install it, on a cluster that runs its Pods: Helm, kubectl, kustomize."""
