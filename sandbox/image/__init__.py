"""The operator's image: built by docker, podman or buildah, and run like a kubelet runs it.

`dockerfile` reads the Dockerfile, and `install` carries out its Python part without any container; `build` builds it;
`bases` makes the base images where no registry is reachable; `container` runs what was built.
"""
