"""What a disruption budget means, for whoever evicts and for the controller that counts (upstream:
``component-helpers/apps/poddisruptionbudget`` and ``pkg/registry/core/pod/storage/eviction.go``). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from homeport.kube.core.pod_state import has_ended, is_ready
from homeport.kube.errors import BadRequest, Forbidden, TooManyRequests, object_details
from homeport.kube.meta import (
    Object,
    is_deleting,
    labels,
    metadata,
    name,
    spec,
    status,
    timestamp,
    with_transition,
)
from homeport.kube.selector import NOTHING, Selector, from_label_selector

DISRUPTION_ALLOWED = "DisruptionAllowed"
MOST_UNCONFIRMED = 2000
"""Evicted pods in a budget's status that are not yet known to go; with more there is no further eviction."""
RETRY_AFTER = 10
"""Seconds, where waiting may help."""
_REFUSED = "Cannot evict pod as it would violate the pod's disruption budget."


def covers(budget: Object, pod: Object) -> bool:
    """Whether a budget of the pod's namespace is about it. One without a selector, or with a broken one, is about
    none."""
    return selector_of(budget).matches(labels(pod))


def selector_of(budget: Object) -> Selector:
    """Of the pods that a budget is about."""
    try:
        return from_label_selector(spec(budget).get("selector"))
    except BadRequest:
        return NOTHING


def needs_no_budget(pod: Object) -> bool:
    """Whether the pod's end disrupts nothing any more, or not yet."""
    return has_ended(pod) or status(pod).get("phase") == "Pending" or is_deleting(pod)


def with_verdict(found: Object, now: datetime, *, failure: str = "") -> Object:
    """A budget's status with the condition that follows from its numbers; `failure`: why they are not known."""
    allowed = found.get("disruptionsAllowed", 0) > 0
    condition = {
        "type": DISRUPTION_ALLOWED,
        "status": "True" if allowed else "False",
        "reason": "SyncFailed" if failure else "SufficientPods" if allowed else "InsufficientPods",
        "message": failure,
        "observedGeneration": found.get("observedGeneration", 0),
    }
    former = found.get("conditions") or []
    others = [one for one in former if one.get("type") != DISRUPTION_ALLOWED]
    return {**found, "conditions": [*others, with_transition(condition, former, now)]}


def tolerates(budget: Object, pod: Object) -> bool:
    """Whether the pod may go without being counted: it is not healthy, and the healthy ones are enough, or the budget
    says that it may."""
    if is_ready(pod):
        return False
    if spec(budget).get("unhealthyPodEvictionPolicy") == "AlwaysAllow":
        return True
    return bool(0 < _number(budget, "desiredHealthy") <= _number(budget, "currentHealthy"))


def charged(budget: Object, pod: Object, now: datetime) -> Object:
    """The budget after an eviction of `pod`. Raises TooManyRequests, and Forbidden where its status makes no sense."""
    if _number(budget, "observedGeneration") < (metadata(budget).get("generation") or 0):
        words = f"The disruption budget {name(budget)} is still being processed by the server."
        raise _too_many(words, RETRY_AFTER)
    allowed, evicted = _number(budget, "disruptionsAllowed"), status(budget).get("disruptedPods") or {}
    if allowed < 0:
        raise _senseless(budget, "pdb disruptions allowed is negative")
    if len(evicted) > MOST_UNCONFIRMED:
        words = "DisruptedPods map too big - too many evictions not confirmed by PDB controller"
        raise _senseless(budget, words)
    if not allowed:
        desired, current = _number(budget, "desiredHealthy"), _number(budget, "currentHealthy")
        words = f"The disruption budget {name(budget)} needs {desired} healthy pods and has {current} currently"
        raise _too_many(words, 0)
    found = {
        **status(budget),
        "disruptionsAllowed": allowed - 1,
        "disruptedPods": {**evicted, name(pod): timestamp(now)},
    }
    return {**budget, "status": found if allowed > 1 else with_verdict(found, now)}


def _number(budget: Object, key: str) -> int:
    return int(status(budget).get(key) or 0)


def _too_many(cause: str, retry_after: int) -> TooManyRequests:
    causes = [{"reason": "DisruptionBudget", "message": cause}]
    # As upstream's, one without a time to wait has none in its details.
    return TooManyRequests(_REFUSED, details={"causes": causes}, retry_after=retry_after or None)


def _senseless(budget: Object, why: str) -> Forbidden:
    details = object_details("policy", "poddisruptionbudget", name(budget))
    return Forbidden(f'poddisruptionbudget.policy "{name(budget)}" is forbidden: {why}', details=details)


def with_target(pod: Object, condition: Object, now: datetime) -> Object:
    """The pod with the condition that says why it goes."""
    former: Iterable[dict[str, Any]] = status(pod).get("conditions") or []
    others = [one for one in former if one.get("type") != "DisruptionTarget"]
    generation = metadata(pod).get("generation") or 0
    added = with_transition({"type": "DisruptionTarget", **condition, "observedGeneration": generation}, former, now)
    return {**pod, "status": {**status(pod), "conditions": [*others, added]}}


def budgets_of(pod: Object, budgets: Iterable[Object]) -> Iterator[Object]:
    return (budget for budget in budgets if covers(budget, pod))
