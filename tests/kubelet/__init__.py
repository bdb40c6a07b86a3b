"""The sandbox's kubelet: what a Pod says is what runs."""
