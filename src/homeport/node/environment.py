"""What a container is started with: argument vector, environment, working directory. Pure.

The rules are the kubelet's: variables see those above them, ``$(NAME)`` is expanded, a missing reference is an error
(``CreateContainerConfigError``) unless it is optional, and a pod's command replaces the image's entry point.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from homeport.kube import meta
from homeport.node import envfiles
from homeport.node.expansion import expand
from homeport.node.references import Ref, Sources, Unresolved, contents, lookup, missing, pod_field, resource_field

DOMAIN = "cluster.local"
PATH = "/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""The default search path: the image's environment before the machine's own programs."""


class ImageConfig(msgspec.Struct, frozen=True):
    """What an image says about the containers made of it."""

    env: Mapping[str, str] = msgspec.field(default_factory=dict)
    command: tuple[str, ...] = ()
    """The entry point; a pod's ``command`` replaces it."""
    args: tuple[str, ...] = ()
    """Its default arguments; a pod's ``command`` or ``args`` replace them."""
    working_dir: str = ""
    user: str = ""
    """As the image says it, by name or number (``USER[:GROUP]``); empty is root. What it means there:"""
    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    home: str = "/root"
    stop_signal: str = ""
    """A name or a number; empty is SIGTERM."""


class Startup(msgspec.Struct, frozen=True):
    """How to start a container. `skipped` are names from ``envFrom`` that can't be variables."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str
    skipped: tuple[str, ...] = ()


def startup(
    container: Mapping[str, Any], image: ImageConfig, sources: Sources, *, api: tuple[str, int] | None
) -> Startup:
    """How `container` of ``sources.pod`` starts. Raises Unresolved with the kubelet's message.

    `api` is the API server's address and port as seen from inside a pod, None if pods can't reach it.
    """
    service = dict(sources.links) | service_variables(api)
    declared, skipped = variables(container, sources, service)
    # $HOME depends on who runs: the runtime adds it.
    defaults = {"PATH": PATH, "HOSTNAME": hostname(sources.pod, sources.node_name)}
    env = defaults | dict(image.env) | service | declared
    return Startup(
        argv=arguments(container, image, service | declared),
        env=env,
        cwd=str(container.get("workingDir") or image.working_dir or "/"),
        skipped=skipped,
    )


def hostname(pod: Mapping[str, Any], machine: str) -> str:
    """The pod's host name: ``spec.hostname``, else its own name cut to what a host name may have; on the machine's
    network the machine's; its full name if it asks for that.
    `machine` is the machine's name."""
    spec = meta.spec(pod)
    if spec.get("hostnameOverride"):
        return str(spec["hostnameOverride"])
    if spec.get("hostNetwork"):
        return machine
    return full_hostname(pod) if spec.get("setHostnameAsFQDN") and spec.get("subdomain") else _short(pod)


def _short(pod: Mapping[str, Any]) -> str:
    return str(meta.spec(pod).get("hostname") or meta.name(pod)[:63].rstrip("-."))


def full_hostname(pod: Mapping[str, Any]) -> str:
    """``<hostname>.<subdomain>.<namespace>.svc.<domain>``; empty for a pod without a subdomain."""
    subdomain = meta.spec(pod).get("subdomain")
    return f"{_short(pod)}.{subdomain}.{meta.namespace(pod)}.svc.{DOMAIN}" if subdomain else ""


def service_variables(api: tuple[str, int] | None) -> dict[str, str]:
    """The variables by which clients inside a pod find the API server."""
    if api is None:
        return {}
    address, port = api
    return {
        "KUBERNETES_SERVICE_HOST": address,
        "KUBERNETES_SERVICE_PORT": str(port),
        "KUBERNETES_SERVICE_PORT_HTTPS": str(port),
        "KUBERNETES_PORT": f"tcp://{address}:{port}",
        f"KUBERNETES_PORT_{port}_TCP": f"tcp://{address}:{port}",
        f"KUBERNETES_PORT_{port}_TCP_PROTO": "tcp",
        f"KUBERNETES_PORT_{port}_TCP_PORT": str(port),
        f"KUBERNETES_PORT_{port}_TCP_ADDR": address,
    }


def variables(
    container: Mapping[str, Any], sources: Sources, service: Mapping[str, str]
) -> tuple[dict[str, str], tuple[str, ...]]:
    """The variables that the pod's author declares (``envFrom``, then ``env``), and names of envFrom left out."""
    result: dict[str, str] = {}
    skipped: list[str] = []
    for source in container.get("envFrom") or ():
        prefix = source.get("prefix") or ""
        for key, value in _whole(source, sources).items():
            name = f"{prefix}{key}"
            if _is_variable_name(name):
                result[name] = _text(value)
            else:
                skipped.append(name)
    for variable in container.get("env") or ():
        name = variable["name"]
        if variable.get("valueFrom"):
            value_from = _from(variable["valueFrom"], container, sources)
            if value_from is not None:
                result[name] = value_from
        else:
            result[name] = expand(variable.get("value") or "", {**service, **result})
    return result, tuple(skipped)


def _whole(source: Mapping[str, Any], sources: Sources) -> dict[str, bytes]:
    named = source.get("configMapRef") or source.get("secretRef") or {}
    ref = Ref("ConfigMap" if "configMapRef" in source else "Secret", named.get("name") or "")
    found = sources.objects.get(ref)
    if found is not None:
        return contents(found)
    if named.get("optional"):
        return {}
    raise missing(ref)


def _from(origin: Mapping[str, Any], container: Mapping[str, Any], sources: Sources) -> str | None:
    if selector := origin.get("fieldRef"):
        return pod_field(selector.get("fieldPath") or "", sources)
    if selector := origin.get("resourceFieldRef"):
        return resource_field(selector, container["name"], sources)
    if selector := origin.get("fileKeyRef"):
        return envfiles.value(selector, sources.files)
    for field_name, kind in (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")):
        if selector := origin.get(field_name):
            ref = Ref("ConfigMap" if kind == "ConfigMap" else "Secret", selector.get("name") or "")
            value = lookup(ref, selector.get("key") or "", bool(selector.get("optional")), sources)
            return None if value is None else _text(value)
    raise Unresolved(f"invalid valueFrom: {', '.join(origin) or 'empty'}")


def _text(value: bytes) -> str:
    return value.decode(errors="surrogateescape")


def _is_variable_name(name: str) -> bool:
    return bool(name) and name.isascii() and name.isprintable() and "=" not in name


def arguments(container: Mapping[str, Any], image: ImageConfig, values: Mapping[str, str]) -> tuple[str, ...]:
    """The argument vector, by Kubernetes' table of command and args against the image's. Raises Unresolved if empty."""
    command: Sequence[str] = container.get("command") or ()
    args: Sequence[str] = container.get("args") or ()
    own = tuple(expand(word, values) for word in (*command, *args))
    if command:
        argv = own
    elif args:
        argv = image.command + own
    else:
        argv = image.command + image.args
    if not argv:
        raise Unresolved("no command specified: neither the container nor its image file names one")
    return argv
