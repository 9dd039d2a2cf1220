"""ServiceAccount: every pod runs as an account of its namespace, and its containers find the account's token.

Upstream: ``plugin/pkg/admission/serviceaccount``.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec

from homeport.apiserver.admission.attributes import CREATE, UPDATE, Attributes, Operation
from homeport.apiserver.admission.plugin import Plugin
from homeport.apiserver.context import Api
from homeport.apiserver.uids import new_suffix
from homeport.kube import meta
from homeport.kube.core.pod_defaults import mapped, replaced
from homeport.kube.errors import Forbidden, object_details
from homeport.kube.meta import Object
from homeport.store.protocol import Key

DEFAULT_ACCOUNT = "default"
MOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
"""Where every client library looks for the token, the certificate authority and the namespace."""
VOLUME_PREFIX = "kube-api-access-"
TOKEN_SECONDS = 3607
"""What the token asks for; upstream's number, by which it tells these tokens from others."""

_MOST_KEPT = 16 << 10
"""Bytes of an account that is kept decoded."""
_MIRROR = "kubernetes.io/config.mirror"
_ENFORCE = "kubernetes.io/enforce-mountable-secrets"
_DEPRECATED = (
    f"metadata.annotations[{_ENFORCE}]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted "
    "secrets"
)


class ServiceAccount(Plugin):
    name = "ServiceAccount"
    complete = True

    def __init__(self, api: Api) -> None:
        self._api = api

    def handles(self, operation: Operation, key: str, subresource: str) -> bool:
        if key == "/serviceaccounts":
            return operation in (CREATE, UPDATE) and not subresource
        return operation == CREATE and key == "/pods" and not subresource

    def mutate(self, attributes: Attributes) -> Object | None:
        pod = attributes.object
        if attributes.served.key == "/serviceaccounts":
            return pod
        spec = pod.get("spec") if pod is not None else None
        if pod is None or not isinstance(spec, dict):
            return pod
        if _MIRROR in _dict(_dict(pod.get("metadata")).get("annotations")):
            return pod
        name = spec.get("serviceAccountName") or spec.get("serviceAccount") or DEFAULT_ACCOUNT
        if not isinstance(name, str):
            return pod
        account = self._account(attributes, name)
        changed: dict[str, Any] = {**spec, "serviceAccountName": name, "serviceAccount": name}
        if not spec.get("imagePullSecrets") and account.get("imagePullSecrets"):
            changed["imagePullSecrets"] = account["imagePullSecrets"]
        if _wants_token(spec, account):
            changed = _with_token(changed)
        return {**pod, "spec": changed}

    def validate(self, attributes: Attributes) -> None:
        pod = attributes.object or {}
        if attributes.served.key == "/serviceaccounts":
            if _ENFORCE in meta.annotations(pod) and _ENFORCE not in meta.annotations(attributes.old or {}):
                attributes.warnings.append(_DEPRECATED)
            return
        spec = meta.spec(pod)
        if _MIRROR in meta.annotations(pod):
            if spec.get("serviceAccountName"):
                raise _forbidden(attributes, "a mirror pod may not reference service accounts")
            return
        # Once more: a webhook may have chosen another.
        account = self._account(attributes, spec.get("serviceAccountName") or DEFAULT_ACCOUNT)
        if meta.annotations(account).get(_ENFORCE, "").lower() in ("1", "t", "true"):
            _check_secrets(attributes, spec, account)

    def _account(self, attributes: Attributes, name: str) -> Object:
        record = self._api.store.head(Key("/serviceaccounts", attributes.namespace, name))
        if record is None:
            place = f"{attributes.namespace}/{name}"
            raise _forbidden(attributes, f'error looking up service account {place}: serviceaccount "{name}" not found')
        return _decoded(record.value) if len(record.value) <= _MOST_KEPT else _decoded.__wrapped__(record.value)


