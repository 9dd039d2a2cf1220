"""Short ways to declare a built-in kind.

What most runs never touch is named and not imported: a struct by its path (``package.module:Struct``), and rules by
:func:`deferred`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from homeport.kube.kind import Kind, Resource, imported

TYPES = "homeport.kube.core.types."
"""Where the structs are."""


def core(
    plural: str, body: type[msgspec.Struct] | str, *, namespaced: bool = True, status: bool = True, **rest: Any
) -> Kind:
    """A kind of the core group; its name is the struct's."""
    return grouped("", plural, body, namespaced=namespaced, status=status, **rest)


def grouped(
    group: str,
    plural: str,
    body: type[msgspec.Struct] | str,
    *,
    version: str = "v1",
    namespaced: bool = True,
    status: bool = False,
    scale: tuple[str, str, str] | None = None,
    generation: bool | None = None,
    **rest: Any,
) -> Kind:
    """A kind of `group`; its name is the struct's.

    Whether it counts generations goes, if not said, by what is usual upstream: kinds with a status do, but not those of
    the core group.
    """
    name = body.rpartition(":")[2] if isinstance(body, str) else body.__name__
    subresources = {"status"} if status else set()
    return Kind(
        resource=Resource(group, version, plural, name, namespaced),
        body=body,
        singular=name.lower(),
        subresources=frozenset(subresources | {"scale"} if scale else subresources),
        scale_paths=scale,
        has_generation=bool(status and group) if generation is None else generation,
        builtin=True,
        **rest,
    )


def deferred(module: str) -> Callable[[str], Callable[..., Any]]:
    """Gives the functions of `module`, each as one that imports the module when it is first called."""

    def function(name: str) -> Callable[..., Any]:
        path = f"{module}:{name}"

        def call(*arguments: Any) -> Any:
            return imported(path)(*arguments)

        return call

    return function
