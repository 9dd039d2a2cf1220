"""The variables by which a container finds the services of its namespace (``enableServiceLinks``). Pure.

Names and values are those that Docker once gave linked containers, as the kubelet writes them: a service is there only
if it has an address of its own when the container starts.
"""

from __future__ import annotations

from collections.abc import Mapping

from homeport.control.cache import Change
from homeport.kube import meta
from homeport.kube.meta import Object


def wants_links(pod: Object) -> bool:
    return meta.spec(pod).get("enableServiceLinks") is not False


class ServiceLinks:
    """The variables of all services, kept up to date: most services of a namespace full of jobs have none."""

    def __init__(self) -> None:
        self._namespaces: dict[str, dict[str, Mapping[str, str]]] = {}

    def see(self, change: Change) -> None:
        namespace, name = meta.namespace(change.object), meta.name(change.object)
        found = _links(change.new) if change.new is not None else {}
        if found:
            self._namespaces.setdefault(namespace, {})[name] = found
        elif (known := self._namespaces.get(namespace)) is not None:
            known.pop(name, None)
            if not known:
                del self._namespaces[namespace]

    def of(self, namespace: str) -> dict[str, str]:
        """The variables of all services of `namespace`, in the order of their names."""
        known = self._namespaces.get(namespace, {})
        return {variable: value for name in sorted(known) for variable, value in known[name].items()}


def _links(service: Object) -> dict[str, str]:
    spec = meta.spec(service)
    address, ports = str(spec.get("clusterIP") or ""), spec.get("ports") or ()
    if address in ("", "None") or not ports or spec.get("type") == "ExternalName":
        return {}
    prefix = _variable(meta.name(service))
    host = f"[{address}]" if ":" in address else address
    found = {f"{prefix}_SERVICE_HOST": address, f"{prefix}_SERVICE_PORT": str(ports[0]["port"])}
    for port in ports:
        if port.get("name"):
            found[f"{prefix}_SERVICE_PORT_{_variable(port['name'])}"] = str(port["port"])
    for index, port in enumerate(ports):
        number, protocol = port["port"], str(port.get("protocol") or "TCP")
        url = f"{protocol.lower()}://{host}:{number}"
        if index == 0:
            found[f"{prefix}_PORT"] = url
        name = f"{prefix}_PORT_{number}_{protocol.upper()}"
        found |= {name: url, f"{name}_PROTO": protocol.lower(), f"{name}_PORT": str(number), f"{name}_ADDR": address}
    return found


def _variable(name: str) -> str:
    return name.upper().replace("-", "_")
