"""A small controller to test the runtime with: a Farm wants pods and services, counts what it sees, and can retire."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from homeport.control.controller import Child, Controller, Desired, Note, Observed, Related
from homeport.kube.core.types.meta import ObjectMeta
from homeport.kube.errors import Permanent
from homeport.kube.kind import Kind, Resource
from homeport.kube.meta import Object, name, namespace, spec, status
from homeport.kube.schema.fields import AnyObject, Model, doc

FARMS = Resource("example.com", "v1", "farms", "Farm")
PODS = Resource("", "v1", "pods", "Pod")
SERVICES = Resource("", "v1", "services", "Service")
CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap")


class FarmModel(Model, frozen=True):
    __schema_prefix__: ClassVar[str] = "com.example.v1"


class FarmSpec(FarmModel, frozen=True):
    """What is wanted."""

    pods: Annotated[int, doc("How many pods.")] = 0
    services: Annotated[int, doc("How many services.")] = 0
    labels: Annotated[dict[str, str] | None, doc("Labels of the services.")] = None
    config: Annotated[str, doc("Name of a config map to read.")] = ""
    mood: Annotated[str, doc("What goes wrong.")] = ""


class Farm(FarmModel, frozen=True):
    """A kind for tests."""

    metadata: Annotated[ObjectMeta | None, doc("Metadata.")] = None
    spec: Annotated[FarmSpec | None, doc("What is wanted.")] = None
    status: Annotated[AnyObject | None, doc("What is seen.")] = None


FARM = Kind(resource=FARMS, body=Farm, singular="farm")


def farm(own: str, **wanted: Any) -> Object:
    metadata = {"name": own, "namespace": "default"}
    return {"apiVersion": "example.com/v1", "kind": "Farm", "metadata": metadata, "spec": wanted}


def sync(observed: Observed) -> Desired:
    parent, wanted = observed.parent, spec(observed.parent)
    match wanted.get("mood"):
        case "buggy":
            raise KeyError("no such field")
        case "hopeless":
            raise Permanent("this farm can't be")
        case "gone":
            return Desired(delete_parent=True)
    children = [_pod(name(parent), index) for index in range(wanted.get("pods") or 0)]
    children += [_service(name(parent), index, wanted) for index in range(wanted.get("services") or 0)]
    pods = observed.children["Pod"]
    seen: Object = {
        "pods": len(pods),
        "services": len(observed.children["Service"]),
        "finished": sum(status(pod).get("phase") == "Succeeded" for pod in pods.values()),
    }
    if wanted.get("config"):
        found = observed.related["ConfigMap"].get(f"{namespace(parent)}/{wanted['config']}")
        seen["config"] = (found or {}).get("data") or {}
    notes = (Note("Normal", "Grown", "all pods are there"),) if _grew(status(parent), seen, wanted) else ()
    return Desired(status=seen, children=tuple(children), notes=notes)


def _grew(before: Object, seen: Object, wanted: Object) -> bool:
    full = wanted.get("pods") or 0
    return full > 0 and seen["pods"] == full != before.get("pods")


def _pod(parent: str, index: int) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"{parent}-{index}"},
        "spec": {"containers": [{"name": "main", "image": "python", "resources": {"limits": {"cpu": "1000m"}}}]},
    }


def _service(parent: str, index: int, wanted: Object) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": f"{parent}-{index}", "labels": wanted.get("labels") or {"farm": parent}},
        "spec": {"clusterIP": "None", "selector": {"farm": parent}, "ports": [{"port": 2222}]},
    }


def concerned(config_map: Object) -> tuple[tuple[str, str], ...]:
    """A config map ``x-config`` is read by farm ``x``."""
    return ((namespace(config_map), name(config_map).removesuffix("-config")),)


CONTROLLER = Controller(
    name="farm",
    parent=FARMS,
    sync=sync,
    children=(Child(PODS, update="never"), Child(SERVICES)),
    related=(Related(CONFIG_MAPS, concerned),),
)
