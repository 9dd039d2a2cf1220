"""NamespaceLifecycle: nothing new in a namespace that is missing or going away, and three namespaces that stay.

Upstream: ``apiserver/pkg/admission/plugin/namespace/lifecycle``.
"""

from __future__ import annotations

from homeport.apiserver.admission.attributes import CREATE, DELETE, Attributes, Operation
from homeport.apiserver.admission.plugin import Plugin
from homeport.apiserver.context import Api
from homeport.kube.errors import Forbidden, NotFound, object_details
from homeport.kube.meta import Object
from homeport.store.protocol import Key

_NAMESPACES = "/namespaces"
_IMMORTAL = frozenset({"default", "kube-system", "kube-public"})
"""Namespaces that stay, whoever asks."""


class NamespaceLifecycle(Plugin):
    name = "NamespaceLifecycle"

    def __init__(self, api: Api) -> None:
        self._api = api

    def handles(self, operation: Operation, key: str, subresource: str) -> bool:
        if key == _NAMESPACES:
            return operation == DELETE and not subresource
        return operation == CREATE and not subresource

    def mutate(self, attributes: Attributes) -> Object | None:
        if attributes.operation == DELETE:
            self._check_deletion(attributes.name or ((attributes.old or {}).get("metadata") or {}).get("name", ""))
        elif attributes.served.namespaced:
            self._check_creation(attributes)
        return attributes.object

    def validate(self, attributes: Attributes) -> None:
        if attributes.waited and attributes.operation == CREATE and attributes.served.namespaced:
            # Once more: a webhook may have taken its time.
            self._check_creation(attributes)

    def _check_deletion(self, name: str) -> None:
        if name in _IMMORTAL:
            raise Forbidden(
                f'namespaces "{name}" is forbidden: this namespace may not be deleted',
                details=object_details("", "namespaces", name),
            )

    def _check_creation(self, attributes: Attributes) -> None:
        namespace = attributes.namespace
        record = self._api.store.head(Key(_NAMESPACES, "", namespace))
        if record is None:
            raise NotFound.of("", "namespaces", namespace)
        if not self._api.terminating(record):
            return
        resource, name = attributes.served.resource, attributes.name
        cause = {
            "reason": "NamespaceTerminating",
            "message": f"namespace {namespace} is being terminated",
            "field": "metadata.namespace",
        }
        raise Forbidden(
            f'{resource.qualified} "{name}" is forbidden: unable to create new content in namespace {namespace} '
            "because it is being terminated",
            details=object_details(resource.group, resource.plural, name) | {"causes": [cause]},
        )
