"""Containers: images, commands, variables, ports, resources and mounts."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import msgspec

from homeport.kube.core.types.bases import CoreV1
from homeport.kube.core.types.probe import Lifecycle, Probe
from homeport.kube.core.types.security import SecurityContext
from homeport.kube.core.types.selectors import ObjectFieldSelector, ResourceFieldSelector
from homeport.kube.schema import JsonSchema
from homeport.kube.schema.fields import Quantity, atomic_list, doc, map_list, set_list


class Container(CoreV1, frozen=True):
    """One container of a pod."""

    name: Annotated[str, doc("Name of the container, unique in the pod; a DNS label.")]
    image: Annotated[str, doc("Name of the image.")] = ""
    command: Annotated[
        list[str],
        doc(
            "Program and first arguments, in place of the image's entrypoint. $(NAME) is replaced by the variable NAME."
        ),
        atomic_list(),
    ] = []
    args: Annotated[
        list[str],
        doc("Arguments, in place of those of the image. $(NAME) is replaced by the variable NAME."),
        atomic_list(),
    ] = []
    working_dir: Annotated[str, doc("Directory that the program starts in; by default the image's.")] = ""
    ports: Annotated[
        list[ContainerPort],
        doc("Ports that the container listens on. Other ports can be reached as well."),
        map_list("containerPort", "protocol"),
    ] = []
    env_from: Annotated[
        list[EnvFromSource],
        doc(
            "Config maps and secrets whose entries become variables. For a name in several of them, the last one wins."
        ),
        atomic_list(),
    ] = []
    env: Annotated[list[EnvVar], doc("Environment variables. They win over those of envFrom."), map_list("name")] = []
    resources: Annotated[
        ResourceRequirements | None, doc("Resources that the container needs and may use.", default={})
    ] = None
    resize_policy: Annotated[
        list[ContainerResizePolicy], doc("What changing the resources of the running container takes."), atomic_list()
    ] = []
    restart_policy: Annotated[str | None, doc("When this container is restarted, in place of the pod's policy.")] = None
    restart_policy_rules: Annotated[
        list[ContainerRestartRule],
        doc("Rules that are looked at before restartPolicy when the container exits."),
        atomic_list(),
    ] = []
    volume_mounts: Annotated[
        list[VolumeMount], doc("Where volumes of the pod appear in the container."), map_list("mountPath")
    ] = []
    volume_devices: Annotated[
        list[VolumeDevice], doc("Where block devices of the pod appear in the container."), map_list("devicePath")
    ] = []
    liveness_probe: Annotated[
        Probe | None, doc("Check whether the container still works. One that fails is restarted.")
    ] = None
    readiness_probe: Annotated[
        Probe | None, doc("Check whether the container can serve. One that fails gets no traffic.")
    ] = None
    startup_probe: Annotated[
        Probe | None, doc("Check whether the container has started. The other probes wait for it.")
    ] = None
    lifecycle: Annotated[Lifecycle | None, doc("What to do when the container starts and before it stops.")] = None
    termination_message_path: Annotated[str, doc("File whose content becomes the container's final message.")] = (
        "/dev/termination-log"
    )
    termination_message_policy: Annotated[
        Literal["FallbackToLogsOnError", "File"],
        doc(
            "Where the final message comes from: File, or FallbackToLogsOnError for the end of the log after a failure."
        ),
    ] = "File"
    image_pull_policy: Annotated[
        Literal["Always", "IfNotPresent", "Never"] | None,
        doc("When the image is pulled. By default Always for the tag latest, else IfNotPresent."),
    ] = None
    security_context: Annotated[SecurityContext | None, doc("Security settings of the container.")] = None
    stdin: Annotated[bool, doc("Keep standard input open.")] = False
    stdin_once: Annotated[bool, doc("Close standard input after the first client has detached.")] = False
    tty: Annotated[bool, doc("Give the container a terminal. Needs stdin.")] = False


class EphemeralContainer(Container, frozen=True):
    """A container added to a running pod for debugging. It has no resources and is never restarted."""

    ports: Annotated[
        list[ContainerPort], doc("Not allowed on ephemeral containers."), map_list("containerPort", "protocol")
    ] = []
    resources: Annotated[ResourceRequirements | None, doc("Not allowed on ephemeral containers.")] = None
    restart_policy: Annotated[str | None, doc("Not allowed on ephemeral containers.")] = None
    target_container_name: Annotated[str, doc("Container whose namespaces are shared.")] = ""


class ContainerPort(CoreV1, frozen=True):
    """A port that a container listens on."""

    container_port: Annotated[int, doc("Number of the port, 1 to 65535.")]
    name: Annotated[str, doc("Name of the port, unique in the pod.")] = ""
    host_port: Annotated[int, doc("Port of the node that leads here.")] = 0
    protocol: Annotated[Literal["SCTP", "TCP", "UDP"], doc("Protocol of the port.")] = "TCP"
    host_ip: Annotated[str, doc("Address of the node to bind hostPort to.")] = msgspec.field(name="hostIP", default="")


class EnvVar(CoreV1, frozen=True):
    """One environment variable."""

    name: Annotated[str, doc("Name of the variable.")]
    value: Annotated[str, doc("Value of the variable. $(NAME) is replaced by the variable NAME.")] = ""
    value_from: Annotated[EnvVarSource | None, doc("Where the value comes from. Not together with value.")] = None


class EnvVarSource(CoreV1, frozen=True):
    """Where the value of an environment variable comes from. Exactly one source may be set."""

    field_ref: Annotated[ObjectFieldSelector | None, doc("A field of the pod.")] = None
    resource_field_ref: Annotated[ResourceFieldSelector | None, doc("An amount of a container's resources.")] = None
    config_map_key_ref: Annotated[ConfigMapKeySelector | None, doc("An entry of a config map.")] = None
    secret_key_ref: Annotated[SecretKeySelector | None, doc("An entry of a secret.")] = None
    file_key_ref: Annotated[FileKeySelector | None, doc("A variable in an environment file.")] = None


class EnvFromSource(CoreV1, frozen=True):
    """Takes all entries of a config map or secret as environment variables."""

    prefix: Annotated[str, doc("Text to put before each name.")] = ""
    config_map_ref: Annotated[ConfigMapEnvSource | None, doc("The config map.")] = None
    secret_ref: Annotated[SecretEnvSource | None, doc("The secret.")] = None


class ConfigMapEnvSource(CoreV1, frozen=True):
    """A config map whose entries become environment variables."""

    name: Annotated[str, doc("Name of the config map.")] = ""
    optional: Annotated[bool | None, doc("Whether it may be missing.")] = None


class SecretEnvSource(CoreV1, frozen=True):
    """A secret whose entries become environment variables."""

    name: Annotated[str, doc("Name of the secret.")] = ""
    optional: Annotated[bool | None, doc("Whether it may be missing.")] = None


class ConfigMapKeySelector(CoreV1, frozen=True):
    """One entry of a config map."""

    __schema_extra__: ClassVar[JsonSchema] = {"x-kubernetes-map-type": "atomic"}

    key: Annotated[str, doc("The entry to use.")]
    name: Annotated[str, doc("Name of the config map.")] = ""
    optional: Annotated[bool | None, doc("Whether it may be missing.")] = None


class SecretKeySelector(CoreV1, frozen=True):
    """One entry of a secret."""

    __schema_extra__: ClassVar[JsonSchema] = {"x-kubernetes-map-type": "atomic"}

    key: Annotated[str, doc("The entry to use.")]
    name: Annotated[str, doc("Name of the secret.")] = ""
    optional: Annotated[bool | None, doc("Whether it may be missing.")] = None


class FileKeySelector(CoreV1, frozen=True):
    """One variable of an environment file in a volume."""

    __schema_extra__: ClassVar[JsonSchema] = {"x-kubernetes-map-type": "atomic"}

    volume_name: Annotated[str, doc("Volume with the file.")]
    path: Annotated[str, doc("Path of the file in the volume.")]
    key: Annotated[str, doc("Name of the variable in the file.")]
    optional: Annotated[bool | None, doc("Whether it may be missing.")] = None


class ResourceRequirements(CoreV1, frozen=True):
    """How much of each resource is needed and how much is allowed."""

    limits: Annotated[dict[str, Quantity], doc("The most of each resource that may be used.")] = {}
    requests: Annotated[
        dict[str, Quantity], doc("How much of each resource is needed at least. By default as much as the limits.")
    ] = {}
    claims: Annotated[
        list[ResourceClaim],
        doc("Claims of the pod's resourceClaims that the container uses."),
        map_list("name", patch=None),
    ] = []


class ResourceClaim(CoreV1, frozen=True):
    """Uses a claim of the pod's resourceClaims."""

    name: Annotated[str, doc("Name of an entry of the pod's resourceClaims.")]
    request: Annotated[str, doc("Name of a request in the claim; empty for all of them.")] = ""


