# The operator's image: Python, Roomkeeper and its dependencies; no shell, no pip, no sandbox, no tests. See docs/image.md.
#
# Which bases: the tags are written here, and a digest pins each one. A digest names one published build, so it is given
# to the build by the release (`make image PYTHON_DIGEST=sha256:… RUNTIME_DIGEST=sha256:…`) and recorded in the label
# org.opencontainers.image.base.digest. Without a digest the tag decides.
ARG PYTHON_IMAGE=docker.io/library/python:3.13-slim-trixie
ARG PYTHON_DIGEST=""
ARG RUNTIME_IMAGE=gcr.io/distroless/python3-debian13:nonroot
ARG RUNTIME_DIGEST=""

# ---- the virtual environment /opt/roomkeeper

FROM ${PYTHON_IMAGE}${PYTHON_DIGEST:+@}${PYTHON_DIGEST} AS build

# `strip` is in binutils. Nothing of this layer reaches the image, so Debian's current version is good enough.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends binutils \
 && rm -rf /var/lib/apt/lists/* \
# The runtime image has its Python here. A virtual environment remembers the path it was made with.
 && ln -sf /usr/local/bin/python3.13 /usr/bin/python

WORKDIR /build
ARG SOURCE_DATE_EPOCH=0
# Newer versions of pip read the second variable for what builds the wheel, older ones the first.
ENV SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH} \
    PIP_CONSTRAINT=constraints.txt \
    PIP_BUILD_CONSTRAINT=constraints.txt \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore

# The secrets pip.conf and ca.crt are optional: for a package index of one's own, without a trace of it in the image.
COPY pyproject.toml constraints.txt ./
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf --mount=type=secret,id=ca.crt,target=/run/secrets/ca.crt \
    /usr/bin/python -m venv --without-pip /opt/roomkeeper \
 && /usr/bin/python -c 'import tomllib; project = tomllib.load(open("pyproject.toml", "rb"))["project"]; print(*project["dependencies"], *project["optional-dependencies"]["tracing"], sep="\n")' > requirements.txt \
 && /usr/bin/python -m pip --python /opt/roomkeeper/bin/python install --no-compile --only-binary :all: --requirement requirements.txt

COPY . .
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf --mount=type=secret,id=ca.crt,target=/run/secrets/ca.crt \
    /usr/bin/python -m pip wheel --no-deps --wheel-dir dist . \
 && /usr/bin/python -m pip --python /opt/roomkeeper/bin/python install --no-compile --no-deps --no-index --find-links dist roomkeeper

# ---- what is in it, as CycloneDX

FROM build AS sbom
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf --mount=type=secret,id=ca.crt,target=/run/secrets/ca.crt \
    /usr/bin/python -m venv --without-pip /opt/sbom \
 && /usr/bin/python -m pip --python /opt/sbom/bin/python install --only-binary :all: cyclonedx-bom \
 && /opt/sbom/bin/cyclonedx-py environment --output-reproducible --output-format JSON --pyproject pyproject.toml \
    --output-file roomkeeper.cdx.json /opt/roomkeeper/bin/python

# ---- small, compiled, and with one time on every file

FROM build AS finish
COPY --from=sbom /build/roomkeeper.cdx.json /opt/roomkeeper/share/sbom/
# The sources never change, so Python need not compare them with what is compiled. -f: what pip has run is compiled already.
RUN find /opt/roomkeeper -name '*.so' -exec strip --strip-unneeded {} + \
 && /opt/roomkeeper/bin/python -m compileall -q -f --invalidation-mode unchecked-hash /opt/roomkeeper/lib \
 && find /opt/roomkeeper -exec touch --no-dereference --date="@${SOURCE_DATE_EPOCH}" {} +

# ---- the image

FROM ${RUNTIME_IMAGE}${RUNTIME_DIGEST:+@}${RUNTIME_DIGEST}

COPY --from=finish /opt/roomkeeper /opt/roomkeeper

ENV PATH=/opt/roomkeeper/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1

# As a number: the kubelet cannot tell whether a name is root.
USER 65532:65532
# LiveKit's webhooks; /metrics, /livez and /readyz.
EXPOSE 8080 9090
STOPSIGNAL SIGTERM
ENTRYPOINT ["/opt/roomkeeper/bin/roomkeeper"]
CMD ["operator"]

# Last, as they differ from build to build.
ARG RUNTIME_IMAGE
ARG RUNTIME_DIGEST
ARG VERSION=unknown
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title="Roomkeeper" \
      org.opencontainers.image.description="A Kubernetes operator that keeps one-to-one calls on LiveKit alive and tidy" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.vendor="Roomkeeper" \
      org.opencontainers.image.url="https://github.com/roomkeeper/roomkeeper" \
      org.opencontainers.image.source="https://github.com/roomkeeper/roomkeeper" \
      org.opencontainers.image.documentation="https://github.com/roomkeeper/roomkeeper/tree/main/docs" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.base.name="${RUNTIME_IMAGE}" \
      org.opencontainers.image.base.digest="${RUNTIME_DIGEST}"
