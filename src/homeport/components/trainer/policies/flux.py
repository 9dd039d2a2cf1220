"""Flux: a scheduler within a job, which needs a program of its own in the images and keys of a kind of its own.

Homeport stores such runtimes and says of their jobs that it can't run them.
"""

from __future__ import annotations

from collections.abc import Iterable

from homeport.components.trainer.draft import Draft, Unbuildable
from homeport.components.trainer.policies.policy import Policy
from homeport.kube import field, meta
from homeport.kube.errors import FieldError

_WORDS = "the runtime asks for Flux (mlPolicy.flux), which Homeport does not run: use a runtime with mlPolicy.mpi"


def _enforce(draft: Draft) -> None:
    raise Unbuildable(_WORDS)


def _validate(draft: Draft) -> Iterable[FieldError]:
    yield field.invalid("spec.runtimeRef", meta.spec(draft.job).get("runtimeRef"), _WORDS)


POLICY = Policy(name="flux", enforce=_enforce, validate=_validate)
