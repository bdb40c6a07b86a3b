"""The questions to Kubernetes: server, CRDs, rights and Lease. Each returns the key of a saying in `checks`."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Final

from controller.api.digests import SCHEMA_DIGESTS
from controller.api.names import API_VERSION, KINDS, SCHEMA_DIGEST
from controller.clients.kubernetes import Body, Resource
from controller.doctor.findings import Answer, Scene, answer
from controller.doctor.rights import Question, questions
from controller.errors import BackendError, BackendUnavailable, Forbidden, NotFound
from controller.version import VERSION

_CRDS: Final = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions")
_LEASES: Final = Resource("coordination.k8s.io", "v1", "leases")
_REVIEWS: Final = Resource("authorization.k8s.io", "v1", "selfsubjectaccessreviews")
_WHO_AM_I: Final = Resource("authentication.k8s.io", "v1", "selfsubjectreviews")
_AT_ONCE: Final = 16
_SHOWN: Final = 4


async def server(scene: Scene) -> Answer:
    """Whether the API server answers, and as whom."""
    try:
        version = (await scene.kubernetes.read("/version")).get("gitVersion", "?")
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        me = (await scene.kubernetes.create(_WHO_AM_I, "", review))["status"]["userInfo"]["username"]
    except BackendUnavailable as error:
        return answer("away", server=scene.server, why=error.message)
    except BackendError as error:
        return answer("refused", server=scene.server, why=error.message)
    return answer("ok", version=version, server=scene.server, user=me)


async def crds(scene: Scene) -> Answer:
    """Whether our kinds are served, in the schema of this version."""
    try:
        served = await scene.kubernetes.served(API_VERSION)
    except BackendError as error:
        return answer("unread", why=error.message)
    if missing := [kind.crd for kind in KINDS if kind.plural not in served]:
        return answer("missing", names=", ".join(missing))
    try:
        found = await asyncio.gather(*(scene.kubernetes.get(_CRDS, "", kind.crd) for kind in KINDS))
    except Forbidden:
        return answer("served", version=VERSION)
    except BackendError as error:
        return answer("unread", why=error.message)
    if going := [crd["metadata"]["name"] for crd in found if "deletionTimestamp" in crd["metadata"]]:
        return answer("going", names=", ".join(going))
    if others := [crd["metadata"]["name"] for crd in found if not _is_ours(crd)]:
        return answer("other", names=", ".join(others), version=VERSION)
    return answer("ok", version=VERSION)


def _is_ours(crd: Body) -> bool:
    annotations = crd["metadata"].get("annotations") or {}
    return bool(annotations.get(SCHEMA_DIGEST) == SCHEMA_DIGESTS[crd["metadata"]["name"]])


async def rights(scene: Scene) -> Answer:
    """Whether the caller may do everything that the operator does."""
    watched = scene.settings.namespaces if scene.settings is not None else ()
    asked = list(questions(scene.namespace, watched, scene.lease_name))
    limit = asyncio.Semaphore(_AT_ONCE)

    async def may(question: Question) -> bool:
        async with limit:
            return await _may(scene, question)

    try:
        allowed = await asyncio.gather(*map(may, asked))
    except BackendError as error:
        return answer("unread", why=error.message)
    missing = [question for question, is_allowed in zip(asked, allowed, strict=True) if not is_allowed]
    if not missing:
        return answer("ok", number=len(asked))
    more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
    return answer("missing", rights=", ".join(map(str, missing[:_SHOWN])) + more, number=len(asked))


async def _may(scene: Scene, question: Question) -> bool:
    attributes = {
        "group": question.group,
        "resource": question.resource,
        "subresource": question.subresource,
        "verb": question.verb,
        "namespace": question.namespace,
        "name": question.name,
    }
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {key: value for key, value in attributes.items() if value}},
    }
    return bool((await scene.kubernetes.create(_REVIEWS, "", review))["status"]["allowed"])


async def lease(scene: Scene) -> Answer:
    """Which replica works, and since when it has not said so."""
    named, where = f"{scene.namespace}/{scene.lease_name}", {"namespace": scene.namespace, "name": scene.name}
    try:
        spec = (await scene.kubernetes.get(_LEASES, scene.namespace, scene.lease_name)).get("spec", {})
    except NotFound:
        return answer("missing", lease=named, **where)
    except BackendError as error:
        return answer("unread", lease=named, why=error.message)
    holder = spec.get("holderIdentity")
    if not holder or not spec.get("renewTime"):
        return answer("free", lease=named, **where)
    age = max(0.0, (scene.clock.now() - datetime.fromisoformat(spec["renewTime"])).total_seconds())
    key = "ok" if age <= float(spec.get("leaseDurationSeconds") or 0) else "old"
    epoch = spec.get("leaseTransitions", 0)
    return answer(key, lease=named, holder=holder, seconds=f"{age:.0f}", epoch=epoch, **where)
