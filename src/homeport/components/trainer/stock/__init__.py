"""The runtimes that every platform has, under upstream's names; each is a file of this directory.

One is made if there is none of its name. Who deletes one gets it again at the next start; what somebody has changed is
left as it is.
"""

from __future__ import annotations

from importlib import resources
from importlib.resources.abc import Traversable

from homeport.client.client import Client
from homeport.components.trainer import CLUSTER_TRAINING_RUNTIME, names
from homeport.kube import core, meta
from homeport.kube.errors import AlreadyExists, ApiError, NotFound
from homeport.kube.kind import Kind
from homeport.kube.meta import Object

UPSTREAM = "v2.3.0"
"""The release of Kubeflow Trainer whose kinds and runtimes these are."""
NAMESPACE = "kubeflow-system"
_PUBLIC = "kubeflow-trainer-public"
_ROLE = "kubeflow-trainer-view-cluster-runtimes"


def stock() -> dict[str, Traversable]:
    """The files of the runtimes, by the runtimes' names."""
    files = sorted(resources.files(__name__).iterdir(), key=lambda file: file.name)
    return {file.name.removesuffix(".yaml"): file for file in files if file.name.endswith(".yaml")}


def runtime(file: Traversable) -> Object:
    from homeport.kube import yamltext  # most starts find the runtimes there

    found: Object = yamltext.load(file.read_bytes())[0]
    return found


def surroundings() -> tuple[tuple[Kind, Object], ...]:
    """What clients expect beside the runtimes: the version that they are, and that everybody may read it and them."""
    group = "rbac.authorization.k8s.io"
    everybody = [{"kind": "Group", "apiGroup": group, "name": "system:authenticated"}]
    reading = ["get", "list", "watch"]
    public = {
        "name": _PUBLIC,
        "namespace": NAMESPACE,
    }
    read_public = {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [_PUBLIC], "verbs": reading}
    read_runtimes = {"apiGroups": [names.GROUP], "resources": ["clustertrainingruntimes"], "verbs": reading}
    return (
        (core.NAMESPACE, core.NAMESPACE.new(NAMESPACE)),
        (core.CONFIG_MAP, core.CONFIG_MAP.new(**public, data={"kubeflow_trainer_version": UPSTREAM})),
        (core.ROLE, core.ROLE.new(**public, rules=[read_public])),
        (
            core.ROLE_BINDING,
            core.ROLE_BINDING.new(
                **public, roleRef={"apiGroup": group, "kind": "Role", "name": _PUBLIC}, subjects=everybody
            ),
        ),
        (core.CLUSTER_ROLE, core.CLUSTER_ROLE.new(_ROLE, rules=[read_runtimes])),
        (
            core.CLUSTER_ROLE_BINDING,
            core.CLUSTER_ROLE_BINDING.new(
                _ROLE, roleRef={"apiGroup": group, "kind": "ClusterRole", "name": _ROLE}, subjects=everybody
            ),
        ),
    )


async def install(client: Client) -> list[str]:
    """Make what is missing. Gives what could not be made and why, in words for people; the next start tries again."""
    failed: list[str] = []
    there = {meta.name(obj) for obj in (await client.list(CLUSTER_TRAINING_RUNTIME.resource)).items}
    missing = [file for name, file in stock().items() if name not in there]
    wanted = [*surroundings(), *((CLUSTER_TRAINING_RUNTIME, runtime(file)) for file in missing)]
    for kind, obj in wanted:
        try:
            await _make(client, kind, obj)
        except AlreadyExists:
            continue
        except ApiError as error:
            failed.append(f"{kind.kind} {meta.name(obj)}: {error.message}")
    return failed


async def _make(client: Client, kind: Kind, obj: Object) -> None:
    """Create what is not there. To ask first is cheaper: what judges new objects is not loaded without any."""
    try:
        await client.get(kind.resource, meta.name(obj), meta.namespace(obj))
    except NotFound:
        await client.create(kind.resource, obj)
