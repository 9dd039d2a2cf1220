"""How the training itself says how far it is: what its containers are given for that (upstream: the plug-in
``TrainJobStatus`` and KEP-2779)."""

from __future__ import annotations

from homeport.components.trainer import names
from homeport.components.trainer.draft import Draft, set_env, upsert, variable
from homeport.components.trainer.settings import Reporting
from homeport.kube import meta
from homeport.kube.meta import Object

_DIRECTORY = "/var/run/secrets/kubeflow/trainer"
_VOLUME = "kubeflow-trainer-token"
_LIFE = 3600
"""Seconds that a token is good for; a new one is there before."""


def path(namespace: str, job: str) -> str:
    return f"/apis/{names.GROUP}/{names.VERSION}/namespaces/{namespace}/trainjobs/{job}/status"


def audience(namespace: str, job: str) -> str:
    """Whom the token is for that may report about one job, and may do nothing else."""
    return f"{names.GROUP}/{names.VERSION}/namespaces/{namespace}/trainjobs/{job}/status"


def report_progress(draft: Draft, reporting: Reporting) -> None:
    pods, namespace = draft.trainer_set, meta.namespace(draft.job)
    if pods is None:
        return
    given = (
        variable("KUBEFLOW_TRAINER_SERVER_URL", reporting.url + path(namespace, draft.name)),
        variable("KUBEFLOW_TRAINER_SERVER_CA_CERT", f"{_DIRECTORY}/ca.crt"),
        variable("KUBEFLOW_TRAINER_SERVER_TOKEN", f"{_DIRECTORY}/token"),
    )
    mount = {"name": _VOLUME, "mountPath": _DIRECTORY, "readOnly": True}
    for container in pods.pod.get("containers") or ():
        set_env(container, given)
        upsert(container.setdefault("volumeMounts", []), [mount], "mountPath")
    volume: Object = {
        "name": _VOLUME,
        "projected": {"sources": [_token(namespace, draft.name), _authority(draft.name, reporting)]},
    }
    upsert(pods.pod.setdefault("volumes", []), [volume], "name")


def _token(namespace: str, job: str) -> Object:
    return {"serviceAccountToken": {"audience": audience(namespace, job), "expirationSeconds": _LIFE, "path": "token"}}


def authority_name(job: str) -> str:
    """Of the config map with the authorities of :attr:`Reporting.bundle`, as upstream's."""
    return f"{job}-tls-config"


def authority(job: Object, reporting: Reporting) -> Object | None:
    """The config map by which a job believes the server; None: it needs none of its own."""
    if reporting.bundle is None:
        return None
    name = authority_name(meta.name(job))
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"ca.crt": reporting.bundle()}}


def _authority(job: str, reporting: Reporting) -> Object:
    name = reporting.authority if reporting.bundle is None else authority_name(job)
    return {"configMap": {"name": name, "items": [{"key": "ca.crt", "path": "ca.crt"}]}}
