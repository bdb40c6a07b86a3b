"""What to do, and in which order: from what was found to steps, remarks or a refusal. Pure.

The order is the point. Nothing may add our finalizer any more before objects are deleted; the operator must run while
they are deleted, and must not run when their finalizer is taken off by hand; the rights and the CRDs go last. A step is
a value: `work` carries it out, `words` says it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from controller.facts.observation import Absent, Present, Unknown, value_of
from controller.uninstall.facts import Found, Life, ObjectFacts, Policy, Pulse, pulse


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the user asked for."""

    policy: Policy | None = None
    """None: drain if the operator works, else release."""
    is_hook: bool = False
    """Helm runs it before it deletes the rest: Drain falls back to Release, and the Deployment stays for Helm."""
    crds: bool = False
    settles: bool = False
    """Where no operator works, run one beside the command, which ends the calls."""


@dataclass(frozen=True, slots=True)
class DeletePolicy:
    """Delete the policy that adds our finalizer to new Matches, and its binding."""

    name: str


@dataclass(frozen=True, slots=True)
class Drain:
    """Delete Matches, then Rooms, and wait for the operator to end them."""

    may_fall_back: bool


@dataclass(frozen=True, slots=True)
class RunOperator:
    """Run an operator beside the command, until all is drained."""


@dataclass(frozen=True, slots=True)
class EndOperator:
    """End the operator that runs beside the command, and delete its Lease."""


@dataclass(frozen=True, slots=True)
class StopOperator:
    """Scale the Deployment to 0, and wait until nothing of it runs."""


@dataclass(frozen=True, slots=True)
class Release:
    """Take our finalizer off whatever still carries it."""


@dataclass(frozen=True, slots=True)
class DeleteLease:
    """Delete the Lease, which the operator made itself."""

    name: str


@dataclass(frozen=True, slots=True)
class DeleteDeployment:
    """Delete the Deployment."""


@dataclass(frozen=True, slots=True)
class DeleteCrds:
    """Delete our CustomResourceDefinitions, with every object that is left."""

    names: tuple[str, ...]


