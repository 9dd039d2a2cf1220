"""Short ways to declare a built-in kind."""

from __future__ import annotations

from typing import Any

import msgspec

from homeport.kube.kind import Kind, Resource


def core(plural: str, body: type[msgspec.Struct], *, namespaced: bool = True, status: bool = True, **rest: Any) -> Kind:
    """A kind of the core group; its name is the struct's."""
    return grouped("", plural, body, namespaced=namespaced, status=status, **rest)


def grouped(
    group: str,
    plural: str,
    body: type[msgspec.Struct],
    *,
    namespaced: bool = True,
    status: bool = False,
    **rest: Any,
) -> Kind:
    """A kind of `group`/v1; its name is the struct's."""
    return Kind(
        resource=Resource(group, "v1", plural, body.__name__, namespaced),
        body=body,
        singular=body.__name__.lower(),
        subresources=frozenset({"status"}) if status else frozenset(),
        builtin=True,
        **rest,
    )
