"""Plays scheduler, kubelet, cluster network and kube-proxy, so that what is installed on a sandbox's API server runs.

    async with Stack(StackOptions(workloads=True, operator=False, manifests=())) as stack:
        async with Kubelet(stack.endpoints, ProcessRuntime({image: environment}), directory) as kubelet:
            ...  # helm install, kubectl apply

kube-controller-manager makes Pods of Deployments and Jobs; `kubelet` binds each to its one node and runs it. Around it:

- `pod`          the life of one Pod: volumes, containers, status, termination
- `container`    the life of one container: start, probes, restarts with back-off
- `spec`         what a Pod says of a container, resolved (pure)
- `environment`  variables: values, references, service links (pure)
- `sources`      Secrets, ConfigMaps, Services and tokens, read from the API server
- `volumes`      volumes as directories
- `probes`       HTTP, TCP probes and their thresholds
- `status`       the status of a Pod (pure)
- `network`      addresses of Pods, and which port of this machine is behind each; `service` forwards to a Service
- `runtime`      what a runtime must do; `process` runs an installed environment, `runc` the image in a container
- `logs`         `kubectl logs`
"""
