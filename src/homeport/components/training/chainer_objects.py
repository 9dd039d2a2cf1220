"""What a ChainerJob is made of: the master's Job, a stateful set for each worker set, and what ``mpiexec`` reads."""

from __future__ import annotations

from collections.abc import Iterator

from homeport.components.training.framework import Settings, variables
from homeport.kube import meta
from homeport.kube.meta import Object

CONTAINER = "chainer"
_PREFIX = "chainerjob.kubeflow.org/"
NAME_LABEL = f"{_PREFIX}name"
"""Label of all objects of a job: its name."""
_BASE = "/kubeflow/chainer-operator"
_ASSETS, _KUBECTL, _GENERATED = f"{_BASE}/assets", f"{_BASE}/kube", f"{_BASE}/generated"
_AGENT, _HOSTFILE = f"{_ASSETS}/kubexeb.sh", f"{_GENERATED}/hostfile"  # the operator's spelling
_RBAC = "rbac.authorization.k8s.io"
_PODS: Object = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}
_EXEC: Object = {"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["create", "get"]}
GRANTS: tuple[Object, ...] = (_PODS, _EXEC)
"""What jobs' roles give, of whatever pods."""
_VOLUMES = {
    "chainer-operator-volume-generated": _GENERATED,
    "chainer-operator-volume-kubectl": _KUBECTL,
    "chainer-operator-volume-assets": _ASSETS,
}
_VARIABLES = variables(
    {
        "KUBECTL_DIR": _KUBECTL,
        "OMPI_MCA_plm_rsh_agent": _AGENT,
        "OMPI_MCA_orte_keep_fqdn_hostnames": "t",
        "OMPI_MCA_orte_default_hostfile": _HOSTFILE,
        "OMPI_MCA_btl_tcp_if_exclude": "lo,docker0",
        # The same for Open MPI 5.
        "PRTE_MCA_plm_ssh_agent": _AGENT,
        "PRTE_MCA_prte_keep_fqdn_hostnames": "t",
        "PRTE_MCA_prte_default_hostfile": _HOSTFILE,
    }
)
_DOWNLOAD = """#!/bin/sh
# Copies the kubectl of this image to where the other containers find it.
set -e
cp "$(command -v kubectl)" "${1:-%s}/kubectl"
""".replace("%s", _KUBECTL)
_AGENT_SCRIPT = f"""#!/bin/sh
pod=$1
shift
if [ "$pod" = "$(hostname)" ]; then
  /bin/sh -c "$*"
else
  ${{KUBECTL_DIR:-{_KUBECTL}}}/kubectl exec "$pod" -c {CONTAINER} -- /bin/sh -c "$*"
fi
"""
_GENERATE = f"""#!/bin/sh
# Waits until all workers run and writes the host file: they, then this pod.
set -e
target=$1 master=$2 slots=$3 workers=$4
: > "$target.new"
while read -r pod its_slots; do
  until "${{KUBECTL_DIR:-{_KUBECTL}}}/kubectl" wait --for=jsonpath={{.status.phase}}=Running "pod/$pod"; do
    sleep 1
  done
  echo "$pod $its_slots" >> "$target.new"
done < "$workers"
echo "$master $slots" >> "$target.new"
mv "$target.new" "$target"
"""


class Shape:
    """The objects of one job, which has its defaults."""

    def __init__(self, job: Object, settings: Settings) -> None:
        self.name, self._spec, self._settings = meta.name(job), meta.spec(job), settings
        self._namespace, self._labels = meta.namespace(job), meta.labels(job)
        self._sets: dict[str, Object] = self._spec.get("workerSets") or {}

    @property
    def master_name(self) -> str:
        return f"{self.name}-master"

    @property
    def master_spec(self) -> Object:
        return dict(self._spec["master"])

    def _set_name(self, name: str) -> str:
        return f"{self.name}-workerset-{name}"

    def _metadata(self, name: str) -> Object:
        return {"name": name, "labels": {NAME_LABEL: self.name}}

    def _workers(self) -> list[tuple[str, int]]:
        """Each worker's pod, and its slots."""
        return [
            (f"{self._set_name(name)}-{index}", workers["mpiConfig"]["slots"])
            for name, workers in self._sets.items()
            for index in range(workers["replicas"])
        ]

    def access(self) -> Iterator[Object]:
        """The service account of all pods, and what it may do: execute commands in workers."""
        owner = f"{self.name}-launcher"
        yield {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": self._metadata(owner)}
        rules: list[Object] = []
        if pods := [pod for pod, _ in self._workers()]:
            rules = [{**grant, "resourceNames": pods} for grant in GRANTS]
        role = f"{owner}-role"
        yield {"apiVersion": f"{_RBAC}/v1", "kind": "Role", "metadata": self._metadata(role), "rules": rules}
        yield {
            "apiVersion": f"{_RBAC}/v1",
            "kind": "RoleBinding",
            "metadata": self._metadata(f"{owner}-rolebinding"),
            "subjects": [{"kind": "ServiceAccount", "name": owner, "namespace": self._namespace}],
            "roleRef": {"apiGroup": _RBAC, "kind": "Role", "name": role},
        }

    def cluster(self, *, running: bool) -> Iterator[Object]:
        """The scripts and the sets of workers, which are empty once the master has ended; nothing without workers."""
        if not self._sets:
            return
        workers = "".join(f"{pod} slots={slots}\n" for pod, slots in self._workers())
        data = {
            "download_kubectl.sh": _DOWNLOAD,
            "kubexeb.sh": _AGENT_SCRIPT,
            "gen_hostfile.sh": _GENERATE,
            "workers": workers,
        }
        metadata = self._metadata(f"{self.name}-assets")
        yield {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
        for name, spec in self._sets.items():
            yield self._worker_set(name, spec, running=running)

    def _worker_set(self, name: str, spec: Object, *, running: bool) -> Object:
        labels = {NAME_LABEL: self.name, f"{_PREFIX}role": "workerset", f"{_PREFIX}workersetname": name}
        template = self._template(spec["template"], labels)
        return {
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": {"name": self._set_name(name), "labels": {**self._labels, **labels}},
            "spec": {
                "podManagementPolicy": "Parallel",
                "replicas": spec["replicas"] if running else 0,
                "selector": {"matchLabels": template["metadata"]["labels"]},
                "serviceName": self._set_name(name),
                "template": template,
            },
        }

    def master(self) -> Object:
        """The master's Job."""
        master, labels = self._spec["master"], {NAME_LABEL: self.name, f"{_PREFIX}role": "master"}
        template = self._template(master["template"], labels)
        if self._sets:
            spec = template["spec"]
            template["spec"] = {**spec, "initContainers": [*spec["initContainers"], self._generator(master)]}
        spec = {"completions": 1, "parallelism": 1, "template": template}
        for key in ("backoffLimit", "activeDeadlineSeconds"):
            if master.get(key) is not None:
                spec[key] = master[key]
        metadata = {"name": self.master_name, "labels": {**self._labels, **labels}}
        return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}

    def _generator(self, master: Object) -> Object:
        pod_name = {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
        slots = master["mpiConfig"]["slots"]
        return {
            "name": "chainer-operator-hostfile-generator",
            "image": self._settings.kubectl_delivery_image,
            "env": [pod_name],
            "command": [f"{_ASSETS}/gen_hostfile.sh"],
            "args": [_HOSTFILE, "$(POD_NAME)", f"slots={slots}", f"{_ASSETS}/workers"],
            "volumeMounts": _mounts(),
        }

    def _template(self, template: Object, labels: dict[str, str]) -> Object:
        """A pod template with the job's account and labels, and in an MPI cluster its volumes and variables."""
        metadata = template.get("metadata") or {}
        spec = {**(template.get("spec") or {}), "serviceAccountName": f"{self.name}-launcher"}
        spec["containers"] = [_told(container) for container in spec["containers"]]
        if self._sets:
            downloader = {
                "name": "chainer-operator-kubectl-downloader",
                "image": self._settings.kubectl_delivery_image,
                "command": [f"{_ASSETS}/download_kubectl.sh"],
                "args": [_KUBECTL],
            }
            containers = [{**c, "env": [*(c.get("env") or ()), *_VARIABLES]} for c in spec["containers"]]
            spec["volumes"] = [*(spec.get("volumes") or ()), *self._volumes()]
            spec["initContainers"] = [_mounted(c) for c in [*(spec.get("initContainers") or ()), downloader]]
            spec["containers"] = [_mounted(container) for container in containers]
        return {"metadata": {**metadata, "labels": {**(metadata.get("labels") or {}), **labels}}, "spec": spec}

    def _volumes(self) -> list[Object]:
        generated, kubectl, assets = _VOLUMES
        files = {"name": f"{self.name}-assets", "defaultMode": 0o555}
        return [
            {"name": generated, "emptyDir": {}},
            {"name": kubectl, "emptyDir": {}},
            {"name": assets, "configMap": files},
        ]


def _told(container: Object) -> Object:
    """The one that trains: its last output becomes its termination message, so that a failure says why."""
    return (
        {"terminationMessagePolicy": "FallbackToLogsOnError"} | container
        if container["name"] == CONTAINER
        else container
    )


def _mounts() -> list[Object]:
    return [{"name": name, "mountPath": path} for name, path in _VOLUMES.items()]


def _mounted(container: Object) -> Object:
    return {**container, "volumeMounts": [*(container.get("volumeMounts") or ()), *_mounts()]}
