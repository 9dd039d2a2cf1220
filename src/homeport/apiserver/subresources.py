"""The subresources that the server knows, declared once: who has them, what discovery and OpenAPI say of them, and how
their answers go on. What carries one out is named in :mod:`homeport.apiserver.dispatch`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Final

import msgspec


class Answers(Enum):
    """What a subresource answers with."""

    OBJECT = "object"
    """An object or a ``Status``, in the form that the client accepts."""
    TEXT = "text"
    """Plain text, for as long as the client follows it."""
    SESSION = "session"
    """A connection into a pod."""
    FORWARDED = "forwarded"
    """Whatever the pod, service or node behind it says, to any method and any path below."""


_ONE: Final = ("get", "patch", "update")
"""Verbs of a part of the object."""


class Subresource(msgspec.Struct, frozen=True):
    """One subresource, of every resource that has it."""

    name: str
    verbs: tuple[str, ...]
    """As discovery and OpenAPI list them."""
    of: tuple[tuple[str, str], ...] = ()
    """Group and plural of the built-in resources that have it by nature. Others declare it with their kind."""
    group: str = ""
    version: str = ""
    kind: str = ""
    """Of the bodies or of the options, with `group` and `version`, where that isn't the resource's own kind, by which
    braces are replaced."""
    answers: Answers = Answers.OBJECT

    def gvk(self, kind: str) -> dict[str, str] | None:
        """What bodies or options are, for a resource of `kind`; None: objects of that kind."""
        if not self.kind:
            return None
        return {"group": self.group, "version": self.version, "kind": self.kind.format(kind)}


_PODS: Final = (("", "pods"),)

TABLE: Final = (
    Subresource("status", _ONE),
    Subresource("scale", _ONE, (), "autoscaling", "v1", "Scale"),
    Subresource("finalize", ("update",), (("", "namespaces"),)),
    Subresource("approval", _ONE, (("certificates.k8s.io", "certificatesigningrequests"),)),
    Subresource("token", ("create",), (("", "serviceaccounts"),), "authentication.k8s.io", "v1", "TokenRequest"),
    Subresource("binding", ("create",), _PODS, "", "v1", "Binding"),
    Subresource("eviction", ("create",), _PODS, "policy", "v1", "Eviction"),
    Subresource("ephemeralcontainers", _ONE, _PODS),
    Subresource("resize", _ONE, _PODS),
    Subresource("log", ("get",), _PODS, answers=Answers.TEXT),
    Subresource("exec", ("create", "get"), _PODS, "", "v1", "PodExecOptions", Answers.SESSION),
    Subresource("attach", ("create", "get"), _PODS, "", "v1", "PodAttachOptions", Answers.SESSION),
    Subresource("portforward", ("create", "get"), _PODS, "", "v1", "PodPortForwardOptions", Answers.SESSION),
    Subresource(
        "proxy",
        ("create", "delete", "get", "patch", "update"),
        (*_PODS, ("", "services"), ("", "nodes")),
        "",
        "v1",
        "{}ProxyOptions",
        Answers.FORWARDED,
    ),
)

BY_NAME: Final[Mapping[str, Subresource]] = {each.name: each for each in TABLE}


def _named(*answers: Answers) -> frozenset[str]:
    return frozenset(each.name for each in TABLE if each.answers in answers)


SESSIONS: Final = _named(Answers.SESSION)
"""Those that run something in a pod or talk to it."""
CONNECTIONS: Final = _named(Answers.SESSION, Answers.FORWARDED)
"""Those that pass the connection on: kube-apiserver counts requests for them as ``CONNECT``."""
NO_OBJECTS: Final = _named(Answers.TEXT, Answers.SESSION, Answers.FORWARDED)
"""Those that answer with something else than an object, whatever the client accepts, and for as long as the client
likes (upstream: ``BasicLongRunningRequestCheck`` in kube-apiserver's configuration)."""


def by_nature(group: str, plural: str) -> frozenset[str]:
    """The names of those that the server itself adds to a built-in resource."""
    return frozenset(each.name for each in TABLE if (group, plural) in each.of)


def of(names: Iterable[str]) -> tuple[Subresource, ...]:
    """The declarations of `names`, sorted by name as discovery lists them."""
    return tuple(BY_NAME[name] for name in sorted(names))
