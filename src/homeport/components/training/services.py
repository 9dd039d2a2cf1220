"""The headless service of each replica: the DNS name under which the others find it."""

from __future__ import annotations

from collections.abc import Mapping

from homeport.components.training.framework import Job, Replica
from homeport.kube.meta import Object


def service(replica: Replica, labels: Mapping[str, str], ports: list[Object]) -> Object:
    """`labels` select the pod; `ports` are those of :func:`service_ports`."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": replica.name, "labels": dict(labels)},
        "spec": {
            "clusterIP": "None",
            "selector": dict(labels),
            "ports": ports,
            # Replicas meet while they start, before a readiness probe passes.
            "publishNotReadyAddresses": True,
        },
    }


def service_ports(job: Job, type: str) -> list[Object]:
    """The ports of the container that trains, each with a name (a service with several needs that)."""
    declared = job.main(type).get("ports") or ()
    ports: list[Object] = []
    if not any(port.get("name") == job.framework.port_name for port in declared):
        ports.append({"name": job.framework.port_name, "port": job.framework.port})
    for port in declared:
        number = port["containerPort"]
        entry: Object = {"name": port.get("name") or f"port-{number}", "port": number}
        if port.get("protocol") not in (None, "TCP"):
            entry["name"] = port.get("name") or f"port-{number}-{port['protocol'].lower()}"
            entry["protocol"] = port["protocol"]
        ports.append(entry)
    return ports
