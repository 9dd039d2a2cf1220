"""MPI: a launcher reaches the nodes by SSH, with keys of the job's own, and finds them in a host file.

Upstream: ``plugins/mpi``, which has Open MPI alone; the variables of the others are those of the MPI operator.
"""

from __future__ import annotations

from collections.abc import Iterable

from homeport import mpi
from homeport.components.trainer import names
from homeport.components.trainer.draft import Draft, PodSet, set_env, upsert
from homeport.components.trainer.policies.policy import Policy, reserved
from homeport.kube import field
from homeport.kube.errors import FieldError
from homeport.kube.meta import Object

_KEYS_VOLUME, _HOSTS_VOLUME = "mpi-ssh-auth", "mpi-hostfile"
_HOSTFILE = "hostfile"
_PRIVATE_MODE, _PUBLIC_MODE, _OTHER_MODE, _HOSTFILE_MODE = 0o640, 0o644, 0o400, 0o444


def secret_name(job: str) -> str:
    return f"{job}-mpi-ssh-auth"


def hostfile_name(job: str) -> str:
    return f"{job}-mpi-hostfile"


def _implementation(draft: Draft) -> mpi.Implementation:
    given = draft.policy("mpi").get("mpiImplementation")
    return given if given in ("Intel", "MPICH") else "OpenMPI"


def _slots(draft: Draft) -> int:
    """Processes of each node: the job's number, the runtime's, or one for each GPU."""
    given = draft.trainer.get("numProcPerNode")
    if given is not None:
        return int(given)
    own = int(draft.policy("mpi").get("numProcPerNode") or 1)
    return draft.gpus if own == 1 and draft.gpus > 1 else own


def _enforce(draft: Draft) -> None:
    _count(draft)
    for pods in draft.sets:
        if pods.name in (names.NODE, names.LAUNCHER):
            _equip(draft, pods)


def _count(draft: Draft) -> None:
    found = draft.set_named(names.NODE)
    wanted = draft.trainer.get("numNodes")
    if wanted is None:
        wanted = (draft.ml_policy or {}).get("numNodes")
    if found is not None and wanted is not None:
        # The launcher is a node, too; beside it there is always one.
        found.count = max(wanted - 1, 1) if draft.policy("mpi").get("runLauncherAsNode") else wanted


def _equip(draft: Draft, pods: PodSet) -> None:
    is_launcher = pods.name == names.LAUNCHER
    volumes = [_keys_volume(draft.name)]
    mounts = [{"name": _KEYS_VOLUME, "mountPath": draft.policy("mpi").get("sshAuthMountPath") or "/root/.ssh"}]
    if is_launcher:
        item = {"key": _HOSTFILE, "path": _HOSTFILE, "mode": _HOSTFILE_MODE}
        volumes.append({"name": _HOSTS_VOLUME, "configMap": {"name": hostfile_name(draft.name), "items": [item]}})
        mounts.append({"name": _HOSTS_VOLUME, "mountPath": mpi.CONFIG_MOUNT})
    upsert(pods.pod.setdefault("volumes", []), volumes, "name")
    container = pods.container(names.NODE)
    if container is None:
        return
    upsert(container.setdefault("volumeMounts", []), mounts, "mountPath")
    if is_launcher:
        set_env(
            container, mpi.launcher_variables(_implementation(draft), f"{mpi.CONFIG_MOUNT}/{_HOSTFILE}", _slots(draft))
        )


def _keys_volume(job: str) -> Object:
    modes = {mpi.PRIVATE_KEY: _PRIVATE_MODE, mpi.PUBLIC_KEY: _PUBLIC_MODE}
    items = [{"key": key, "path": file, "mode": modes[key]} for key, file in mpi.KEY_FILES]
    source = {"secretName": secret_name(job), "defaultMode": _OTHER_MODE, "items": items}
    return {"name": _KEYS_VOLUME, "secret": source}


def _objects(draft: Draft) -> Iterable[Object]:
    trains = (names.LAUNCHER, names.NODE) if draft.policy("mpi").get("runLauncherAsNode") else (names.NODE,)
    hosts = (host for pods in draft.sets if pods.name in trains for host in draft.hosts(pods))
    yield {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": secret_name(draft.name)},
        "type": mpi.SECRET_TYPE,
        "immutable": True,
    }
    yield {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": hostfile_name(draft.name)},
        "data": {_HOSTFILE: mpi.hostfile(hosts, _slots(draft), _implementation(draft))},
    }


def _validate(draft: Draft) -> Iterable[FieldError]:
    nodes = draft.trainer.get("numNodes")
    alone = draft.set_named(names.LAUNCHER) is None or draft.set_named(names.NODE) is None
    if nodes is not None and nodes >= 2 and draft.policy("mpi").get("runLauncherAsNode") and alone:
        words = (
            "must have 1 when MPI trainingRuntime with enabled runLauncherAsNode does not have either launcher and node"
        )
        yield field.invalid("spec.trainer.numNodes", nodes, words)
    own = mpi.launcher_variables(_implementation(draft), _HOSTFILE, 1)
    taken = reserved(draft, frozenset(each["name"] for each in own))
    if taken:
        words = f"must not have reserved envs, invalid envs configured: [{' '.join(taken)}]"
        yield field.invalid("spec.trainer.env", draft.trainer.get("env"), words)


POLICY = Policy(name="mpi", enforce=_enforce, validate=_validate, objects=_objects)
