"""What the runtime is told about a pod and its containers. Pure but for the places of volumes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from homeport.kube import meta, quantity
from homeport.kube.meta import Object
from homeport.node import gpus, resources, security, volumes
from homeport.node.environment import full_hostname, hostname, startup
from homeport.node.host import Image
from homeport.node.nvml import Gpu
from homeport.node.pod import Member, Role
from homeport.node.references import Sources
from homeport.node.resolver import Resolver, aliases
from homeport.node.runtime import ContainerSpec, ImageRoot, MemoryVolume, SandboxSpec


def sandbox_spec(
    pod: Object,
    directory: str,
    machine: str,
    resolver: Resolver,
    most_pids: int = 0,
    memory: tuple[MemoryVolume, ...] = (),
) -> SandboxSpec:
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
        processes=security.processes(pod),
        host_ipc=bool(spec.get("hostIPC")),
        sysctls=security.sysctls(pod),
        memory=memory,
    )


def container_spec(
    member: Member,
    attempt: int,
    image: Image,
    sources: Sources,
    places: volumes.VolumePlaces,
    log_path: str,
    api: tuple[str, int] | None,
    policy: security.Policy = security.DEFAULT_POLICY,
    shown_images: Mapping[str, ImageRoot] = volumes.NO_IMAGES,
    own_gpus: Sequence[Gpu] = (),
    machine_has_gpus: bool = False,
) -> ContainerSpec:
    """All but the filter of system calls; `shown_images` are those of volumes, by their names. Raises Unresolved for
    what makes a ``CreateContainerConfigError``."""
    start = startup(member.spec, image.config, sources, api=api)
    who = security.identity(member, sources.pod, image.config.user)
    visible = gpus.environment(own_gpus, machine_has_some=machine_has_gpus)
    declared = {variable.get("name") for variable in member.spec.get("env") or ()}
    return ContainerSpec(
        name=member.name,
        attempt=attempt,
        argv=start.argv,
        env=dict(start.env) | {name: value for name, value in visible.items() if name not in declared},
        cwd=start.cwd,
        image=image.root,
        mounts=volumes.mounts(member.spec, places, sources.pod, start.env, shown_images),
        log_path=log_path,
        uid=who.uid,
        gid=who.gid,
        groups=who.groups,
        user=who.user,
        only_these_groups=who.only_these_groups,
        security=security.security(member, sources.pod, policy),
        read_only_root=bool(security.of_container(member).get("readOnlyRootFilesystem")),
        termination_message_path=member.spec.get("terminationMessagePath") or "/dev/termination-log",
        stdin=bool(member.spec.get("stdin")),
        stdin_once=bool(member.spec.get("stdinOnce")),
        tty=bool(member.spec.get("tty")),
        devices=gpus.devices(own_gpus),
        target=str(member.spec.get("targetContainerName") or "") if member.role is Role.EPHEMERAL else "",
        limits=resources.container_limits(sources.pod, member),
        oom_score=resources.oom_score(sources.pod, member, int(quantity.parse(sources.allocatable.get("memory", "0")))),
    )
