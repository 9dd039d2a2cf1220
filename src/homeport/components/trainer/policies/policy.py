"""What a framework is to the training controller."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from homeport.components.trainer.draft import Draft
from homeport.kube.errors import FieldError
from homeport.kube.meta import Object


def _no_errors(draft: Draft) -> Iterable[FieldError]:
    return ()


def _no_objects(draft: Draft) -> Iterable[Object]:
    return ()


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """One framework."""

    name: str
    """Its field in ``mlPolicy``."""
    enforce: Callable[[Draft], None]
    """Sets the number of nodes, variables, volumes. Raises Unbuildable."""
    validate: Callable[[Draft], Iterable[FieldError]] = _no_errors
    """What is wrong with a job of such a runtime. The draft is as it began: `enforce` has not been called."""
    objects: Callable[[Draft], Iterable[Object]] = _no_objects
    """What is made beside the job set, once `enforce` has been called."""


def reserved(draft: Draft, taken: frozenset[str]) -> list[str]:
    """Which of the job's own variables the framework needs for itself."""
    return sorted({each["name"] for each in draft.trainer.get("env") or () if each.get("name") in taken})