Step: TypeAlias = (
    DeletePolicy
    | RunOperator
    | Drain
    | EndOperator
    | StopOperator
    | Release
    | DeleteLease
    | DeleteDeployment
    | DeleteCrds
)


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps in their order. With a refusal there are none."""

    pulse: Pulse
    policy: Policy
    steps: tuple[Step, ...] = ()
    refusal: str = ""


def plan(found: Found, wishes: Wishes) -> Plan:
    """The steps for what was found, or the sentence that says why there are none."""
    now = pulse(found)
    policy = _policy(wishes, now)
    for judge in _REFUSALS:
        if sentence := judge(found, wishes, now, policy):
            return Plan(now, policy, refusal=sentence)
    return Plan(now, policy, tuple(_steps(found, wishes, now, policy)))


def _policy(wishes: Wishes, now: Pulse) -> Policy:
    """Without an operator nobody can end a call, so the calls are released."""
    can_drain = now.life is Life.WORKS or wishes.settles
    return (wishes.policy or Policy.DRAIN) if can_drain else Policy.RELEASE


def _steps(found: Found, wishes: Wishes, now: Pulse, policy: Policy) -> Iterator[Step]:
    if any(isinstance(seen, Present) for seen in found.policies):
        yield DeletePolicy(found.installation.policy_name)
    drains = policy is Policy.DRAIN and bool(found.known_objects)
    has_deployment = isinstance(found.deployment, Present)
    stop = [StopOperator()] if has_deployment and not _is_stopped(found, now) else []
    if drains and now.life is Life.WORKS:
        yield Drain(may_fall_back=wishes.is_hook)
        yield from stop
    elif drains:
        # One that starts and dies again must not work beside ours.
        yield from stop
        yield RunOperator()
        yield Drain(may_fall_back=False)
        yield EndOperator()
    else:
        yield from stop
    # Once the operator is stopped, a Match that a client created meanwhile has nobody to take its finalizer off.
    will_run = now.life is Life.WORKS and not has_deployment
    if (found.held or drains) and not will_run:
        yield Release()
    if (lease := value_of(found.lease)) is not None and (has_deployment or not lease.is_live(found.now)):
        yield DeleteLease(found.installation.lease_name)
    if has_deployment and not wishes.is_hook:
        yield DeleteDeployment()
    if wishes.crds and (crds := [crd.value.name for crd in found.crds if isinstance(crd, Present)]):
        yield DeleteCrds(tuple(crds))


def _is_stopped(found: Found, now: Pulse) -> bool:
    deployment = value_of(found.deployment)
    return now.life is Life.STOPPED and deployment is not None and deployment.wanted == 0


# ---- refusals


def _unreadable(found: Found, _wishes: Wishes, _now: Pulse, _policy: Policy) -> str:
    if isinstance(found.objects, Unknown):
        hint = "" if found.installation.watched else "; name the namespaces with --watch-namespaces"
        return f"Matches and Rooms cannot be listed: {found.objects.why}{hint}"
    return ""


def _whose(found: Found, _wishes: Wishes, _now: Pulse, _policy: Policy) -> str:
    """Which objects belong to an installation is known by the namespaces that it serves."""
    others = value_of(found.others)
    if found.installation.watched is not None or not others or not found.known_objects:
        return ""
    return (
        f"it is not known which namespaces {found.installation} serves, and this cluster also has {', '.join(others)}: "
        "name its namespaces with --watch-namespaces"
    )


def _narrower(found: Found, _wishes: Wishes, _now: Pulse, _policy: Policy) -> str:
    """An operator that stops leaves the objects of all its namespaces."""
    deployment, named = value_of(found.deployment), found.installation.watched
    if deployment is None or deployment.watched is None or not named:
        return ""
    others = [namespace for namespace in deployment.watched if namespace not in named]
    if deployment.watched and not others:
        return ""
    also = ", ".join(others) if others else "all namespaces"
    return f"the operator serves {also}, and stops for all of them: leave out --watch-namespaces, or name them all"


def _untold(found: Found, _wishes: Wishes, now: Pulse, _policy: Policy) -> str:
    if now.life is Life.UNKNOWN and found.known_objects:
        return f"it is not known whether the operator works: {now.why}"
    return ""


def _undrainable(found: Found, wishes: Wishes, now: Pulse, policy: Policy) -> str:
    if wishes.is_hook or wishes.policy is not Policy.DRAIN or policy is Policy.DRAIN or not found.known_objects:
        return ""
    return (
        f"the calls cannot be drained, because the operator does not work: {now.why}. Start it and try again, give "
        "this command its settings and --settle, or let the calls go on with --policy release"
    )


def _unservable(found: Found, wishes: Wishes, now: Pulse, _policy: Policy) -> str:
    """An operator starts once all CRDs are served, and those without objects are the first to go."""
    if not wishes.settles or now.life is Life.WORKS or not found.known_objects:
        return ""
    if not any(isinstance(crd, Absent) for crd in found.crds):
        return ""
    return (
        "an operator cannot start, because some of its CRDs are gone: apply crds/ again, and repeat with --crds (those "
        "that are being deleted still serve their objects, and go in the end)"
    )


def _unstoppable(found: Found, _wishes: Wishes, now: Pulse, policy: Policy) -> str:
    if policy is not Policy.RELEASE or now.life is not Life.WORKS or not isinstance(found.deployment, Absent):
        return ""
    return (
        f"the operator works ({now.why}), but there is no Deployment {found.installation} to stop it: stop it yourself "
        "and try again, or name the Deployment with --name and --namespace"
    )


def _not_alone(found: Found, wishes: Wishes, _now: Pulse, _policy: Policy) -> str:
    """CRDs belong to the whole cluster: their deletion takes the objects of every namespace."""
    if not wishes.crds:
        return ""
    if isinstance(found.elsewhere, Unknown):
        return f"--crds deletes the objects of all namespaces, and they cannot be listed: {found.elsewhere.why}"
    if others := value_of(found.others):
        return f"the CRDs stay: {', '.join(others)} in this cluster needs them; leave out --crds"
    if elsewhere := [thing for thing in value_of(found.elsewhere) or () if thing.is_held]:
        return (
            f"the CRDs stay: {_first(elsewhere)} is in a namespace that this installation does not serve; "
            "leave out --crds, or name all namespaces with --watch-namespaces"
        )
    return ""


def _first(things: list[ObjectFacts]) -> str:
    more = f" and {len(things) - 1} more" if len(things) > 1 else ""
    return f"{things[0]}{more}"


_REFUSALS: tuple[Callable[[Found, Wishes, Pulse, Policy], str], ...] = (
    _unreadable,
    _whose,
    _narrower,
    _untold,
    _undrainable,
    _unservable,
    _unstoppable,
    _not_alone,
)
