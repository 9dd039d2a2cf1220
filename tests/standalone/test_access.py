"""The rights that controllers are given, and the manifests that give them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest

from homeport.control.controller import Child, Claim, Controller, Desired, Related
from homeport.kube import core
from homeport.kube.errors import Permanent
from homeport.kube.kind import Resource
from homeport.kube.meta import Object, name
from homeport.kube.selector import Selector
from homeport.standalone import access, manifests, parts

TOYS = Resource("toys.example.com", "v1", "toys", "Toy")


def toys(*children: Child, on_parent: Iterable[str] = (), **fields: object) -> Controller:
    return Controller("toys", TOYS, lambda observed: Desired(), children, on_parent=frozenset(on_parent), **fields)  # type: ignore[arg-type]


def held(rules: Iterable[Object]) -> Iterator[tuple[str, str, str]]:
    return (
        (group, resource, verb)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    )


def of(rules: Iterable[Object], resource: str) -> set[str]:
    return {verb for _, where, verb in held(rules) if where == resource}


def test_parents_are_read_and_their_status_written() -> None:
    rules = access.rules([toys()])
    assert of(rules, "toys") == access.READ
    assert of(rules, "toys/status") == {"patch"}
    assert of(access.rules([toys(on_parent={"delete"})]), "toys") == access.READ | {"delete"}


@pytest.mark.parametrize(
    ("child", "is_changed"),
    [
        (Child(core.POD.resource, "never"), False),
        (Child(core.POD.resource, "apply"), True),
        (Child(core.POD.resource, "never", patched=True), True),
        (Child(core.POD.resource, "never", finalizer="example.com/count"), True),
        (Child(core.POD.resource, "never", claim=Claim(lambda parent: Selector(()))), True),
    ],
)
def test_children_are_changed_only_where_a_controller_changes_them(child: Child, is_changed: bool) -> None:
    changes = {"patch"} if is_changed else set()
    assert of(access.rules([toys(child)]), "pods") == access.READ | {"create", "delete"} | changes


def test_what_is_only_looked_at_is_only_read() -> None:
    assert of(access.rules([toys(related=(Related(core.NODE.resource, None),))]), "nodes") == access.SEEN


def test_what_is_deleted_though_it_is_no_child_may_be() -> None:
    commands = Related(core.POD.resource, lambda pod: (), removed=True)
    assert of(access.rules([toys(related=(commands,))]), "pods") == access.READ | {"delete"}


def test_work_beside_controllers_says_what_it_needs() -> None:
    (part,) = parts.chosen(["volcano"])
    (made,) = [one for one in manifests.accounts([part]) if one["kind"] == "ClusterRole"]
    assert {"create", "patch", "delete"} <= of(made["rules"], "podgroups")
    assert of(made["rules"], "queues") == access.READ | {"create", "patch"}
    assert "get" in of(made["rules"], "replicasets")
    assert of(made["rules"], "commands") == access.READ | {"delete"}


def test_rights_over_pod_groups_are_those_of_the_chosen_gang_scheduler() -> None:
    def groups(scheduler: str) -> set[str]:
        chosen = parts.ganged(parts.chosen(["training"]), scheduler)
        return {
            line[0]
            for one in manifests.accounts(chosen)
            for line in held(one.get("rules") or ())
            if line[1] == "podgroups"
        }

    volcano = {"scheduling.volcano.sh"}
    assert [groups(one) for one in ("", "none", "volcano")] == [set(), volcano, volcano]
    assert groups("scheduler-plugins") == {"scheduling.x-k8s.io"}


def test_who_makes_roles_holds_what_they_give() -> None:
    given: Object = {"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["create"]}
    assert of(access.rules([toys(grants=(given,))]), "pods/exec") == {"create"}


def test_no_part_asks_for_everything_or_for_secrets_that_it_does_not_make() -> None:
    for part in parts.PARTS:
        rules = access.rules(part.controllers, part.hooks)
        assert "*" not in {word for line in held(rules) for word in line}
        # Who places the jobs of a job set apart has to know where they can be.
        assert bool(of(rules, "nodes")) == (part.name in ("jobset", "volcano"))
        assert not {"update", "escalate", "bind", "impersonate"} & of(rules, "secrets")


def test_manifests_come_in_the_order_in_which_to_apply_them() -> None:
    made = list(manifests.manifests(parts.chosen(["training"])))
    kinds = [one["kind"] for one in made]
    assert kinds[-6:] == ["Namespace", "ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"]
    assert set(kinds[:-6]) == {"CustomResourceDefinition"}
    assert "tfjobs.kubeflow.org" in [name(one) for one in made]


def test_rights_over_webhooks_are_asked_for_only_by_who_serves_them() -> None:
    chosen = parts.chosen(["training"])
    without = [line for one in manifests.accounts(chosen) for line in held(one.get("rules") or ())]
    with_them = [line for one in manifests.accounts(chosen, webhooks=True) for line in held(one.get("rules") or ())]
    assert ("admissionregistration.k8s.io", "validatingwebhookconfigurations", "patch") in with_them
    assert not [line for line in without if line[0] == "admissionregistration.k8s.io"]


def test_an_unknown_part_is_named() -> None:
    with pytest.raises(Permanent, match=r"'trainings'.*training, trainer"):
        parts.chosen(["trainings"])


def test_a_resource_is_of_one_operator() -> None:
    with pytest.raises(Permanent, match=r"v1 and v2beta1 .* --only training, mpi"):
        list(manifests.manifests(parts.PARTS))
    (definition, *_) = manifests.manifests(parts.chosen(["mpi"]))
    (version,) = definition["spec"]["versions"]
    assert (version["name"], version["storage"]) == ("v2beta1", True)


def test_only_who_makes_keys_reads_secrets() -> None:
    readers = [part.name for part in parts.PARTS if of(access.rules(part.controllers), "secrets")]
    assert readers == ["trainer", "mpi", "volcano"]
