"""The questions to Kubernetes: server, CRDs, rights and Leases. Each returns the key of a saying in `checks`."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Final

from controller.api.digests import SCHEMA_DIGESTS
from controller.api.meta import format_seconds
from controller.api.names import API_VERSION, KINDS, SCHEMA_DIGEST
from controller.backends.lease import LEASES
from controller.clients.kubernetes import Body, Resource
from controller.doctor.findings import Answer, Scene, answer
from controller.doctor.rights import Question, questions
from controller.errors import BackendError, BackendUnavailable, Forbidden, NotFound
from controller.rules.installations import COUNTS_FOR, LABEL, OPERATOR, Installation, Shared, installation, shared
from controller.version import VERSION

_CRDS: Final = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions")
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
        spec = (await scene.kubernetes.get(LEASES, scene.namespace, scene.lease_name)).get("spec", {})
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


async def others(scene: Scene) -> Answer:
    """Which other operators are set up for the same namespaces, and which Leases were left behind."""
    place, bodies = "in the cluster", list[Body]()
    try:
        bodies = await _leases(scene, "")
    except Forbidden:
        place = f"in the namespace {scene.namespace}, the only one whose Leases may be read"
        bodies = await _leases(scene, scene.namespace)
    now = scene.clock.now()
    read = [one for body in bodies if (one := installation(body)) is not None]
    ours = next((one for one in read if (one.namespace, one.name) == (scene.namespace, scene.lease_name)), None)
    if ours is None:
        return answer("unknown", lease=f"{scene.namespace}/{scene.lease_name}")
    rivals = shared(ours, [one for one in read if one.counts(now)])
    theirs = [one for one in rivals if not one.is_ours]
    if left := [one for one in theirs if one.other.is_left_behind(now)]:
        return answer("left", what="\n".join(map(_holds_up, left)), commands="; ".join(map(_deletion, left)))
    if theirs:
        return answer("theirs", what="\n".join(f"{one.other.shown} serves {one.where}" for one in theirs))
    if rivals:
        return answer("ours", what="\n".join(f"{one.other.shown} leaves {one.where} to this one" for one in rivals))
    if old := [one for one in read if one is not ours and not one.counts(now)]:
        return answer("old", what="\n".join(map(_left_behind, old)))
    return answer("ok", number=len(read) - 1, place=place)


async def _leases(scene: Scene, namespace: str) -> list[Body]:
    pages = scene.kubernetes.pages(LEASES, namespace, labels=f"{LABEL}={OPERATOR}")
    return [body async for page in pages for body in page["items"]]


def _holds_up(one: Shared) -> str:
    until = format_seconds(one.other.renewed_at + COUNTS_FOR)
    return f"{_left_behind(one.other)}: until {until} this operator leaves {one.where} to it"


def _left_behind(one: Installation) -> str:
    holder = f"its holder {one.holder} renewed it" if one.holder else "it was released"
    return f"{one.shown} does not run; {holder} at {format_seconds(one.renewed_at)}"


def _deletion(one: Shared) -> str:
    return f"kubectl --namespace {one.other.namespace} delete lease {one.other.name}"
