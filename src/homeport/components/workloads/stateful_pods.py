"""The pods of a stateful set and their claims: names, labels, owners (upstream: ``stateful_set_utils.go``)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from homeport.components.workloads import pods
from homeport.components.workloads.history import LABEL
from homeport.kube import meta
from homeport.kube.meta import Object

POD_NAME = "statefulset.kubernetes.io/pod-name"
POD_INDEX = "apps.kubernetes.io/pod-index"
_NAME = re.compile("(.*)-([0-9]+)")


def ordinal(parent: Object, pod: Object) -> int | None:
    """The number of a pod of the set; None for one whose name says that it is of another."""
    match = _NAME.fullmatch(meta.name(pod))
    return int(match[2]) if match and match[1] == meta.name(parent) else None


def is_member(parent: Object, pod: Object) -> bool:
    return ordinal(parent, pod) is not None


def pod_name(parent: Object, number: int) -> str:
    return f"{meta.name(parent)}-{number}"


def revision_of(pod: Object) -> str:
    return meta.labels(pod).get(LABEL, "")


def new_pod(parent: Object, template: Object, revision: str, number: int) -> Object:
    """The pod with this number, of a revision's `template`."""
    name = pod_name(parent, number)
    pod = pods.from_template(template, name, generateName=f"{meta.name(parent)}-")
    labels = {**meta.labels(template), **identity(parent, number), LABEL: revision}
    spec = {**pod["spec"], "hostname": name}
    if meta.spec(parent).get("serviceName"):
        spec["subdomain"] = meta.spec(parent)["serviceName"]
    volumes = _volumes(parent, number)
    if volumes:
        names = {volume["name"] for volume in volumes}
        spec["volumes"] = [*volumes, *(each for each in spec.get("volumes") or () if each["name"] not in names)]
    return {**pod, "metadata": {**pod["metadata"], "labels": labels}, "spec": spec}


def identity(parent: Object, number: int) -> dict[str, str]:
    """The labels by which services and users tell the pods of a set apart."""
    return {POD_NAME: pod_name(parent, number), POD_INDEX: str(number)}


def _volumes(parent: Object, number: int) -> list[Object]:
    return [
        {"name": template, "persistentVolumeClaim": {"claimName": name}}
        for template, name in claim_names(parent, number)
    ]


def claim_names(parent: Object, number: int) -> Iterator[tuple[str, str]]:
    """The claim templates, each with the name of the claim that pod `number` has of it."""
    for template in meta.spec(parent).get("volumeClaimTemplates") or ():
        yield meta.name(template), f"{meta.name(template)}-{pod_name(parent, number)}"


def claims(parent: Object, number: int) -> Iterator[Object]:
    """The claims of the pod with this number. They have the set's labels, so that users find them."""
    labels = (meta.spec(parent).get("selector") or {}).get("matchLabels") or {}
    for template in meta.spec(parent).get("volumeClaimTemplates") or ():
        metadata = {key: meta.metadata(template)[key] for key in ("annotations",) if meta.metadata(template).get(key)}
        name = f"{meta.name(template)}-{pod_name(parent, number)}"
        yield {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": name, "labels": {**meta.labels(template), **labels}, **metadata},
            "spec": template.get("spec") or {},
        }


def sets_of_claim(claim: Object) -> tuple[tuple[str, str], ...]:
    """The sets whose claim this may be, by its name: ``CLAIM-SET-NUMBER``, with dashes everywhere."""
    words = meta.name(claim).split("-")
    if not words[-1].isdigit():
        return ()
    return tuple((meta.namespace(claim), "-".join(words[start:-1])) for start in range(1, len(words) - 1))


def is_stale(claim: Object, pod_name: str) -> bool:
    """Whether the claim still belongs to a former pod of this name, with which it is going to be deleted."""
    return any(
        reference.get("kind") == "Pod" and reference.get("name") == pod_name
        for reference in meta.metadata(claim).get("ownerReferences") or ()
    )


def owned(parent: Object, claim: Object, pod: Object, *, condemned: bool) -> list[Object] | None:
    """The owners that the claim has to have by the set's retention policy; None if they are as they should be, or if
    somebody else manages the claim.

    A claim that goes with the set is owned by it, one that goes with the pod by the pod, once that is to go for good.
    """
    policy = meta.spec(parent).get("persistentVolumeClaimRetentionPolicy") or {}
    with_pod = condemned and policy.get("whenScaled") == "Delete"
    with_set = policy.get("whenDeleted") == "Delete" and not with_pod
    present = list(meta.metadata(claim).get("ownerReferences") or ())
    wanted = [each for each in present if not _is_ours(each, parent, pod)]
    if any(each.get("controller") for each in wanted):
        return None
    if with_set:
        wanted.append(meta.owner_reference(parent))
    if with_pod:
        wanted.append(meta.owner_reference({"apiVersion": "v1", "kind": "Pod", **pod}))
    return None if _uids(wanted) == _uids(present) else wanted


def _is_ours(reference: Mapping[str, str], parent: Object, pod: Object) -> bool:
    if reference.get("kind") == "Pod":
        return reference.get("name") == meta.name(pod)
    return reference.get("uid") == meta.uid(parent)


def _uids(references: list[Object]) -> set[str]:
    return {each.get("uid", "") for each in references}
