"""What the runtime is told about a pod and its containers. Pure but for the places of volumes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from homeport.kube import meta, quantity
from homeport.kube.meta import Object
from homeport.node import resources, volumes
from homeport.node.environment import full_hostname, hostname, startup
from homeport.node.host import Image
from homeport.node.pod import Member
from homeport.node.references import Sources, Unresolved
from homeport.node.resolver import Resolver, aliases
from homeport.node.runtime import ContainerSpec, SandboxSpec


def sandbox_spec(pod: Object, directory: str, machine: str, resolver: Resolver, most_pids: int = 0) -> SandboxSpec:
    """`most_pids` is how many processes a pod may have, 0 for as many as it likes."""
    spec = meta.spec(pod)
    return SandboxSpec(
        uid=meta.uid(pod),
        namespace=meta.namespace(pod),
        name=meta.name(pod),
        directory=directory,
        hostname=hostname(pod, machine),
        hosts=aliases(spec.get("hostAliases") or ()),
        nameservers=resolver.nameservers,
        searches=resolver.searches,
        dns_options=resolver.options,
        host_network=bool(spec.get("hostNetwork")),
        fqdn=full_hostname(pod),
        limits=resources.sandbox_limits(pod, most_pids),
    )


def container_spec(
    member: Member,
    attempt: int,
    image: Image,
    sources: Sources,
    places: volumes.VolumePlaces,
    log_path: str,
    api: tuple[str, int] | None,
) -> ContainerSpec:
    """Raises Unresolved for what makes a ``CreateContainerConfigError``."""
    start = startup(member.spec, image.config, sources, api=api)
    of_pod: Mapping[str, Any] = meta.spec(sources.pod).get("securityContext") or {}
    of_container: Mapping[str, Any] = member.spec.get("securityContext") or {}
    config = image.config
    chosen, chosen_group = _first(of_container, of_pod, "runAsUser"), _first(of_container, of_pod, "runAsGroup")
    user = config.uid if chosen is None else chosen
    if (
        chosen is None
        and _first(of_container, of_pod, "runAsNonRoot")
        and config.user.split(":")[0].strip("0123456789")
    ):
        # The name may mean anybody inside the image.
        raise Unresolved(
            f"container has runAsNonRoot and image has non-numeric user ({config.user}), cannot verify user is non-root"
        )
    if user == 0 and _first(of_container, of_pod, "runAsNonRoot"):
        raise Unresolved("container has runAsNonRoot and image will run as root; set securityContext.runAsUser")
    groups = [*(config.groups if chosen is None else ()), *(of_pod.get("supplementalGroups") or ())]
    if of_pod.get("fsGroup") is not None:
        groups.append(of_pod["fsGroup"])
    return ContainerSpec(
        name=member.name,
        attempt=attempt,
        argv=start.argv,
        env=start.env,
        cwd=start.cwd,
        image=image.root,
        mounts=volumes.mounts(member.spec, places, sources.pod, start.env),
        log_path=log_path,
        uid=user,
        gid=(config.gid if chosen is None else 0) if chosen_group is None else chosen_group,
        groups=tuple(groups),
        read_only_root=bool(of_container.get("readOnlyRootFilesystem")),
        termination_message_path=member.spec.get("terminationMessagePath") or "/dev/termination-log",
        stdin=bool(member.spec.get("stdin")),
        stdin_once=bool(member.spec.get("stdinOnce")),
        tty=bool(member.spec.get("tty")),
        limits=resources.container_limits(sources.pod, member),
        oom_score=resources.oom_score(sources.pod, member, int(quantity.parse(sources.allocatable.get("memory", "0")))),
    )


def _first(container: Mapping[str, Any], pod: Mapping[str, Any], name: str) -> Any:
    value = container.get(name)
    return pod.get(name) if value is None else value