class ContainerResizePolicy(CoreV1, frozen=True):
    """What changing a resource of a running container takes."""

    resource_name: Annotated[str, doc("The resource.")]
    restart_policy: Annotated[str, doc("NotRequired, or RestartContainer.")]


class ContainerRestartRule(CoreV1, frozen=True):
    """What to do when a container exits in a certain way."""

    action: Annotated[str, doc("What to do.")] = ""
    exit_codes: Annotated[ContainerRestartRuleOnExitCodes | None, doc("The exit codes that the rule is about.")] = None


class ContainerRestartRuleOnExitCodes(CoreV1, frozen=True):
    """Exit codes that a rule is about."""

    operator: Annotated[str, doc("In or NotIn.")] = ""
    values: Annotated[list[int], doc("The exit codes."), set_list()] = []


class VolumeMount(CoreV1, frozen=True):
    """Where a container sees a volume of the pod."""

    name: Annotated[str, doc("Name of the volume.")]
    mount_path: Annotated[str, doc("Path in the container.")]
    read_only: Annotated[bool, doc("Mount the volume read-only.")] = False
    recursive_read_only: Annotated[str | None, doc("Whether mounts below are read-only too.")] = None
    sub_path: Annotated[str, doc("Path in the volume to mount, in place of its root.")] = ""
    mount_propagation: Annotated[
        Literal["Bidirectional", "HostToContainer", "None"] | None, doc("How mounts pass between node and container.")
    ] = None
    sub_path_expr: Annotated[str, doc("Like subPath, with $(NAME) replaced by the variable NAME.")] = ""
    bind_mount_options: Annotated[list[str], doc("Options of the bind mount."), set_list()] = []


class VolumeDevice(CoreV1, frozen=True):
    """Where a container sees a raw block device of the pod."""

    name: Annotated[str, doc("Name of the claim's volume.")]
    device_path: Annotated[str, doc("Path of the device.")]
