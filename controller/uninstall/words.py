"""The plan in words: what was found, the numbered steps, and what stays behind. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from controller.api.names import MATCH, PAUSED, ResourceKind
from controller.facts.observation import Absent, Present, Unknown, value_of
from controller.uninstall.facts import CrdFacts, Found, Life, ObjectFacts, Policy
from controller.uninstall.plan import (
    DeleteCrds,
    DeleteDeployment,
    DeleteLease,
    DeletePolicy,
    Drain,
    EndOperator,
    Plan,
    Release,
    RunOperator,
    Step,
    StopOperator,
)

_SHOWN = 10


def describe(plan: Plan, found: Found) -> str:
    """The whole plan as text, without a line end."""
    lines = [f"Roomkeeper {found.installation}: {plan.pulse.why}", *_objects(found.known_objects), ""]
    if not plan.steps:
        return "\n".join([*lines, "Nothing to do."])
    for number, step in enumerate(plan.steps, start=1):
        lines.append(f"  {number}. {sentence(step, found)}")
    if remarks := list(_remarks(plan, found)):
        lines += ["", *(f"  - {remark}" for remark in remarks)]
    return "\n".join(lines)


def sentence(step: Step, found: Found) -> str:
    """What a step will do."""
    match step:
        case DeletePolicy(name):
            return f"delete the MutatingAdmissionPolicy {name} and its binding: no new Match gets our finalizer from it"
        case Drain():
            whole = f"delete {count(found.known_objects)}, and wait until the operator has ended them"
            return f"{whole}; if it cannot, go on" if step.may_fall_back else whole
        case RunOperator():
            return "run an operator beside this command, with the settings of its environment"
        case EndOperator():
            return "end that operator"
        case StopOperator():
            return f"scale the Deployment {found.installation} to 0, and wait until its pods are gone"
        case Release():
            held = _left_to_release(found)
            return f"take our finalizer off {count(held)}" if held else "take our finalizer off what is left"
        case DeleteLease(name):
            return f"delete the Lease {found.installation.namespace}/{name}"
        case DeleteDeployment():
            return f"delete the Deployment {found.installation}"
        case DeleteCrds(names):
            elsewhere = value_of(found.elsewhere)
            left = 0 if elsewhere is None else len(elsewhere)
            also = f", with {left} objects in other namespaces" if left else ""
            return f"delete the CRDs {', '.join(names)}{also}"


def still_held(people: Sequence[str]) -> str:
    """What becomes of the users of Matches that go without the operator."""
    more = f" and {len(people) - _SHOWN} more" if len(people) > _SHOWN else ""
    shown = ", ".join(people[:_SHOWN]) + more
    return f"Redis: {shown} stay in a call that no longer has a Match, and nobody puts them back into the queue"


def count(things: Iterable[ObjectFacts]) -> str:
    """How many there are of each kind: "2 Matches and 1 Room"."""
    numbers = Counter(thing.kind for thing in things)
    parts = [_number(number, kind) for kind, number in sorted(numbers.items())]
    return " and ".join(parts) or "nothing"


def _number(number: int, kind: ResourceKind) -> str:
    plural = "Matches" if kind is MATCH else f"{kind}s"
    return f"1 {kind}" if number == 1 else f"{number} {plural}"


def _objects(things: Sequence[ObjectFacts]) -> Iterator[str]:
    if not things:
        yield "no Matches and no Rooms"
        return
    namespaces = sorted({thing.namespace for thing in things})
    shown = ", ".join(namespaces[:_SHOWN]) + (", …" if len(namespaces) > _SHOWN else "")
    yield f"{count(things)} in {'namespaces' if len(namespaces) > 1 else 'namespace'} {shown}"
    # The Room of a Match goes with it.
    listed = [thing for thing in things if not thing.is_owned] or list(things)
    width = max(len(str(thing)) for thing in listed[:_SHOWN])
    for thing in listed[:_SHOWN]:
        yield f"    {thing!s:<{width}}   {_state(thing)}".rstrip()
    if len(listed) > _SHOWN:
        yield f"    … and {len(listed) - _SHOWN} more"


def _state(thing: ObjectFacts) -> str:
    parts = [thing.state, ", ".join(thing.people), "being deleted" if thing.is_deleting else ""]
    return "   ".join(part for part in parts if part)


def _left_to_release(found: Found) -> tuple[ObjectFacts, ...]:
    return found.held if _is_released(found) else ()


def _is_released(found: Found) -> bool:
    lease = value_of(found.lease)
    return lease is None or not lease.is_live(found.now)


def _remarks(plan: Plan, found: Found) -> Iterator[str]:
    """What stays, and what a user should know before the confirmation."""
    if plan.pulse.life is not Life.WORKS and plan.policy is Policy.RELEASE and found.known_objects:
        yield "the operator does not work, so nobody ends the calls; they go on until the people leave"
    if any(isinstance(step, Release) for step in plan.steps) and plan.policy is Policy.RELEASE:
        yield from _left_behind(found)
    for thing in found.known_objects:
        if thing.foreign:
            yield f"{thing} also has the finalizer {', '.join(thing.foreign)}: it is not ours and stays"
        if thing.is_paused and plan.policy is Policy.DRAIN:
            yield f"{thing} has the annotation {PAUSED}: it is removed, or the operator would leave the object alone"
    if any(isinstance(policy, Unknown) for policy in found.policies):
        yield f"the policy {found.installation.policy_name} is not checked: {_why(found.policies)}"
    if isinstance(found.servers, Unknown):
        yield f"LiveKitServers are not checked, and may keep our finalizer: {found.servers.why}"
    yield from _rest(plan, found)


def _left_behind(found: Found) -> Iterator[str]:
    """What a release leaves in Redis and on LiveKit, and what happens with it."""
    staying = [thing for thing in found.held if not thing.is_deleting and not _crd_goes(thing, found.crds)]
    going = [thing for thing in found.held if thing not in staying]
    if staying:
        yield f"{count(staying)} stay; an operator that is installed later takes them up with their calls"
    if people := [user for thing in going if thing.kind is MATCH for user in thing.people]:
        yield f"{still_held(people)}; with the operator's settings, --settle does"
    if going:
        yield (
            "LiveKit: a room closes by itself when its people have left (departureTimeoutSeconds); "
            "their tokens are valid until they expire"
        )


def _crd_goes(thing: ObjectFacts, crds: Iterable[object]) -> bool:
    present = (crd.value for crd in crds if isinstance(crd, Present))
    return any(isinstance(crd, CrdFacts) and crd.is_deleting and crd.name == thing.kind.crd for crd in present)


def _rest(plan: Plan, found: Found) -> Iterator[str]:
    deployment = value_of(found.deployment)
    if any(isinstance(crd, Present) and crd.value.is_deleting for crd in found.crds):
        yield "the CRDs are being deleted already: they go as soon as no object has a finalizer"
    elif plan.steps and not any(isinstance(step, DeleteCrds) for step in plan.steps):
        yield "the CRDs stay" + ("" if all(isinstance(crd, Absent) for crd in found.crds) else "; --crds deletes them")
    if deployment is not None and deployment.helm_release and any(isinstance(s, DeleteDeployment) for s in plan.steps):
        namespace = found.installation.namespace
        yield f"Helm installed it: `helm uninstall {deployment.helm_release} --namespace {namespace}` removes the rest"
    elif any(isinstance(step, DeleteDeployment) for step in plan.steps):
        yield "rights, Services and Secrets stay; `kubectl delete -f` with the file that you installed removes them"


def _why(observations: Iterable[object]) -> str:
    return next((seen.why for seen in observations if isinstance(seen, Unknown)), "")
