"""Making one pod's sandbox and starting its containers: references looked up, specs made, users told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from msgspec import structs

from homeport.kube import meta, quantity
from homeport.kube.meta import Object
from homeport.node import envfiles, gpus, logs, machinefacts
from homeport.node.containerspec import container_spec, sandbox_spec
from homeport.node.emptydirs import memory_volumes
from homeport.node.environment import DOMAIN
from homeport.node.host import Host
from homeport.node.hostports import reserved_ports, taken_ports, unserved_ports
from homeport.node.links import wants_links
from homeport.node.mounting import Mounts
from homeport.node.pod import Member, images_of
from homeport.node.pulls import Pulls
from homeport.node.reading import fetch
from homeport.node.references import Ref, Sources, container_refs
from homeport.node.resolver import Resolver, resolver
from homeport.node.runtime import ContainerSpec, Sandbox, SandboxError
from homeport.node.security import seccomp_profile
from homeport.node.view import Notice

_NO_LINK = (
    "The pod is on the machine's own network, from which the cluster's DNS can't be reached here: the machine's "
    'resolver takes its place, as with the policy "Default"'
)

_NO_USERS = (
    "the pod asks for a user namespace (hostUsers: false), and containers have none here. Run Homeport as an ordinary "
    "user where pods are processes in namespaces, or with --allow-privileged if that does not matter"
)


class Launcher:
    """`directory` is the pod's, `note` emits an event."""

    def __init__(
        self, host: Host, directory: Path, mounts: Mounts, pulls: Pulls, note: Callable[[Notice], None]
    ) -> None:
        self._host = host
        self._directory = directory
        self._mounts = mounts
        self._pulls = pulls
        self._note = note

    async def create(self, pod: Object) -> Sandbox:
        """Make the pod's sandbox. Raises SandboxError or OSError."""
        policy = self._host.policy
        if meta.spec(pod).get("hostUsers") is False and not (policy.user_namespace or policy.allow_privileged):
            raise SandboxError(_NO_USERS)
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        resolver = self._resolver(pod)
        available = quantity.whole(self._host.allocatable.get("memory") or 0)
        memory = memory_volumes(pod, self._mounts.places.directory, available)
        wanted = sandbox_spec(pod, str(self._directory), self._host.node_name, resolver, self._host.most_pids, memory)
        return await self._host.runtime.create(wanted)

    def _resolver(self, pod: Object) -> Resolver:
        server = self._host.runtime.gateway
        if meta.spec(pod).get("hostNetwork") and not self._host.runtime.is_linked:
            server = ""
            if meta.spec(pod).get("dnsPolicy") == "ClusterFirstWithHostNet":
                self._note(Notice("Warning", "MissingClusterDNS", _NO_LINK))
        found, warnings = resolver(pod, machinefacts.read_resolver(), server=server, domain=DOMAIN)
        for warning in warnings:
            self._note(Notice("Warning", "DNSConfigForming", warning))
        return found

    async def start(
        self, pod: Object, sandbox: Sandbox, member: Member, attempt: int, devices: Sequence[str] = ()
    ) -> None:
        """`devices` are the uuids of the GPUs that it has. Raises Unresolved for what makes a
        ``CreateContainerConfigError``, NotYet if it says itself what it makes, SandboxError and others for the rest. A
        command that can't be started is no error: the container has ended."""
        images = {name: await self._pulls.image(name) for name in images_of(pod, member)}
        for name in images:
            if not self._pulls.is_new(name):
                text = f'Container image "{name}" already present on machine'
                self._note(Notice("Normal", "Pulled", text, member.name))
        sources = await gather(self._host, pod, set(container_refs(member.spec)), sandbox.address)
        if files := await envfiles.read(member.spec, self._mounts.places, sandbox):
            sources = structs.replace(sources, files=files)
        log_path = logs.prepare(self._directory, member.name, attempt)
        # On the machine's own network the API server is where it is for everybody there.
        api = self._host.own_api if meta.spec(pod).get("hostNetwork") else self._host.api
        policy = self._host.policy
        spec = container_spec(
            member,
            attempt,
            images[member.image],
            sources,
            self._mounts.places,
            str(log_path),
            api,
            policy,
            shown_images={name: image.root for name, image in images.items()},
            own_gpus=gpus.of(self._host.gpus, devices),
            machine_has_gpus=bool(self._host.gpus),
        )
        kind, file = seccomp_profile(member, pod, policy)
        if kind != "Unconfined":
            spec = self._filtered(kind, file, spec)
        spec = replace(spec, log_bytes=self._host.log_bytes, log_files=self._host.log_files)
        if not attempt:
            self._tell_of_ports(pod, member)
            for problem in self._host.runtime.not_held(spec):
                self._note(Notice("Warning", "NotEnforced", problem, member.name))
        await self._host.settled()
        state = await sandbox.start(spec)
        self._note(Notice("Normal", "Created", f"Created container: {member.name}", member.name))
        if state.reason == "StartError":
            self._note(Notice("Warning", "Failed", f"Error: {state.message}", member.name))
        else:
            self._note(Notice("Normal", "Started", f"Started container {member.name}", member.name))

    def _tell_of_ports(self, pod: Object, member: Member) -> None:
        if meta.spec(pod).get("hostNetwork"):
            for problem in taken_ports(member.spec):
                self._note(Notice("Warning", "HostPortConflict", problem, member.name))
        else:
            for problem in unserved_ports(member.spec):
                self._note(Notice("Warning", "HostPortNotSupported", problem, member.name))
            for problem in reserved_ports(member.spec, self._host.own_api and self._host.own_api[1]):
                self._note(Notice("Warning", "HostPortConflict", problem, member.name))

    def _filtered(self, kind: str, file: str, spec: ContainerSpec) -> ContainerSpec:
        """With a filter of system calls. Raises ProfileError."""
        # Imported with the first pod that asks for one.
        from homeport.node import seccomp

        if kind == "Localhost":
            made, text = seccomp.load(self._host.seccomp, file)
            return replace(spec, security=replace(spec.security, seccomp=made), seccomp_profile=text)
        made = seccomp.default_profile(spec.security.capabilities)
        return replace(spec, security=replace(spec.security, seccomp=made))


async def gather(host: Host, pod: Object, refs: set[Ref], address: str) -> Sources:
    """What the pod's references resolve against; `address` is the pod's, if it has one yet."""
    return Sources(
        pod=pod,
        objects=await fetch(host.client, refs, pod),
        allocatable=host.allocatable,
        links=host.links.of(meta.namespace(pod)) if wants_links(pod) else {},
        node_name=host.node_name,
        host_ip=host.address,
        pod_ip=address,
    )
