"""What ``homeport.dev`` says of pods: of jobs' that are gone, and of event files. Nothing of it is in the store."""

from __future__ import annotations

from typing import Annotated, ClassVar

from homeport.kube.core.types.meta import ObjectMeta
from homeport.kube.schema.fields import AnyObject, Model, doc


class EndedPod(Model, frozen=True):
    """A job's pod that is gone, as it ended. Its logs can be read as long as the job is there."""

    __schema_prefix__: ClassVar[str] = "dev.homeport.v1"

    metadata: Annotated[ObjectMeta | None, doc("The pod's metadata.")] = None
    spec: Annotated[AnyObject | None, doc("Its node, and its containers' names and images.")] = None
    status: Annotated[AnyObject | None, doc("The pod's status at its end.")] = None


class EventFiles(Model, frozen=True):
    """The newest scalars of TensorBoard's event files in a directory of a pod."""

    __schema_prefix__: ClassVar[str] = "dev.homeport.v1"

    metadata: Annotated[ObjectMeta | None, doc("The pod's name and namespace.")] = None
    scalars: Annotated[
        list[AnyObject] | None, doc("What has come since: run (the directory below), tag, value, step and time.")
    ] = None
    position: Annotated[str | None, doc("What to ask for next, as the parameter after.")] = None
    more: Annotated[bool | None, doc("Whether there is more already.")] = None
