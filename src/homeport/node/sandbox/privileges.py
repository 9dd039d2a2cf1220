"""What a process gives up before it becomes a command of a container, and what it can never get back."""

from __future__ import annotations

import contextlib
import os
import resource

from homeport.node.sandbox import capabilities, idmap, linux, spec
from homeport.node.sandbox.users import User

_SHARE_OF_PROCESSES = 90
"""Per cent of an ordinary user's processes that containers with the same id may have."""


def become(container: spec.Container, user: User, user_namespace: int | None) -> None:
    """Take the container's ids and capabilities on, and no way back. `user_namespace` is the one that its ids exist in,
    if it has one of its own and this process is to join it. Raises OSError.

    :func:`seal` is to follow, right before the exec.
    """
    wanted, allowed = container.security, _allowed(container.security)
    # Keys that the platform's user has are nothing for a container.
    linux.new_session_keyring()
    if user_namespace is not None:
        linux.setns(user_namespace, linux.CLONE_NEWUSER)
        os.close(user_namespace)
        _limit_processes(container.limits.pids)
    elif not has_ids_of(user):
        # The one id that exists here is the user's own: let it have the number that the pod asks for.
        linux.unshare(linux.CLONE_NEWUSER)
        linux.set_dumpable(True)
        idmap.map_single(user.uid, user.gid, 0, 0)
        linux.set_dumpable(False)
        _limit_processes(container.limits.pids)
    else:
        if idmap.may_set_groups():
            os.setgroups([group for group in user.groups if idmap.is_mapped("gid", group)])
        if container.limits.pids:
            _share_processes()
    if wanted.seccomp and not wanted.no_new_privileges:
        # While it may: without no_new_privs it takes the rights of an administrator. As container runtimes do.
        linux.filter_system_calls(wanted.seccomp)
    linux.limit_bounding_set(allowed)
    if user_namespace is None and has_ids_of(user):
        os.setresgid(user.gid, user.gid, user.gid)
        os.setresuid(user.uid, user.uid, user.uid)
    linux.set_capabilities(allowed if user.uid == 0 else frozenset())
    # A change of ids has set it to what the machine has chosen.
    linux.set_dumpable(False)


def _limit_processes(most: int) -> None:
    """Without a cgroup that counts them, the next best: have no more processes and threads than so many, with all
    others of this one's id in its user namespace. 0: a cgroup does it. Raises OSError."""
    if most and linux.counts_processes_by_namespace():
        values = [value for value in resource.getrlimit(resource.RLIMIT_NPROC) if value != resource.RLIM_INFINITY]
        least = min(most, *values)
        resource.setrlimit(resource.RLIMIT_NPROC, (least, least))


def _share_processes() -> None:
    """The same where all pods of the node are in one user namespace: what one of them has can't be told from what
    another has. But together they may not have all that the machine gives the user, who could not even log in to end
    them."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    if soft != resource.RLIM_INFINITY and linux.counts_processes_by_namespace():
        share = soft * _SHARE_OF_PROCESSES // 100
        resource.setrlimit(resource.RLIMIT_NPROC, (share, share))  # else whoever wants more could have it


def seal(security: spec.Security) -> None:
    """The last step. Raises OSError."""
    if security.no_new_privileges:
        linux.set_no_new_privileges()
        if security.seccomp:
            linux.filter_system_calls(security.seccomp)


def has_ids_of(user: User) -> bool:
    """Whether the user's ids exist in this process's user namespace."""
    return idmap.is_mapped("uid", user.uid) and idmap.is_mapped("gid", user.gid)


def _allowed(security: spec.Security) -> frozenset[int]:
    """As far as the platform has it to give."""
    wanted = capabilities.ALL if security.privileged else security.capabilities
    return wanted & linux.permitted_capabilities()


def give_streams(descriptors: list[int], user: User) -> None:
    """Let the user open its own output anew, as ``> /dev/stdout`` does. By one who may give it."""
    for descriptor in descriptors:
        # An id that does not exist here: then everything belongs to the one that does.
        with contextlib.suppress(OSError):
            os.fchown(descriptor, user.uid, user.gid)
