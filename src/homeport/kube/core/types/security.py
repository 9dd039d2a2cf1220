"""Security settings of pods and containers."""

from __future__ import annotations

from typing import Annotated, Literal

from homeport.kube.core.types.bases import CoreV1
from homeport.kube.schema.fields import Int64, atomic_list, doc


class SecurityContext(CoreV1, frozen=True):
    """Privileges and identity of a container. What is set here wins over the pod's."""

    capabilities: Annotated[Capabilities | None, doc("Linux capabilities.")] = None
    privileged: Annotated[bool | None, doc("Run with all privileges of the node.")] = None
    se_linux_options: Annotated[SELinuxOptions | None, doc("SELinux label.")] = None
    windows_options: Annotated[WindowsSecurityContextOptions | None, doc("Settings for Windows.")] = None
    run_as_user: Annotated[Int64 | None, doc("User ID of the processes; by default the image's.")] = None
    run_as_group: Annotated[Int64 | None, doc("Group ID of the processes; by default the image's.")] = None
    run_as_non_root: Annotated[bool | None, doc("Refuse to run as user 0.")] = None
    read_only_root_filesystem: Annotated[bool | None, doc("Make the root file system read-only.")] = None
    allow_privilege_escalation: Annotated[
        bool | None, doc("Whether a process may gain more privileges than its parent.")
    ] = None
    proc_mount: Annotated[Literal["Default", "Unmasked"] | None, doc("How /proc is mounted.")] = None
    seccomp_profile: Annotated[SeccompProfile | None, doc("Which system calls are allowed.")] = None
    app_armor_profile: Annotated[AppArmorProfile | None, doc("AppArmor profile.")] = None


class PodSecurityContext(CoreV1, frozen=True):
    """Privileges and identity of all containers of a pod."""

    se_linux_options: Annotated[SELinuxOptions | None, doc("SELinux label.")] = None
    windows_options: Annotated[WindowsSecurityContextOptions | None, doc("Settings for Windows.")] = None
    run_as_user: Annotated[Int64 | None, doc("User ID of the processes; by default the image's.")] = None
    run_as_group: Annotated[Int64 | None, doc("Group ID of the processes; by default the image's.")] = None
    run_as_non_root: Annotated[bool | None, doc("Refuse to run as user 0.")] = None
    supplemental_groups: Annotated[list[Int64], doc("Further group IDs of the processes."), atomic_list()] = []
    supplemental_groups_policy: Annotated[
        Literal["Merge", "Strict"] | None, doc("Whether groups of the image count as well: Merge or Strict.")
    ] = None
    fs_group: Annotated[Int64 | None, doc("Group ID that owns the volumes, and that the processes have too.")] = None
    sysctls: Annotated[list[Sysctl], doc("Kernel parameters of the pod."), atomic_list()] = []
    fs_group_change_policy: Annotated[
        Literal["Always", "OnRootMismatch"] | None, doc("When to change the volumes' owner: Always or OnRootMismatch.")
    ] = None
    seccomp_profile: Annotated[SeccompProfile | None, doc("Which system calls are allowed.")] = None
    app_armor_profile: Annotated[AppArmorProfile | None, doc("AppArmor profile.")] = None
    se_linux_change_policy: Annotated[
        str | None, doc("How volumes get their SELinux label: MountOption or Recursive.")
    ] = None


class Capabilities(CoreV1, frozen=True):
    """Linux capabilities to add and to take away."""

    add: Annotated[list[str], doc("Capabilities to add."), atomic_list()] = []
    drop: Annotated[list[str], doc("Capabilities to take away."), atomic_list()] = []


class SELinuxOptions(CoreV1, frozen=True):
    """SELinux label of a process."""

    user: Annotated[str, doc("The label's user.")] = ""
    role: Annotated[str, doc("The label's role.")] = ""
    type: Annotated[str, doc("The label's type.")] = ""
    level: Annotated[str, doc("The label's level.")] = ""


class WindowsSecurityContextOptions(CoreV1, frozen=True):
    """Security settings of Windows containers."""

    gmsa_credential_spec_name: Annotated[str | None, doc("Name of the credential spec to use.")] = None
    gmsa_credential_spec: Annotated[str | None, doc("The credential spec itself.")] = None
    run_as_user_name: Annotated[str | None, doc("User name of the processes.")] = None
    host_process: Annotated[bool | None, doc("Run as a host process container.")] = None


class SeccompProfile(CoreV1, frozen=True):
    """Which system calls are allowed."""

    type: Annotated[
        Literal["Localhost", "RuntimeDefault", "Unconfined"], doc("Localhost, RuntimeDefault or Unconfined.")
    ]
    localhost_profile: Annotated[str | None, doc("Name of a profile on the node, for the type Localhost.")] = None


class AppArmorProfile(CoreV1, frozen=True):
    """Which AppArmor profile confines the processes."""

    type: Annotated[
        Literal["Localhost", "RuntimeDefault", "Unconfined"], doc("Localhost, RuntimeDefault or Unconfined.")
    ]
    localhost_profile: Annotated[str | None, doc("Name of a profile on the node, for the type Localhost.")] = None


class Sysctl(CoreV1, frozen=True):
    """One kernel parameter."""

    name: Annotated[str, doc("Name of the parameter.")]
    value: Annotated[str, doc("Value of the parameter.")]
