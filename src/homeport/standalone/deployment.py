"""The controllers as a Deployment of the cluster that they act on, with a Service where it reaches their webhooks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from homeport.kube.meta import Object
from homeport.standalone.manifests import NAME, NAMESPACE
from homeport.standalone.parts import Part

_LABEL = {"app.kubernetes.io/name": NAME}
_METRICS = 8080
_WEBHOOKS = 9443


class Deployed(msgspec.Struct, frozen=True):
    """What is asked for."""

    image: str
    """An image with Homeport in it, whose entry point or path has ``homeport``."""
    replicas: int = 2
    """One acts; the others answer webhooks, too, and take over."""
    webhook_service: str = ""
    """The Service to make; empty: without webhooks."""


def manifests(parts: Sequence[Part], wanted: Deployed, namespace: str = NAMESPACE) -> Iterator[Object]:
    """The Deployment, after what it needs. The account and its rights come with `homeport.standalone.manifests`.

    Ports say their protocol: older clusters take no applied ports without.
    """
    if wanted.webhook_service:
        port = {"name": "webhooks", "port": 443, "targetPort": "webhooks", "protocol": "TCP"}
        spec: Object = {"selector": _LABEL, "ports": [port]}
        yield {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": _named(wanted.webhook_service, namespace),
            "spec": spec,
        }
    spec = {
        "replicas": wanted.replicas,
        "selector": {"matchLabels": _LABEL},
        "template": {"metadata": {"labels": _LABEL}, "spec": _pod(parts, wanted, namespace)},
    }
    yield {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": _named(NAME, namespace), "spec": spec}


def _named(name: str, namespace: str) -> Object:
    return {"name": name, "namespace": namespace, "labels": _LABEL}


def _pod(parts: Sequence[Part], wanted: Deployed, namespace: str) -> Object:
    arguments = [
        "controllers", f"--only={','.join(part.name for part in parts)}", f"--namespace={namespace}",
        "--bind-address=0.0.0.0", f"--metrics-port={_METRICS}",
    ]  # fmt: skip
    ports = [{"name": "metrics", "containerPort": _METRICS, "protocol": "TCP"}]
    if wanted.webhook_service:
        arguments += [f"--webhook-service={wanted.webhook_service}", f"--webhook-port={_WEBHOOKS}"]
        ports.append({"name": "webhooks", "containerPort": _WEBHOOKS, "protocol": "TCP"})
    container = {
        "name": "controllers",
        "image": wanted.image,
        "command": ["homeport", *arguments],
        "ports": ports,
        "livenessProbe": {"httpGet": {"path": "/healthz", "port": "metrics"}},
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": "metrics"}},
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        # The certificate's key passes through a file there: in memory, and gone with the pod.
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }
    return {
        "serviceAccountName": NAME,
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
                "labelSelector": {"matchLabels": _LABEL},
            }
        ],
    }
