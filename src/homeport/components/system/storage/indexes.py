"""By what claims and the pods that use them are found: keys for `Cache.index`."""

from __future__ import annotations

from homeport.kube.core import claims as rules
from homeport.kube.meta import Object, namespace, spec


def of_claim(claim: Object) -> list[tuple[str, str | None]]:
    """The volume that it names, else the class that it waits for one of; None: the default class, if there is one."""
    volume = spec(claim).get("volumeName")
    if volume:
        return [("volume", volume)]
    return [("class", None if rules.lacks_class(claim) else rules.class_name(claim))]


def of_pod(pod: Object) -> list[tuple[str, str]]:
    """The claims that it uses."""
    if not spec(pod).get("volumes"):
        return []
    return list(dict.fromkeys((namespace(pod), claim) for claim, _ in rules.claim_names(pod).values()))
