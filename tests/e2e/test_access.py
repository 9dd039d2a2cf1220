"""Sharing a platform: an account with a role in one namespace, seen through the kubectls that people have."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import pytest
import yaml
from machinery import Kubectl

ROLES = """
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reconciled, namespace: SPACE}
rules:
- {apiGroups: [""], resources: [pods], verbs: [get, list]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reconciled, namespace: SPACE}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reconciled}
subjects:
- {kind: User, name: joe, apiGroup: rbac.authorization.k8s.io}
"""


def account(kubectl: Kubectl, name: str, role: str, path: Path) -> Kubectl:
    """kubectl as a new service account with a cluster role in the namespace, by its token alone."""
    space = kubectl.namespace
    kubectl("create", "serviceaccount", name)
    kubectl("create", "rolebinding", name, f"--clusterrole={role}", f"--serviceaccount={space}:{name}")
    config = yaml.safe_load(kubectl.kubeconfig.read_text())
    config["users"] = [{**config["users"][0], "user": {"token": kubectl("create", "token", name).strip()}}]
    written = path / f"{name}.kubeconfig"
    written.write_text(yaml.safe_dump(config))
    return dataclasses.replace(kubectl, kubeconfig=written)


@pytest.fixture(autouse=True)
def _tidied(any_kubectl: Kubectl):  # type: ignore[no-untyped-def]
    yield
    any_kubectl("delete", "serviceaccounts,roles,rolebindings", "--all")


def test_a_viewer_looks_and_does_not_touch(any_kubectl: Kubectl, tmp_path: Path) -> None:
    space = any_kubectl.namespace
    viewer = account(any_kubectl, "viewer", "view", tmp_path)
    user = f'User "system:serviceaccount:{space}:viewer"'
    assert "No resources found" in viewer("get", "pods,tfjobs", check=False)
    refused = viewer("create", "configmap", "x", "--from-literal=a=b", check=False)
    assert f'configmaps is forbidden: {user} cannot create resource "configmaps" in API group "" in the' in refused
    assert f"{user} cannot list resource" in viewer("get", "secrets", check=False)
    assert "at the cluster scope" in viewer("get", "nodes", check=False)
    assert f'forbidden: {user} cannot get path "/metrics"' in viewer("get", "--raw", "/metrics", check=False)
    assert "cannot impersonate resource" in viewer("get", "pods", "--as", "jane", check=False)
    assert viewer("auth", "can-i", "get", "pods") == "yes\n"
    assert viewer("auth", "can-i", "create", "pods", check=False).startswith("no")
    assert viewer("auth", "can-i", "get", "pods", "--subresource=log") == "yes\n"
    listed = {line.split()[0]: line for line in viewer("auth", "can-i", "--list").splitlines()}
    assert "[get list watch]" in listed["tfjobs.kubeflow.org"]
    assert "secrets" not in listed


def test_an_editor_works_but_shares_nothing(any_kubectl: Kubectl, tmp_path: Path) -> None:
    editor = account(any_kubectl, "editor", "edit", tmp_path)
    assert editor("create", "configmap", "x", "--from-literal=a=b") == "configmap/x created\n"
    assert editor("delete", "configmap", "x").startswith('configmap "x" deleted')
    refused = editor("create", "rolebinding", "r", "--clusterrole=view", "--user=joe", check=False)
    assert 'cannot create resource "rolebindings"' in refused
    admin = account(any_kubectl, "admin", "admin", tmp_path)
    admin("create", "rolebinding", "r", "--clusterrole=edit", "--user=joe")
    refused = admin("create", "rolebinding", "s", "--clusterrole=cluster-admin", "--user=joe", check=False)
    assert "is attempting to grant RBAC permissions not currently held" in refused
    assert any_kubectl("auth", "can-i", "delete", "pods", "--as", "joe") == "yes\n"


def test_reconciling_roles(any_kubectl: Kubectl) -> None:
    roles = ROLES.replace("SPACE", any_kubectl.namespace)  # kubectl itself takes no namespace for these from elsewhere
    done = any_kubectl("auth", "reconcile", "-f", "-", stdin=roles)
    assert "role.rbac.authorization.k8s.io/reconciled reconciled" in done
    any_kubectl("auth", "reconcile", "-f", "-", stdin=roles.replace("get, list", "get, watch"))
    rules = any_kubectl("get", "role", "reconciled", "-o", "jsonpath={.rules[*].verbs}")
    assert rules == '["get","list"] ["watch"]'
    assert any_kubectl("auth", "can-i", "watch", "pods", "--as", "joe") == "yes\n"


def test_roles_of_an_add_on_join_the_default_ones(any_kubectl: Kubectl) -> None:
    label = "rbac.authorization.k8s.io/aggregate-to-view=true"
    name = f"addon-{any_kubectl.namespace}"
    any_kubectl("create", "clusterrole", name, "--verb=get", "--resource=configmaps")
    try:
        any_kubectl("patch", "clusterrole", name, "--type=json", "-p", _resource(name))
        any_kubectl("label", "clusterrole", name, label)
        deadline = time.monotonic() + 10
        while name not in any_kubectl("get", "clusterrole", "admin", "-o", "jsonpath={.rules[*].resources}"):
            assert time.monotonic() < deadline, "the role did not become a part of admin"
    finally:
        any_kubectl("delete", "clusterrole", name)


def _resource(name: str) -> str:
    return f'[{{"op": "replace", "path": "/rules/0/resources", "value": ["{name}"]}}]'
