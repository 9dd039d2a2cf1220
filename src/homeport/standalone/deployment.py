"""Controllers and the scheduler as Deployments of the cluster that they act on, with a Service where it reaches
webhooks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from homeport.kube.meta import Object
from homeport.standalone.manifests import NAME, NAMESPACE
from homeport.standalone.parts import Part

PORT = 8080
"""Of probes and metrics."""
_WEBHOOKS = 9443
_PROBED: Object = {
    "livenessProbe": {"httpGet": {"path": "/livez", "port": "metrics"}},
    "readinessProbe": {"httpGet": {"path": "/readyz", "port": "metrics"}},
    "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
    "securityContext": {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    },
    # A certificate's key passes through a file there: in memory, and gone with the pod.
    "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
}


class Deployed(msgspec.Struct, frozen=True):
    """What is asked for."""

    image: str
    """An image with Homeport in it, whose entry point or path has ``homeport``."""
    replicas: int = 2
    """One acts; the others answer webhooks, too, and take over."""
    webhook_service: str = ""
    """The Service to make; empty: without webhooks."""
    gang_scheduler: str = ""
    """Who places jobs whole; empty: nobody."""


def manifests(parts: Sequence[Part], wanted: Deployed, namespace: str = NAMESPACE) -> Iterator[Object]:
    """The Deployment, after what it needs. The account and its rights come with `homeport.standalone.manifests`.

    Ports say their protocol: older clusters take no applied ports without.
    """
    if wanted.webhook_service:
        port = {"name": "webhooks", "port": 443, "targetPort": "webhooks", "protocol": "TCP"}
        known = _named(wanted.webhook_service, namespace, NAME)
        spec: Object = {"selector": known["labels"], "ports": [port]}
        yield {"apiVersion": "v1", "kind": "Service", "metadata": known, "spec": spec}
    yield deployment(NAME, namespace, wanted.replicas, NAME, _container(parts, wanted, namespace))


def deployment(name: str, namespace: str, replicas: int, account: str, container: Object) -> Object:
    """Of one container, which serves probes and metrics at `PORT`. `account`: of the pods; `container`: its name,
    image and command, and what is other than for all of them."""
    label = {"app.kubernetes.io/name": name}
    ports = [{"name": "metrics", "containerPort": PORT, "protocol": "TCP"}, *container.get("ports", ())]
    spec = {
        "replicas": replicas,
        "selector": {"matchLabels": label},
        "template": {
            "metadata": {"labels": label},
            "spec": _pod({**_PROBED, **container, "ports": ports}, account, label),
        },
    }
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": _named(name, namespace), "spec": spec}


def _named(name: str, namespace: str, label: str = "") -> Object:
    return {"name": name, "namespace": namespace, "labels": {"app.kubernetes.io/name": label or name}}


def _container(parts: Sequence[Part], wanted: Deployed, namespace: str) -> Object:
    arguments = [
        "controllers", f"--only={','.join(part.name for part in parts)}", f"--namespace={namespace}",
        "--bind-address=0.0.0.0", f"--metrics-port={PORT}",
    ]  # fmt: skip
    if wanted.gang_scheduler:
        arguments.append(f"--gang-scheduler={wanted.gang_scheduler}")
    ports = []
    if wanted.webhook_service:
        arguments += [f"--webhook-service={wanted.webhook_service}", f"--webhook-port={_WEBHOOKS}"]
        ports.append({"name": "webhooks", "containerPort": _WEBHOOKS, "protocol": "TCP"})
    command = ["homeport", *arguments]
    return {"name": "controllers", "image": wanted.image, "command": command, "ports": ports}


def _pod(container: Object, account: str, label: Object) -> Object:
    return {
        "serviceAccountName": account,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "runAsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}}],
        # Apart where there are nodes enough: webhooks are to be answered while one goes.
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": label},
            }
        ],
    }
