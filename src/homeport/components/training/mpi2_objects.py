"""What an MPIJob of ``kubeflow.org/v2beta1`` is made of: workers that run ``sshd``, a launcher's Job, the service by
which they know each other, and the files and keys that they need."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from homeport import mpi
from homeport.components.training.framework import variables
from homeport.components.training.kinds import SchedulingPolicy
from homeport.components.training.mpi2_kinds import LAUNCHER, ROOT_SSH, SPECS, WORKER
from homeport.components.training.podgroups import Gang
from homeport.components.training.pods import INDEX_LABEL, JOB_LABEL, OPERATOR_LABEL, ROLE_LABEL
from homeport.kube import meta
from homeport.kube.meta import Object

OPERATOR = "mpi-operator"
_HOSTFILE = f"{mpi.CONFIG_MOUNT}/hostfile"


class Shape:
    """The objects of one job, which has its defaults. `domain` is the cluster's, if names shall end with it. `gang`
    places its pods together."""

    def __init__(self, job: Object, domain: str = "", gang: Gang | None = None) -> None:
        self.gang = gang
        self.job, self.name, self.spec = job, meta.name(job), meta.spec(job)
        self._domain = f"{self.name}.{meta.namespace(job)}.svc" + (f".{domain}" if domain else "")
        self._launcher_works = bool(self.spec.get("runLauncherAsWorker"))

    @property
    def launcher_name(self) -> str:
        return f"{self.name}-launcher"

    @property
    def main_container(self) -> str:
        """Name of the launcher's container that runs ``mpirun``."""
        return str(self.spec[SPECS][LAUNCHER]["template"]["spec"]["containers"][0].get("name") or "")

    @property
    def workers(self) -> list[str]:
        """Names of the workers' pods."""
        count = (self.spec[SPECS].get(WORKER) or {}).get("replicas") or 0
        return [f"{self.name}-worker-{index}" for index in range(count)]

    def labels(self, role: str) -> dict[str, str]:
        return {OPERATOR_LABEL: OPERATOR, JOB_LABEL: self.name, ROLE_LABEL: role}

    def _template(self, type: str) -> Object:
        template: Object = self.spec[SPECS][type]["template"]
        return self.gang.tie(template, type.lower()) if self.gang else template

    def group(self, policy: SchedulingPolicy | None) -> Object | None:
        """The pod group; None: each pod is placed for itself."""
        if self.gang is None:
            return None
        given = [self.spec[SPECS][type] for type in (LAUNCHER, WORKER) if type in self.spec[SPECS]]
        return self.gang.group(policy, [(one["template"].get("spec") or {}, one["replicas"] or 0) for one in given])

    def _metadata(self, name: str) -> Object:
        return {"name": name, "labels": {"app": self.name}}

    def service(self) -> Object:
        selector = {OPERATOR_LABEL: OPERATOR, JOB_LABEL: self.name}
        spec: Object = {"clusterIP": "None", "selector": selector}
        # A launcher that works has to find itself before it is ready.
        spec["publishNotReadyAddresses"] = self._launcher_works
        return {"apiVersion": "v1", "kind": "Service", "metadata": self._metadata(self.name), "spec": spec}

    def config(self, running: Iterable[str]) -> Object:
        """`running`: names of the workers that run."""
        first = [self.launcher_name] if self._launcher_works else []
        hosts = [f"{name}.{self._domain}" for name in [*first, *self.workers]]
        found = "".join(f"echo {name}.{self._domain}\n" for name in [*first, *sorted(running)])
        slots, implementation = self.spec["slotsPerWorker"], self.spec["mpiImplementation"]
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": self._metadata(f"{self.name}-config"),
            "data": {
                "hostfile": mpi.hostfile(hosts, slots, implementation),
                "discover_hosts.sh": f"#!/bin/sh\n{found}",
            },
        }

    def secret(self) -> Object:
        """Without its keys: they are drawn when it is made."""
        metadata = self._metadata(f"{self.name}-ssh")
        return {"apiVersion": "v1", "kind": "Secret", "type": mpi.SECRET_TYPE, "metadata": metadata}

    def worker(self, index: int) -> Object:
        template = self._template(WORKER)
        name = self.workers[index]
        spec = self._pod_spec(WORKER, name)
        # Intel's and MPICH's workers call the launcher by its host name alone.
        config = spec.get("dnsConfig") or {}
        search = f"{self.name}.{meta.namespace(self.job)}.svc.cluster.local"
        spec["dnsConfig"] = {**config, "searches": [*(config.get("searches") or ()), search]}
        first, *others = spec["containers"]
        if not first.get("command") and not first.get("args"):
            first = {**first, "command": ["/usr/sbin/sshd", "-De"]}
        first = _with_variables(first, variables({"K_MPI_JOB_ROLE": "worker"}))
        spec["containers"] = [first, *others]
        labels = {**_labels(template), **self.labels("worker"), INDEX_LABEL: str(index + self._launcher_works)}
        metadata: Object = {"name": name, "labels": labels}
        if annotations := (template.get("metadata") or {}).get("annotations"):
            metadata["annotations"] = dict(annotations)
        return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}

    def launcher(self) -> Object:
        """The launcher's Job."""
        policy = self.spec["runPolicy"]
        spec = {
            key: policy[key]
            for key in ("ttlSecondsAfterFinished", "activeDeadlineSeconds", "backoffLimit")
            if policy.get(key) is not None
        }
        # A terminating pod must not meet its successor (kubernetes issue 115844).
        spec |= {"template": self.launcher_template(), "podReplacementPolicy": "Failed"}
        if policy.get("suspend"):
            spec["suspend"] = True
        metadata = self._metadata(self.launcher_name)
        return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}

    def launcher_template(self) -> Object:
        template = self._template(LAUNCHER)
        spec = self._pod_spec(LAUNCHER, self.launcher_name)
        first, *others = spec["containers"]
        implementation, slots = self.spec["mpiImplementation"], self.spec["slotsPerWorker"]
        own = variables({"K_MPI_JOB_ROLE": "launcher"})
        own += mpi.launcher_variables(implementation, _HOSTFILE, slots)
        if not self._launcher_works:
            own += variables(mpi.NO_GPUS)
        mount = {"name": "mpi-job-config", "mountPath": mpi.CONFIG_MOUNT}
        first = _with_variables(first, own)
        spec["containers"] = [{**first, "volumeMounts": [*first["volumeMounts"], mount]}, *others]
        items = [
            {"key": "hostfile", "path": "hostfile", "mode": 0o444},
            {"key": "discover_hosts.sh", "path": "discover_hosts.sh", "mode": 0o555},
        ]
        config = {"name": "mpi-job-config", "configMap": {"name": f"{self.name}-config", "items": items}}
        spec["volumes"] = [*spec["volumes"], config]
        labels = {**_labels(template), **self.labels("launcher")}
        if self._launcher_works:
            labels[INDEX_LABEL] = "0"
        metadata: Object = {"labels": labels}
        if annotations := (template.get("metadata") or {}).get("annotations"):
            metadata["annotations"] = dict(annotations)
        return {"metadata": metadata, "spec": spec}

    def _pod_spec(self, type: str, name: str) -> Object:
        """The template's, with its place in the job's service and the keys."""
        replicas = self.spec[SPECS][type]
        spec = dict(self._template(type).get("spec") or {})
        spec |= {"hostname": name, "subdomain": self.name, "restartPolicy": replicas["restartPolicy"]}
        if spec.get("hostNetwork"):
            spec["dnsPolicy"] = "ClusterFirstWithHostNet"
        path = self.spec["sshAuthMountPath"]
        items = [{"key": key, "path": file} for key, file in mpi.KEY_FILES]
        secret: Object = {"secretName": f"{self.name}-ssh", "items": items}
        if path == ROOT_SSH:
            secret["defaultMode"] = 0o600
        spec["volumes"] = [*(spec.get("volumes") or ()), {"name": "ssh-auth", "secret": secret}]
        first, *others = spec["containers"]
        mounts = [*(first.get("volumeMounts") or ()), {"name": "ssh-auth", "mountPath": path}]
        # So that a failed container's last output becomes its termination message, which the job's condition repeats.
        told = {"terminationMessagePolicy": "FallbackToLogsOnError"}
        spec["containers"] = [told | {**first, "volumeMounts": mounts}, *others]
        return spec


def _labels(template: Object) -> dict[str, str]:
    return (template.get("metadata") or {}).get("labels") or {}


def _with_variables(container: Object, own: Sequence[Object]) -> Object:
    taken = {variable["name"] for variable in own}
    others = [variable for variable in container.get("env") or () if variable.get("name") not in taken]
    return {**container, "env": [*others, *own]}
