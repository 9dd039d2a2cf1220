"""Roles, bindings and questions for the tests of role-based access control."""

from __future__ import annotations

from collections.abc import Iterable

from homeport.apiserver.rbac.rules import Rule, covers_request
from homeport.apiserver.routes import RequestInfo
from homeport.kube import core
from homeport.kube.core.rbac import GROUP
from homeport.kube.kind import Kind
from homeport.kube.meta import Object
from homeport.store.protocol import Delete, Key, Put, Store


def rule(verbs: str, resources: str = "", groups: str = "-", names: str = "", urls: str = "") -> Object:
    """Lists as words with spaces between them; ``-`` is the core group."""
    if urls:
        return {"verbs": verbs.split(), "nonResourceURLs": urls.split()}
    words = ["" if group == "-" else group for group in groups.split()]
    obj: Object = {"verbs": verbs.split(), "apiGroups": words, "resources": resources.split()}
    return obj | ({"resourceNames": names.split()} if names else {})


def role(name: str, *rules: Object, namespace: str = "") -> Object:
    """A Role, or a ClusterRole without a namespace."""
    return (core.ROLE if namespace else core.CLUSTER_ROLE).new(name, namespace, rules=list(rules))


def subject(text: str) -> Object:
    """``User:jane``, ``Group:devs``, ``ServiceAccount:namespace:name`` (the namespace may be empty)."""
    kind, _, name = text.partition(":")
    if kind != "ServiceAccount":
        return {"kind": kind, "apiGroup": GROUP, "name": name}
    namespace, _, name = name.partition(":")
    return {"kind": kind, "name": name} | ({"namespace": namespace} if namespace else {})


def binding(name: str, role: str, *subjects: str, namespace: str = "") -> Object:
    """Of the role ``Role/x`` or ``ClusterRole/x``; for the whole cluster without a namespace."""
    kind, _, of = role.partition("/")
    ref = {"apiGroup": GROUP, "kind": kind, "name": of}
    made = core.ROLE_BINDING if namespace else core.CLUSTER_ROLE_BINDING
    return made.new(name, namespace, roleRef=ref, subjects=[subject(text) for text in subjects])


_KINDS: dict[str, Kind] = {
    "Role": core.ROLE,
    "ClusterRole": core.CLUSTER_ROLE,
    "RoleBinding": core.ROLE_BINDING,
    "ClusterRoleBinding": core.CLUSTER_ROLE_BINDING,
}


def key(obj: Object) -> Key:
    metadata = obj["metadata"]
    plural = _KINDS[obj["kind"]].resource.plural
    return Key(f"{GROUP}/{plural}", metadata.get("namespace", ""), metadata["name"])


async def put(store: Store, *objects: Object) -> None:
    """Store objects, or replace them."""
    for obj in objects:
        present = store.head(key(obj))
        await store.write(Put(key(obj), obj, present.revision if present else 0))


async def remove(store: Store, *objects: Object) -> None:
    for obj in objects:
        present = store.head(key(obj))
        assert present is not None
        await store.write(Delete(key(obj), present.revision))


def asks(text: str) -> RequestInfo:
    """``get pods/log in ns named x of apps``, or ``get /path``."""
    verb, what, *rest = text.split()
    if what.startswith("/"):
        return RequestInfo(verb, what)
    options = dict(zip(rest[::2], rest[1::2], strict=True))
    resource, _, subresource = what.partition("/")
    group, namespace, name = (options.get(word, "") for word in ("of", "in", "named"))
    return RequestInfo(verb, "", True, group, "v1", resource, namespace, name, subresource)


def all_asks(texts: Iterable[str]) -> list[RequestInfo]:
    return [asks(text) for text in texts]


def allows(rule: Rule, info: RequestInfo) -> bool:
    """Whether `rule` alone allows the request."""
    if info.is_resource and rule.names and info.object_name not in rule.names:
        return False
    return covers_request(rule, info)
