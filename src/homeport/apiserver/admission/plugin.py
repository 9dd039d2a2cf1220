"""What a built-in admission plug-in is.

A plug-in decides from memory and never waits: between its answer and the write nothing else can happen, so a rule over
several objects (a quota, a namespace that goes away) holds without a lock.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from homeport.apiserver.admission.attributes import Attributes, Operation
from homeport.kube.errors import Forbidden, object_details
from homeport.kube.meta import Object


def refusal(attributes: Attributes, why: str) -> Forbidden:
    """The error for a request that admission refuses (upstream: ``admission.NewForbidden``)."""
    resource, name = attributes.served.resource, attributes.name
    return Forbidden(
        f'{resource.qualified} "{name}" is forbidden: {why}',
        details=object_details(resource.group, resource.plural, name),
    )


class Plugin(ABC):
    """Derive, say what it `handles`, and override `mutate`, `validate` or both."""

    name: ClassVar[str]
    """Upstream's name of the plug-in (``LimitRanger``), for messages and metrics."""
    complete: ClassVar[bool] = False
    """Whether objects that it changes still have all defaults and canonical values, so that nothing has to be filled in
    once more."""
    mutates: ClassVar[bool] = False
    """Whether the plug-in overrides `mutate`."""
    validates: ClassVar[bool] = False
    """Whether it overrides `validate`."""

    def __init_subclass__(cls) -> None:
        cls.mutates = cls.mutate is not Plugin.mutate
        cls.validates = cls.validate is not Plugin.validate

    @abstractmethod
    def handles(self, operation: Operation, key: str, subresource: str) -> bool:
        """Whether the plug-in has a say in `operation` on the resource `key` (``group/plural``) or a subresource of it.

        Asked once for each combination: the answer may depend on nothing else.
        """

    def mutate(self, attributes: Attributes) -> Object | None:
        """The object to go on with: ``attributes.object`` itself where nothing changes. Raises ApiError to refuse.

        Asked again when a webhook has changed the object: what is done already has to be left alone.

        The object has defaults, but has not been validated: whatever has not the right form is left alone.
        """
        return attributes.object

    def validate(self, attributes: Attributes) -> None:  # noqa: B027 (not every plug-in refuses)
        """Raises ApiError (as a rule Forbidden) to refuse. The object is valid and will be stored as it is."""