@lru_cache(maxsize=64)
def _decoded(value: bytes) -> Object:
    """A stored account, to be read only. All of a namespace's pods use the same few."""
    found: Object = msgspec.json.decode(value)
    return found


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _forbidden(attributes: Attributes, why: str) -> Forbidden:
    return Forbidden(
        f'pods "{attributes.name}" is forbidden: {why}', details=object_details("", "pods", attributes.name)
    )


def _wants_token(spec: Object, account: Object) -> bool:
    """What the pod says counts, then what its account says."""
    for source in (spec, account):
        if isinstance(source.get("automountServiceAccountToken"), bool):
            return bool(source["automountServiceAccountToken"])
    return True


def _with_token(spec: dict[str, Any]) -> dict[str, Any]:
    """`spec` with the volume, mounted into each container that has nothing of its own at that path."""
    volumes = spec.get("volumes") or []
    if not isinstance(volumes, list):
        return spec
    names = {volume.get("name") for volume in volumes if isinstance(volume, dict)}
    # A pod made from another one's manifest has the volume already.
    name = next((n for n in names if isinstance(n, str) and n.startswith(VOLUME_PREFIX)), "")
    present = bool(name)
    while not name or (not present and name in names):
        name = VOLUME_PREFIX + new_suffix()
    changes: dict[str, Any] = {}
    for key in ("initContainers", "containers"):
        containers = spec.get(key)
        mounted = mapped(containers, lambda container: _mounted(container, name))
        if mounted is not containers:
            changes[key] = mounted
    if changes and not present:
        changes["volumes"] = [*volumes, volume(name)]
    return replaced(spec, changes)


def _mounted(container: Object, name: str) -> Object:
    mounts = container.get("volumeMounts") or []
    if not isinstance(mounts, list) or any(_dict(mount).get("mountPath") == MOUNT_PATH for mount in mounts):
        return container
    return {**container, "volumeMounts": [*mounts, {"name": name, "readOnly": True, "mountPath": MOUNT_PATH}]}


_PROJECTED = {
    "sources": [
        {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {
            "downwardAPI": {
                "items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]
            }
        },
    ],
    "defaultMode": 0o644,
}
"""What all pods find there; they share it."""


def volume(name: str) -> dict[str, Any]:
    """The volume with what a client inside a pod needs: token, certificate authority, namespace."""
    return {"name": name, "projected": _PROJECTED}


def _check_secrets(attributes: Attributes, spec: Object, account: Object) -> None:
    """An account may say that its pods use the secrets that it lists and no others. Raises Forbidden."""
    name = meta.name(account)
    allowed = {secret.get("name") for secret in account.get("secrets") or ()}
    for one in spec.get("volumes") or ():
        secret = (one.get("secret") or {}).get("secretName")
        if secret and secret not in allowed:
            raise _forbidden(
                attributes,
                f'volume with secret.secretName="{secret}" is not allowed because service account {name} does not '
                "reference that secret",
            )
    for key, word in (("initContainers", "init container"), ("containers", "container")):
        for container in spec.get(key) or ():
            for secret, where in _environment_secrets(container):
                if secret not in allowed:
                    raise _forbidden(
                        attributes,
                        f'{word} {container["name"]} with {where} referencing secret.secretName="{secret}" is not '
                        f"allowed because service account {name} does not reference that secret",
                    )
    pulls = {secret.get("name") for secret in account.get("imagePullSecrets") or ()}
    for index, secret in enumerate(spec.get("imagePullSecrets") or ()):
        if secret.get("name") not in pulls:
            raise _forbidden(
                attributes,
                f'imagePullSecrets[{index}].name="{secret.get("name")}" is not allowed because service account {name} '
                "does not reference that imagePullSecret",
            )


def _environment_secrets(container: Object) -> list[tuple[str, str]]:
    """The secrets that a container's environment names, and where."""
    found = [
        (reference["name"], f"envVar {variable['name']}")
        for variable in container.get("env") or ()
        if (reference := (variable.get("valueFrom") or {}).get("secretKeyRef"))
    ]
    found += [
        (source["secretRef"]["name"], "envFrom") for source in container.get("envFrom") or () if source.get("secretRef")
    ]
    return found
